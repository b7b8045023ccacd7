"""The demo's chain over seeds and instruction sets: does it learn every time, and in which range does it end?

    python -m benchmarks.first_run [--seeds 0 1 2 3 4] [--instructions default avx2] [--jobs 2] [--data data]
    python -m benchmarks.first_run --check artifacts     # has the demo that was run here learned?

A run is what `make demo` computes: pre-training, features, training and evaluation of both training sets, with one
seed for everything, in a process of its own with one thread. `--instructions` sets ATEN_CPU_CAPABILITY: rounding
differs between instruction sets, and a chain that learns must not depend on it. No MLflow and no Great Expectations
are needed. Finished runs are kept in `--work`, so that a killed benchmark goes on.

Writes results/first_run.json (one entry a processor; others' entries stay, and so do runs of the same processor that
were not made again) and docs/images/first-run.png.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, circumstances
from qure.files import read_json, write_json

NAME = "first_run"
IMAGE = Path(__file__).resolve().parents[1] / "docs" / "images" / "first-run.png"
DEFAULT = "default"
#: What is told of a run: (training set, benchmark) -> metrics.
TOLD = {
    "fashioniq": ("fashioniq", ("recall_at_10", "ndcg_at_10")),
    "cirr": ("cirr", ("recall_at_10", "ndcg_at_10")),
}
#: A control is compared by this metric.
CONTROLLED = "recall_at_10"
#: What each run says of itself, because a processor's runs may be made one after the other.
MADE = ("date", "commit")
#: What every first run must reach on every processor, percent, and how many times the untrained backbone.
REQUIRED = {"fashioniq": 27.0, "cirr": 45.0}
TIMES_UNTRAINED = 4


def main() -> None:
    arguments = parse_arguments()
    if arguments.check is not None:
        sys.exit("\n".join(shortcomings(arguments.check)) or None)
    if arguments.one is not None:
        print(json.dumps(one_run(arguments.one, arguments.data, arguments.work, arguments.params)))
        return
    wanted = [(seed, instructions) for instructions in arguments.instructions for seed in arguments.seeds]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(lambda one: spawned(*one, arguments), wanted))
    found = [run for run in runs if run is not None]
    if arguments.output is not None:
        write_json(arguments.output, entry(found))
    else:
        merge(entry(found))
        draw()
    for run in found:
        print(sentence(run))
    if len(found) < len(wanted):
        sys.exit(f"{len(wanted) - len(found)} of {len(wanted)} runs failed")


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=list(range(5)))
    parser.add_argument("--instructions", nargs="+", default=[DEFAULT, "avx2"], help="default, avx2, avx512")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--data", type=Path, default=Path("data"), help="the rendered catalogue")
    parser.add_argument("--work", type=Path, default=Path(".work/first_run"))
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--output", type=Path, help="write this processor's entry there instead of results/")
    parser.add_argument(
        "--check",
        type=Path,
        metavar="ARTIFACTS",
        help="only ask whether the demo that left these has learned; red if not",
    )
    parser.add_argument("--one", type=int, metavar="SEED", help=argparse.SUPPRESS)
    return parser.parse_args()


def shortcomings(artifacts: Path) -> list[str]:
    """What a finished demo falls short of; nothing when it has learned."""
    found = []
    for training_set, least in REQUIRED.items():
        metrics = read_json(artifacts / training_set / "evaluation" / "metrics.json")
        reached, controls = metrics[TOLD[training_set][0]][CONTROLLED], metrics["controls"]
        print(f"{training_set}: R@10 {reached:.1f}, at least {least:.0f}")
        if reached < least:
            found.append(f"{training_set}: R@10 {reached:.1f} is below {least:.0f}")
        if reached < TIMES_UNTRAINED * controls["untrained_backbone"][CONTROLLED]:
            found.append(f"{training_set}: R@10 {reached:.1f} is not {TIMES_UNTRAINED} times the untrained backbone's")
        for control in ("shuffled_references", "empty_text"):
            if reached <= controls[control][CONTROLLED]:
                found.append(f"{training_set}: R@10 {reached:.1f} is not above {control}")
    return found


def spawned(seed: int, instructions: str, arguments: argparse.Namespace) -> dict[str, Any] | None:
    """A run in a process of its own; a finished one is read again."""
    place = arguments.work / f"{instructions}-{seed}"
    kept = place / "run.json"
    if kept.is_file():
        return dict(read_json(kept))
    place.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "none"}
    environment.pop("ATEN_CPU_CAPABILITY", None)
    if instructions != DEFAULT:
        environment["ATEN_CPU_CAPABILITY"] = instructions
    command = [sys.executable, "-m", "benchmarks.first_run", "--one", str(seed), "--work", str(place)]
    command += ["--data", str(arguments.data), "--params", str(arguments.params)]
    with (place / "log").open("w", encoding="utf-8") as log:
        done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, stderr=log, text=True, check=False)
    if done.returncode:
        print(f"seed {seed}, {instructions}: failed, see {place / 'log'}", file=sys.stderr)
        return None
    made = {name: circumstances()[name] for name in MADE}
    run = {"seed": seed, "instructions": instructions, **made, **json.loads(done.stdout.splitlines()[-1])}
    write_json(kept, run)
    print(sentence(run), file=sys.stderr, flush=True)
    return run


def one_run(seed: int, data: Path, work: Path, params: Path) -> dict[str, Any]:
    """The chain with one seed, and what came of it."""
    import torch

    from qure.config import Settings
    from qure.evaluation.stage import evaluate
    from qure.features.stage import precompute
    from qure.training.stage import train

    torch.set_num_threads(1)
    settings = seeded(Settings.load(params), seed)
    seconds: dict[str, float] = {}
    backbone = work / "backbone"
    with timed(seconds, "backbone"):
        curve, pretraining = made_backbone(settings, data, backbone)
    run: dict[str, Any] = {"capability": torch.backends.cpu.get_cpu_capability(), "pretraining": pretraining}
    for training_set, (own, metrics) in TOLD.items():
        folder = work / training_set
        features = {name: folder / "features" / name for name in image_sets(training_set)}
        with timed(seconds, f"precompute {training_set}"):
            for name, store in features.items():
                precompute(settings, name, data=data, backbone=backbone, output=store, device="cpu")
        with timed(seconds, f"train {training_set}"):
            train(
                settings,
                training_set,
                data=data,
                features=features[training_set],
                backbone=backbone,
                validation=None,
                output=folder,
                work=folder / "work",
                device="cpu",
                plots=False,
            )
        with timed(seconds, f"evaluate {training_set}"):
            measured = evaluate(
                settings,
                training_set,
                data=data,
                features=features,
                model=folder / "model",
                backbone=backbone,
                training=folder / "training",
                output=folder / "evaluation",
                device="cpu",
            )
        intervals = read_json(folder / "evaluation" / "intervals.json")[own]
        run[training_set] = {
            **{name: measured[own][name] for name in metrics},
            "interval": intervals[CONTROLLED],
            "controls": {name: values[CONTROLLED] for name, values in measured["controls"].items()},
        }
    return run | {"curve": curve, "cpu_seconds": seconds}


def made_backbone(settings: Any, data: Path, output: Path) -> tuple[list[dict[str, float]], dict[str, float]]:
    """The pre-training's curve and its metrics."""
    from qure.backbone.stage import make_backbone

    curve: list[dict[str, float]] = []
    metrics = make_backbone(
        settings.backbone, data, output, observe=lambda step, values: curve.append({"step": step, **values})
    )
    return curve, metrics


def image_sets(training_set: str) -> list[str]:
    from qure.benchmarks import image_sets_of

    return list(image_sets_of(training_set))


def seeded(settings: Any, seed: int) -> Any:
    """The settings with one seed for the backbone and for both trainings."""
    values = settings.model_dump(mode="json")
    values["backbone"]["pretraining"]["seed"] = seed
    for chosen in values["training"].values():
        chosen["overrides"] = {**chosen["overrides"], "seed": seed}
    values["tracking"]["uri"] = None
    return type(settings).model_validate(values)


class timed:
    """Adds the CPU seconds of a block under a name."""

    def __init__(self, seconds: dict[str, float], name: str) -> None:
        self._seconds, self._name = seconds, name

    def __enter__(self) -> None:
        self._started = time.process_time()

    def __exit__(self, *_: object) -> None:
        self._seconds[self._name] = round(time.process_time() - self._started, 1)


def entry(runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One processor's part of the results: every run, and the range of each figure."""
    return {"ranges": ranges(runs), "runs": list(runs), "measured": circumstances()}


def ranges(runs: Sequence[Mapping[str, Any]]) -> dict[str, list[float]]:
    """Least and greatest of what the runs ended with."""
    values: dict[str, list[float]] = {}
    for run in runs:
        for name, value in figures_of(run):
            values.setdefault(name, []).append(value)
    return {name: [round(min(found), 2), round(max(found), 2)] for name, found in values.items()}


def figures_of(run: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    for name in ("in_batch_accuracy", "held_out_recall_at_1", "held_out_recall_at_5"):
        yield f"pretraining/{name}", run["pretraining"][name]
    for training_set, (_, metrics) in TOLD.items():
        for name in metrics:
            yield f"{training_set}/{name}", run[training_set][name]
        for control, value in run[training_set]["controls"].items():
            yield f"{training_set}/{control}", value
    yield "cpu_seconds", sum(run["cpu_seconds"].values())


def merge(one: dict[str, Any]) -> None:
    """Puts a processor's entry into the results file; an older one of the same processor keeps what is not in it."""
    file = RESULTS / f"{NAME}.json"
    kept = read_json(file)["processors"] if file.is_file() else []
    processor = one["measured"]["machine"]["processor"]
    others = [other for other in kept if other["measured"]["machine"]["processor"] != processor]
    again = {(run["seed"], run["instructions"]) for run in one["runs"]}
    older = [
        {**{name: other["measured"][name] for name in MADE}, **run}
        for other in kept
        if other not in others
        for run in other["runs"]
        if (run["seed"], run["instructions"]) not in again
    ]
    runs = sorted([*older, *one["runs"]], key=lambda run: (run["instructions"], run["seed"]))
    one = {**one, "ranges": ranges(runs), "runs": runs}
    processors = sorted([*others, one], key=lambda each: str(each["measured"]["machine"]["processor"]))
    runs = [run for each in processors for run in each["runs"]]
    write_json(file, {"benchmark": NAME, "ranges": ranges(runs), "processors": processors})
    print(file)


def draw() -> None:
    """The pre-training of every run, and where each ends."""
    from matplotlib.figure import Figure

    from qure.files import atomic_file

    processors = read_json(RESULTS / f"{NAME}.json")["processors"]
    runs = [run for each in processors for run in each["runs"]]
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    axes = figure.subplots(1, 3)
    for run in runs:
        steps = [point["step"] for point in run["curve"]]
        for place, name in zip(axes, ("in_batch_accuracy", "held_out_recall_at_5"), strict=False):
            place.plot(
                steps, [point[name] for point in run["curve"]], color=f"C{run['seed']}", linewidth=0.9, alpha=0.7
            )
    axes[0].set(title="Pre-training: captions that find\ntheir image in the batch", xlabel="step", ylim=(0, 1))
    axes[1].set(title="Pre-training: recall@5 among\nimages kept out of it", xlabel="step", ylim=(0, 1))
    for number, name in enumerate(TOLD):
        axes[2].scatter(
            [number + 0.06 * (run["seed"] - 2) for run in runs],
            [run[name][CONTROLLED] for run in runs],
            c=[f"C{run['seed']}" for run in runs],
            s=16,
        )
        for control, marker in (("untrained_backbone", "_"), ("shuffled_references", "x"), ("empty_text", "+")):
            axes[2].scatter(
                [number + 0.3] * len(runs),
                [run[name]["controls"][control] for run in runs],
                marker=marker,
                c="grey",
                s=16,
                label=control.replace("_", " ") if number == 0 else None,
            )
    axes[2].set(title="R@10 of the trained models", xticks=range(len(TOLD)), xticklabels=["FashionIQ", "CIRR"])
    axes[2].set_ylim(bottom=0)
    axes[2].legend(fontsize=7)
    IMAGE.parent.mkdir(parents=True, exist_ok=True)
    with atomic_file(IMAGE) as temporary:
        figure.savefig(temporary, format="png", dpi=110)


def sentence(run: Mapping[str, Any]) -> str:
    """One run in a line."""
    told = ", ".join(f"{name} R@10 {run[name][CONTROLLED]:.1f}" for name in TOLD)
    learned = run["pretraining"]
    return (
        f"seed {run['seed']}, {run['instructions']} ({run['capability']}): in-batch accuracy "
        f"{learned['in_batch_accuracy']:.2f}, held-out R@5 {learned['held_out_recall_at_5']:.2f}; {told}; "
        f"{sum(run['cpu_seconds'].values()):.0f} CPU-s"
    )


if __name__ == "__main__":
    main()

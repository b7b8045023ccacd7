"""The ablate stage: trains every arm on every seed under one budget and says what decides.

results.json   circumstances, one entry per arm (means, intervals, differences to the baseline), every run
results.csv    one row per arm and run
table.md       for people
report.html    the same as one page: verdict, figure, tables; opens from a file
figure.png     recall and true relevance of the top ten per arm (after figure 4 of the paper)
"""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from qure import tracking
from qure.ablation.arms import ARMS, Arm, Arms, read_arms
from qure.ablation.figure import draw
from qure.ablation.found import NegativesOfModels
from qure.ablation.page import csv_of, table
from qure.ablation.report import write_report
from qure.ablation.runs import Bench, Run, kept_run, new_run
from qure.ablation.summary import NDCG, RECALL, Line, record, summarise
from qure.config import Settings
from qure.datasets.validated import RESULT, ValidatedData, require_validated
from qure.errors import BadInput
from qure.evaluation.judging import ImageDigests
from qure.evaluation.tasks import Source, task_for
from qure.features.images import images_fingerprint
from qure.features.store import FeatureStore
from qure.files import atomic_folder, file_digest, write_json
from qure.models.manifest import read_manifest
from qure.models.model import QureModel
from qure.models.precision import default_device
from qure.training.data import training_data

logger = logging.getLogger(__name__)

SEEDS = (0, 1, 2)
RESULTS, CSV, TABLE, FIGURE, PAGE = "results.json", "results.csv", "table.md", "figure.png", "report.html"


def ablate(
    settings: Settings,
    training_set: str,
    *,
    data: Path,
    features: Path,
    backbone: Path,
    output: Path,
    work: Path,
    validation: Path | None = None,
    arms: Sequence[str] | None = None,
    arms_file: Path = ARMS,
    seeds: Sequence[int] = SEEDS,
    epochs: int | None = None,
    device: str | None = None,
) -> dict[str, Any]:
    """Trains, evaluates and compares; writes the folder described above, whole or not at all.

    Every finished run is kept in `work`: the same command after a kill goes on where it was, and one with more arms
    or seeds adds to them. A run of other settings or inputs is computed anew.

    Args:
        settings: the recipe of the training set, which the arms change, `evaluation` and `tracking` are read.
        training_set: fashioniq or cirr; its own benchmark judges.
        data: data root.
        features: feature store of the training set's images.
        backbone: model folder that every training starts from.
        output: folder to write.
        work: where runs are kept; not removed, because it is what a larger ablation builds on.
        validation: validation folder; None: the caller vouches for the data.
        arms: names of arms; None for all of the file.
        arms_file: what the arms are (qure/ablation/arms.yaml explains the format).
        seeds: of the runs; the same for every arm, so that they see the same data in the same order.
        epochs: the budget that all arms share; None for the recipe's.
        device: where to compute; the GPU when there is one.

    Returns:
        what results.json holds.

    Raises:
        BadInput: an unknown arm or setting, seeds given twice, data that has not passed validation, inputs that do not
            fit together.
        StageFailed: a training's loss is no longer finite; names the arm.
    """
    if not seeds or len(set(seeds)) != len(seeds) or min(seeds) < 0:
        raise BadInput(f"{list(seeds)!r} is no list of different seeds >= 0", field="seeds")
    chosen = read_arms(settings, training_set, file=arms_file, names=arms, epochs=epochs)
    passed = require_validated(validation, data, [training_set])
    bench = _bench(
        settings,
        training_set,
        data=passed,
        features=Path(features),
        backbone=Path(backbone),
        work=Path(work),
        device=str(device or default_device()),
    )
    of_data = bench.inputs["data"]
    with tracking.stage_run(
        settings.tracking,
        stage="ablate",
        training_set=training_set,
        parameters={"arms": [arm.name for arm in chosen.arms], "seeds": list(seeds), "epochs": epochs},
        inputs=bench.inputs,
        pipeline=tracking.pipeline_run_id(settings.resolved(), of_data),
    ) as tracked:
        runs = _all_runs(bench, chosen.arms, seeds, tracked)
        lines = summarise(chosen.arms, runs, settings.evaluation)
        results = _results(bench, chosen, lines, runs, seeds)
        _write(Path(output), chosen, lines, results)
        tracked.log_metrics(_summary_metrics(lines))
        tracked.log_artifact(Path(output), "ablation")
    return results


def _bench(
    settings: Settings,
    training_set: str,
    *,
    data: ValidatedData,
    features: Path,
    backbone: Path,
    work: Path,
    device: str,
) -> Bench:
    """Opens everything that the runs share, once."""
    leaked_out = settings.training_for(training_set).exclude_leaked
    triplets, corpora, _ = data.training(training_set, exclude_leaked=leaked_out)
    model = QureModel.load(backbone, device, vision=False)
    listed = images_fingerprint(data.images(training_set), data.passed_images(training_set))
    store = FeatureStore.open(features, model.vision_fingerprint, expected_images_fingerprint=listed)
    assert model.tokenizer is not None  # a loaded model has one
    queries = training_data(triplets, corpora, store, model.tokenizer)
    inputs = {
        "data": tracking.data_fingerprint(data.root),
        "backbone": str(read_manifest(backbone)["fingerprint"]),
        "features": store.fingerprint,
    }
    if data.validation is not None:
        inputs["validation"] = file_digest(data.validation / RESULT)
    source = Source(data, settings.evaluation, device, ImageDigests({training_set: store}))
    return Bench(
        settings=settings,
        training_set=training_set,
        data=data.root,
        features=features,
        backbone=backbone,
        validation=data.validation,
        work=work,
        device=device,
        inputs=inputs,
        task=task_for(training_set, source),
        store=store,
        negatives=NegativesOfModels(training_set, data.root, queries, corpora, store),
    )


def _all_runs(
    bench: Bench, arms: Sequence[Arm], seeds: Sequence[int], tracked: tracking.SilentRun
) -> dict[str, list[Run]]:
    """Seed by seed, so that an ablation stopped early has compared all arms on the seeds it has done."""
    found: dict[str, list[Run]] = {arm.name: [] for arm in arms}
    planned = [(arm, seed) for seed in seeds for arm in arms]
    seconds: list[float] = []
    for number, (arm, seed) in enumerate(planned, start=1):
        one = kept_run(bench, arm, seed)
        if one is None:
            begun = time.monotonic()
            one = new_run(bench, arm, seed)
            seconds.append(time.monotonic() - begun)
        found[arm.name].append(one)
        tracked.log_metrics({f"{arm.name}/{name}": one.metrics[name] for name in _metrics_shown(one)}, step=seed)
        left = sum(seconds) / max(len(seconds), 1) * (len(planned) - number)
        logger.info(
            "run %d of %d, %s, seed %d: %s; at most about %.0f minutes left",
            number,
            len(planned),
            arm.name,
            seed,
            ", ".join(f"{name} {one.metrics[name]:.2f}" for name in _metrics_shown(one)),
            left / 60,
        )
    return found


def _metrics_shown(one: Run) -> list[str]:
    return [name for name in (RECALL, NDCG) if name in one.metrics]


def _results(
    bench: Bench, chosen: Arms, lines: Sequence[Line], runs: dict[str, list[Run]], seeds: Sequence[int]
) -> dict[str, Any]:
    by_chance = bench.task.of.chance(bench.task.split)
    return {
        "training_set": bench.training_set,
        "baseline": chosen.baseline,
        "seeds": list(seeds),
        "circumstances": _circumstances(bench, chosen, seeds, by_chance),
        "inputs": bench.inputs,
        "chance": by_chance,
        "arms": [record(line) for line in lines],
        "runs": [one.record() for found in runs.values() for one in found],
    }


def _circumstances(bench: Bench, chosen: Arms, seeds: Sequence[int], by_chance: dict[str, float]) -> dict[str, str]:
    epochs = sorted({arm.recipe.epochs // arm.budget for arm in chosen.arms})
    counts = f"{len(bench.task.questions)} queries, {len(bench.task.images)} images"
    drawn = ", ".join(f"{name} {by_chance[name]:.1f}" for name in (RECALL, NDCG) if name in by_chance)
    return {
        "judged on": f"{bench.task.benchmark} val ({counts}); by chance {drawn}",
        "shared budget": f"{', '.join(map(str, epochs))} epochs",
        "seeds": ", ".join(map(str, seeds)),
    }


def _write(output: Path, chosen: Arms, lines: Sequence[Line], results: dict[str, Any]) -> None:
    circumstances = results["circumstances"]
    with atomic_folder(output) as folder:
        write_json(folder / RESULTS, results)
        (folder / CSV).write_text(csv_of(lines), encoding="utf-8")
        page = table(lines, baseline=chosen.baseline, circumstances=circumstances)
        (folder / TABLE).write_text(page, encoding="utf-8")
        title = f"{circumstances['shared budget']}, seeds {circumstances['seeds']}"
        draw(
            lines,
            folder / FIGURE,
            baseline=chosen.baseline,
            by_chance=results["chance"],
            title=f"Ablation on {results['training_set']}: {title}",
        )
        write_report(
            folder / PAGE,
            lines,
            training_set=results["training_set"],
            baseline=chosen.baseline,
            circumstances=circumstances,
            figure=folder / FIGURE,
        )


def _summary_metrics(lines: Sequence[Line]) -> dict[str, float]:
    """Means over the seeds, under names of their own: the runs' values stand at their seeds."""
    return {
        f"{line.arm.name}/{name}_mean": line.metrics[name].mean
        for line in lines
        for name in (RECALL, NDCG)
        if name in line.metrics
    }

"""Training steps of both engines and as they were launched, through the loop of the product."""

import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.measuring import median_seconds, model_of, ratio, release, text
from benchmarks.gpu.sizes import Sizes
from qure.config import TrainingSettings
from qure.models.config import QureConfig


def training(sizes: Sizes, device: torch.device, profiled: bool) -> dict[str, Any]:
    """Steps of both engines and as they were launched, from the same weights, and whether their losses agree."""
    features = Features(sizes.images, sizes.config, device)
    begun = model_of(False, sizes.config, device).state_dict()
    initial = {name: value.detach().clone() for name, value in begun.items()}
    cuda = device.type == "cuda"
    found: dict[str, Any] = {}
    losses: dict[str, list[float]] = {}
    for precision in ("bf16", "fp16") if cuda else ("fp32",):
        for engine in ("launched", "eager", "graph") if cuda else ("launched",):
            if precision == "bf16" and engine == "eager":
                continue
            name = f"{engine}_{precision}"
            done, losses[name] = trained(sizes, device, features, initial, engine, precision, sizes.batch)
            found[name] = done
            print(name, done, flush=True)
    if cuda:
        short = min(len(losses["eager_fp16"]), len(losses["graph_fp16"]))
        pairs = zip(losses["eager_fp16"][:short], losses["graph_fp16"][:short], strict=True)
        differences = [abs(one - other) for one, other in pairs]
        found["loss_difference_eager_graph"] = {
            "steps": short,
            "largest": float(f"{max(differences):.2e}"),
            "first_three": float(f"{max(differences[:3]):.2e}"),
            "next_twenty": float(f"{max(differences[3:23]):.2e}"),
        }
        found["times_faster"] = {
            precision: ratio(found, f"launched_{precision}", f"graph_{precision}") for precision in ("bf16", "fp16")
        }
        if sizes.large_batch:
            done, _ = trained(sizes, device, features, initial, "graph", "bf16", sizes.large_batch)
            found[f"graph_bf16_batch_{sizes.large_batch}"] = done
        if profiled:
            profile(sizes, device, features, initial)
    return found


def trained(
    sizes: Sizes,
    device: torch.device,
    features: "Features",
    initial: dict[str, Tensor],
    engine: str,
    precision: str,
    batch: int,
) -> tuple[dict[str, Any], list[float]]:
    """Three epochs through the product's own loop, one mining before the last; the second epoch is timed."""
    from qure.training.distributed import Processes
    from qure.training.loop import Trainer

    release(device)
    model = model_of(engine == "launched", sizes.config, device)
    model.load_state_dict(initial)
    settings = TrainingSettings.model_validate(
        {
            "epochs": 3,
            "batch_size": batch,
            "precision": precision,
            "engine": "graph" if engine == "graph" else "eager",
            "negatives": {"definitions": 1},
        }
    )
    # The last batch is short, as a real epoch's is.
    data = triplets(batch * sizes.steps[engine] - batch // 3, sizes, batch)
    watch = Watch()
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    with tempfile.TemporaryDirectory() as folder:
        trainer = Trainer(
            model=model,
            data=data,
            held_out=None,
            features=features,  # type: ignore[arg-type]
            settings=settings,
            group=Processes(0, 1, device),
            checkpoints=NoCheckpoints(Path(folder)),  # type: ignore[arg-type]
            observer=watch,
            plots=False,
            batch_dropout=True if engine == "launched" else None,
        )
        learner = trainer.run()
        encoded = encoding(trainer, data, device)
    steps = sizes.steps[engine]
    seconds = [epoch["epoch_seconds"] for epoch in watch.epochs[1:]]
    timed = {
        "step_ms": round(min(seconds) / steps * 1000, 2),
        "step_ms_all_epochs": [round(epoch["epoch_seconds"] / steps * 1000, 2) for epoch in watch.epochs],
        "images_per_second": round(3 * len(data) / min(seconds), 1),
        "steps_an_epoch": steps,
        "encoding_images_per_second": encoded,
        "peak_gib": round(torch.cuda.max_memory_allocated(device) / 2**30, 2) if device.type == "cuda" else None,
    }
    return timed, list(learner.state.losses)


def encoding(trainer: Any, data: Any, device: torch.device) -> float:
    """Images a second of the encoder that minings use."""
    from qure.training.encoding import evaluating

    def run() -> None:
        with evaluating(trainer.model):
            trainer._encoder.corpus(data)
            trainer._encoder.queries(data)

    run()
    return round((len(data.corpus) + len(data)) / median_seconds(run, device, repeats=3), 1)


def triplets(count: int, sizes: Sizes, batch: int) -> Any:
    from qure.training.data import TrainingData

    numbers = np.random.default_rng(0)
    ids, mask = text(count, sizes.config)
    return TrainingData(
        query_ids=tuple(str(number) for number in range(count)),
        categories=np.zeros(count, dtype=np.int64),
        names=("all",),
        references=numbers.integers(0, sizes.images, count),
        targets=numbers.integers(0, sizes.images, count),
        corpus=np.arange(sizes.images, dtype=np.int64),
        corpus_starts=np.array([0, sizes.images], dtype=np.int64),
        input_ids=ids,
        attention_mask=mask,
    )


def profile(sizes: Sizes, device: torch.device, features: "Features", initial: dict[str, Tensor]) -> None:
    """Where the time of graph steps goes, kernel by kernel."""
    from torch.profiler import ProfilerActivity
    from torch.profiler import profile as recording

    with recording(activities=[ProfilerActivity.CUDA]) as seen:
        trained(sizes, device, features, initial, "graph", "bf16", sizes.batch)
    steps = 3 * sizes.steps["graph"]
    rows = sorted(seen.key_averages(), key=lambda one: -one.self_device_time_total)
    total = sum(one.self_device_time_total for one in rows)
    print(f"profile: {total / steps / 1000:.2f} ms a step, {sum(one.count for one in rows) / steps:.0f} kernels")
    for one in rows[:45]:
        print(f"{one.self_device_time_total / steps:9.1f} us {one.count / steps:7.1f} x {one.key[:150]}")


class Features:
    """Synthetic features in the device's memory, as a feature store holds them."""

    def __init__(self, images: int, config: QureConfig, device: torch.device) -> None:
        shape = (images, config.vision.tokens, config.vision.width)
        dtype = torch.float16 if device.type == "cuda" else torch.float32
        self._held = torch.randn(shape, device=device, dtype=dtype)
        self.table = self._held if device.type == "cuda" else None
        self.held = str(device)

    def read(self, rows: Any) -> Tensor:
        return self._held.index_select(0, torch.as_tensor(rows, dtype=torch.int64).to(self._held.device))


class NoCheckpoints:
    """Keeps nothing: the time of writing belongs to the disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def load(self) -> None:
        return None

    def save(self, step: int, checkpoint: Any) -> None:
        return None


class Watch:
    """Keeps what a training says about its speed, and how long its minings take."""

    def __init__(self) -> None:
        self.epochs: list[dict[str, float]] = []

    def epoch_done(self, record: dict[str, Any], speed: dict[str, float]) -> None:
        self.epochs.append({**speed, "ended": time.monotonic()})

    def mined(self, epoch: int, statistics: dict[str, Any], folder: Path) -> None:
        self.mining_ended = time.monotonic()

    def found(self, epoch: int, kind: str, text: str) -> None:
        return None

"""One GPU: what it computes against a CPU, how fast it trains, mines and precomputes, today's way beside the other.

    python -m benchmarks.gpu [--small] [--only training,mining] [--profile]

Needs torch, transformers, pydantic and what a plain GPU image has besides; neither MLflow nor Great Expectations.
Published dimensions, random weights, synthetic data; under six minutes on one GPU. `--small` runs the same code with
a tiny model on whatever is there, to see that the results agree. The result goes to benchmarks/results/gpu.json.

Both sides of a ratio run in one process. "launched" is a training step as it was: every operation launched on its own,
dropout masks of the whole batch, attention written out, features cast at every use. "eager" has the leaner model and
fused attention, "graph" is the same step captured as one CUDA graph.
"""

import argparse
import copy
import functools
import io
import json
import statistics
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import write_result
from qure.config import FeatureSettings, NegativeSettings, TrainingSettings
from qure.models.config import BLIP2_VITL, QFormerConfig, QureConfig, VisionConfig
from qure.models.precision import PrecisionPolicy, default_device

SMALL = QureConfig(
    backbone="catalogue",
    vision=VisionConfig(image_size=32, patch_size=8, width=32, layers=2, heads=4, intermediate=64),
    qformer=QFormerConfig(vocabulary=200, hidden=32, layers=2, heads=4, intermediate=64, max_positions=64),
    query_tokens=4,
    embedding=16,
)


@dataclass(frozen=True)
class Sizes:
    """How much of everything; FashionIQ's recipe is what training and mining are projected to."""

    config: QureConfig
    batch: int
    images: int
    steps: dict[str, int]
    large_batch: int
    minings: dict[str, tuple[int, int]]
    compared_queries: int
    tokens: int
    dimensions: int
    pictures: int
    picture: tuple[int, int]


FULL = Sizes(
    config=BLIP2_VITL,
    batch=32,
    images=2048,
    steps={"launched": 30, "eager": 30, "graph": 30},
    large_batch=128,
    minings={"fashioniq_category": (6000, 6000), "cirr": (28225, 16939)},
    compared_queries=128,
    tokens=32,
    dimensions=256,
    pictures=2048,
    picture=(512, 683),
)
TINY = Sizes(
    config=SMALL,
    batch=8,
    images=64,
    steps={"launched": 3, "eager": 3, "graph": 3},
    large_batch=0,
    minings={"fashioniq_category": (150, 200)},
    compared_queries=150,
    tokens=4,
    dimensions=16,
    pictures=20,
    picture=(40, 56),
)

#: FashionIQ, train split: triplets, images in the joint corpus, and the published recipe's epochs and minings.
RECIPE = {"triplets": 18000, "corpus": 18000, "categories": 3, "epochs": 30, "minings": 5}


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    options = parse_arguments(arguments)
    sizes = TINY if options.small else FULL
    device = default_device()
    torch.manual_seed(0)
    if device.type == "cpu":
        torch.set_num_threads(1)  # tiny models: more threads only wait for each other
    sections: dict[str, Callable[[], Any]] = {
        "machine": lambda: machine(sizes, device),
        "parity": lambda: parity(sizes, device),
        "training": lambda: training(sizes, device, options.profile),
        "mining": lambda: mining(sizes, device),
        "precompute": lambda: precompute(sizes, device),
    }
    result: dict[str, Any] = {"small": options.small, "device": str(device)}
    started = time.monotonic()
    for name, run in sections.items():
        if options.only and name not in options.only.split(","):
            continue
        begun = time.monotonic()
        try:
            result[name] = run()
        except Exception:
            # A rented machine's minutes are dear: the other sections still run, and this one says what went wrong.
            result[name] = {"failed": traceback.format_exc().splitlines()[-12:]}
            traceback.print_exc()
        release(device)
        print(f"== {name}: {time.monotonic() - begun:.1f} s", json.dumps(result[name], indent=1), sep="\n", flush=True)
    if "failed" not in result.get("training", {"failed": None}) and "failed" not in result.get("mining", {"failed": 0}):
        result["projected_recipe"] = projected(result["training"], result["mining"])
        print(json.dumps(result["projected_recipe"], indent=1), flush=True)
    result["seconds"] = round(time.monotonic() - started, 1)
    if not options.small:
        print(write_result("gpu", result))
    return result


# -- machine and parity


def machine(sizes: Sizes, device: torch.device) -> dict[str, float]:
    """The two ceilings: matrix products and memory."""
    edge = 8192 if device.type == "cuda" else 256
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    one, other = (torch.randn(edge, edge, device=device, dtype=dtype) for _ in range(2))
    product = median_seconds(lambda: one @ other, device)
    copied = torch.empty_like(one)
    copy = median_seconds(lambda: copied.copy_(one), device)
    return {
        "matmul_tflops": round(2 * edge**3 / product / 1e12, 1),
        "copy_gb_per_s": round(2 * one.numel() * one.element_size() / copy / 1e9, 1),
    }


def parity(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Relative difference to the CPU in fp32 of query and image embeddings and of the tower's features."""
    model = new_model(sizes.config, device)
    reference = copy.deepcopy(model).to("cpu")
    shape = (4, sizes.config.vision.tokens, sizes.config.vision.width)
    features, pixels = torch.randn(shape), torch.randn(2, 3, *[sizes.config.vision.image_size] * 2)
    ids, mask = text(4, sizes.config)
    with torch.no_grad():
        wanted = {
            "query": reference.encode_queries(features, ids, mask),
            "image": reference.encode_images(features),
            "features": reference.encode_vision(pixels),
        }
    found: dict[str, Any] = {}
    for precision in ("fp32", "fp16", "bf16"):
        if device.type == "cpu" and precision == "fp16":
            continue
        with torch.no_grad(), PrecisionPolicy.of(precision, device).autocast():  # type: ignore[arg-type]
            got = {
                "query": model.encode_queries(features.to(device), ids.to(device), mask.to(device)),
                "image": model.encode_images(features.to(device)),
                "features": model.encode_vision(pixels.to(device)),
            }
        found[precision] = {name: distance(got[name].float().cpu(), wanted[name]) for name in wanted}
    return found


# -- training


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
    features: Features,
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


def profile(sizes: Sizes, device: torch.device, features: Features, initial: dict[str, Tensor]) -> None:
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


# -- mining


def mining(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Both sizes in the tiles of a CPU (as it was) and of a GPU: seconds, peak, and whether the sets are the same."""
    from qure.negatives.mining import mine
    from qure.negatives.relevance import CPU_TILES, DEFAULT_MEMORY_BUDGET, GPU_TILES

    found: dict[str, Any] = {}
    for name, (queries, images) in sizes.minings.items():
        query, candidates, targets = embeddings(queries, images, sizes, device)
        kinds = {
            "small_tiles": {"tiles": CPU_TILES, "memory_budget": DEFAULT_MEMORY_BUDGET},
            "large_tiles": {"tiles": GPU_TILES},
        }
        made, taken, peaks = {}, {}, {}
        for kind, options in kinds.items():
            run = functools.partial(mine, query, candidates, targets, NegativeSettings(), **options)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            base = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
            times = []
            for _ in range(3 if kind == "large_tiles" else 2):
                synchronize(device)
                begun = time.perf_counter()
                made[kind] = run().hard
                synchronize(device)
                times.append(time.perf_counter() - begun)
            taken[kind] = times
            peaks[kind] = (
                round((torch.cuda.max_memory_allocated(device) - base) / 2**30, 2) if device.type == "cuda" else None
            )
        some = np.linspace(0, queries - 1, sizes.compared_queries).astype(np.int64)
        on_cpu = mine(
            query[torch.from_numpy(some).to(device)].cpu(),
            candidates.cpu(),
            targets[torch.from_numpy(some)],
            NegativeSettings(),
            device="cpu",
        ).hard
        large, small = made["large_tiles"], made["small_tiles"]
        found[name] = {
            "size": [queries, images],
            "seconds": {kind: [round(one, 4) for one in times] for kind, times in taken.items()},
            "times_faster": round(min(taken["small_tiles"]) / min(taken["large_tiles"]), 2),
            "peak_gib": peaks,
            "entries": int(large.offsets[-1]),
            "queries_with_the_same_set_in_both_tiles": sum(
                np.array_equal(large.of(row), small.of(row)) for row in range(queries)
            ),
            "queries_with_the_same_set_on_the_cpu": [
                sum(np.array_equal(large.of(int(row)), on_cpu.of(place)) for place, row in enumerate(some)),
                len(some),
            ],
            "parts_s": mining_parts(query, candidates, targets, device),
        }
    return found


def mining_parts(query: Tensor, candidates: Tensor, targets: Tensor, device: torch.device) -> dict[str, float]:
    """Where a mining's time goes, each part once more on its own, over one block of queries."""
    from qure.negatives.listing import Listing
    from qure.negatives.ranked import Ranked
    from qure.negatives.relevance import relevance_block
    from qure.negatives.selection import select
    from qure.negatives.statistics import observe

    part, columns = query[:2048], targets[:2048].to(device)
    scores = relevance_block(part, candidates)
    ranked = Ranked(scores)
    chosen = select(ranked, columns, NegativeSettings())

    def listed() -> Any:
        with Listing(len(part), device) as listing:
            listing.add(chosen.members, chosen.sizes)
            return listing.hard()

    runs: dict[str, Callable[[], Any]] = {
        "relevance": lambda: relevance_block(part, candidates),
        "rank": lambda: Ranked(scores),
        "select": lambda: select(ranked, columns, NegativeSettings()),
        "observe": lambda: observe(chosen),
        "list": listed,
    }
    return {"queries": len(part)} | {
        name: round(median_seconds(run, device, repeats=3), 5) for name, run in runs.items()
    }


def embeddings(queries: int, images: int, sizes: Sizes, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Queries near their targets among candidates whose tokens resemble each other; targets on the CPU."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    candidates = normal(images, sizes.tokens, sizes.dimensions).add_(normal(images, 1, sizes.dimensions))
    candidates /= candidates.norm(dim=-1, keepdim=True)
    targets = torch.randint(0, images, (queries,), generator=torch.Generator().manual_seed(0))
    query = candidates[targets.to(device)].mean(1) + 0.1 * normal(queries, sizes.dimensions)
    return query / query.norm(dim=-1, keepdim=True), candidates, targets


# -- precompute


class Pictures:
    """JPEG files in memory under many ids."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        from PIL import Image

        numbers = np.random.default_rng(0)
        self._files = []
        for _ in range(min(count, 16)):
            coarse = numbers.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(coarse).resize((size[1], size[0])).save(file, "JPEG", quality=90)
            self._files.append(file.getvalue())
        self.ids = tuple(f"{number:05d}" for number in range(count))

    def read(self, image_id: str) -> bytes:
        return self._files[int(image_id) % len(self._files)]

    def name(self, image_id: str) -> str:
        return image_id


def precompute(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Images a second from files to features in host memory, against the bare tower and bare preparation."""
    import os

    from qure.features.computing import compute_features
    from qure.features.preparing import preparing

    model = new_model(sizes.config, device)
    edge = sizes.config.vision.image_size
    pictures = Pictures(sizes.pictures, sizes.picture)
    settings = FeatureSettings(dtype="fp16" if device.type == "cuda" else "fp32")
    pixels = torch.randn(settings.batch_size, 3, edge, edge, device=device)
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0))}
    with torch.no_grad():
        with PrecisionPolicy.of(settings.dtype, device).autocast():
            found["bare_tower_autocast"] = rate(lambda: model.encode_vision(pixels), settings.batch_size, device)
        if device.type == "cuda":
            half, halved = model.vision.half(), pixels.half()
            found["bare_tower_half"] = rate(
                lambda: half(pixel_values=halved).last_hidden_state, settings.batch_size, device
            )
            model.vision.float()
    for processes in (False, True) if device.type == "cuda" else (False,):
        name = "processes" if processes else "threads"
        with preparing(pictures, edge, processes=processes) as batches:  # type: ignore[arg-type]
            list(batches(pictures.ids[:256], settings.batch_size))  # workers start
            begun = time.perf_counter()
            for _ in batches(pictures.ids, settings.batch_size):
                pass
            found[f"preparation_{name}"] = round(len(pictures.ids) / (time.perf_counter() - begun), 1)
            compute_features(model, pictures, pictures.ids[:256], settings, batches=batches)  # type: ignore[arg-type]
            begun = time.perf_counter()
            features, _ = compute_features(model, pictures, pictures.ids, settings, batches=batches)  # type: ignore[arg-type]
            found[f"precompute_{name}"] = round(len(pictures.ids) / (time.perf_counter() - begun), 1)
    found["images"] = len(features)
    return found


# -- the whole recipe


def projected(training_part: dict[str, Any], mining_part: dict[str, Any]) -> dict[str, Any]:
    """Minutes of FashionIQ's published recipe from the measured steps, encodings and minings."""
    found: dict[str, Any] = {}
    kinds = {"launched": "small_tiles", "graph": "large_tiles"}
    seconds_of = mining_part["fashioniq_category"]["seconds"]
    for name, measured in training_part.items():
        engine = name.split("_")[0]
        if not isinstance(measured, dict) or engine not in kinds or "step_ms" not in measured or "batch" in name:
            continue
        steps = RECIPE["epochs"] * 3 * RECIPE["triplets"] / measured["images_per_second"]
        encoded = (RECIPE["triplets"] + RECIPE["corpus"]) / measured["encoding_images_per_second"]
        mined = RECIPE["categories"] * min(seconds_of[kinds[engine]])
        found[name] = {
            "minutes": round((steps + RECIPE["minings"] * (encoded + mined)) / 60, 2),
            "of_them_minings": round(RECIPE["minings"] * (encoded + mined) / 60, 2),
        }
    for precision in ("bf16", "fp16"):
        if f"launched_{precision}" in found and f"graph_{precision}" in found:
            found[f"times_faster_{precision}"] = round(
                found[f"launched_{precision}"]["minutes"] / found[f"graph_{precision}"]["minutes"], 2
            )
    return found


# -- helpers


@functools.cache
def model_of(as_it_was: bool, config: QureConfig, device: torch.device) -> Any:
    """One model for several trainings, which load their first weights into it; making one takes seconds."""
    return new_model(config, device, vision=False, as_it_was=as_it_was)


def new_model(config: QureConfig, device: torch.device, *, vision: bool = True, as_it_was: bool = False) -> Any:
    """A model with random weights made on the device, in evaluation mode."""
    from qure.models.model import QureModel

    class AsItWas(QureModel):
        """Hands features and mask to transformers' module, which casts and asks as it sees fit."""

        def _attend_on_gpu(self, sequence: Tensor, image: Tensor, mask: Tensor | None = None) -> Tensor:
            states: Tensor = self.qformer(
                query_embeds=sequence,
                query_length=self.config.query_tokens,
                attention_mask=mask,
                encoder_hidden_states=image,
            ).last_hidden_state
            return states

    with torch.device(device):
        made = (AsItWas if as_it_was else QureModel)(config, vision=vision)
    return made.to(device).eval()


def text(count: int, config: QureConfig) -> tuple[Tensor, Tensor]:
    """Sentences of twelve tokens, padded."""
    ids = torch.zeros(count, config.text_tokens, dtype=torch.int64)
    ids[:, :12] = torch.randint(4, config.qformer.vocabulary, (count, 12), generator=torch.Generator().manual_seed(0))
    return ids, (ids > 0).long()


def distance(got: Tensor, wanted: Tensor) -> float:
    return float(f"{((got - wanted).norm() / wanted.norm()).item():.2e}")


def ratio(found: dict[str, Any], before: str, after: str) -> float:
    return round(found[before]["step_ms"] / found[after]["step_ms"], 2)


def rate(run: Callable[[], Any], images: int, device: torch.device) -> float:
    return round(images / median_seconds(run, device), 1)


def median_seconds(run: Callable[[], Any], device: torch.device, repeats: int = 7) -> float:
    run()
    taken = []
    for _ in range(repeats):
        synchronize(device)
        begun = time.perf_counter()
        run()
        synchronize(device)
        taken.append(time.perf_counter() - begun)
    return statistics.median(taken)


def synchronize(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def release(device: torch.device) -> None:
    import gc

    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--small", action="store_true", help="tiny sizes on whatever device there is; nothing is kept")
    parser.add_argument("--only", default=None, help="sections to run, with commas between them")
    parser.add_argument("--profile", action="store_true", help="list the kernels of a graph step")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()

"""A training step from cached image features and as published, with three passes of the frozen ViT per triplet.

    python -m benchmarks.training_step [--size vitl|small] [--batch 2] [--repeats 3] [--device cpu] [--threads 1]

Both kinds of step are taken in turns by one process on the same model (published dimensions, random weights): encode
reference with text, encode target and negative, loss, backward pass, AdamW. CPU seconds are counted where the
computation is on the CPU, because other processes may share it; wall time on a GPU.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.common import write_result
from qure.config import TrainingSettings
from qure.models.config import BLIP2_VITL, QFormerConfig, QureConfig, VisionConfig
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy, default_device
from qure.training.distributed import Processes
from qure.training.optimisation import make_optimizer, optimizer_step, prepare_temperature
from qure.training.step import Batch, TripletLoss

SIZES = {
    "vitl": BLIP2_VITL,
    "small": QureConfig(
        backbone="catalogue",
        vision=VisionConfig(image_size=64, patch_size=8, width=64, layers=2, heads=4, intermediate=256),
        qformer=QFormerConfig(vocabulary=200, hidden=64, layers=4, heads=4, intermediate=256, max_positions=64),
        query_tokens=8,
        embedding=64,
    ),
}


def main() -> None:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)
    device = torch.device(arguments.device or default_device())
    config = SIZES[arguments.size]
    settings = TrainingSettings(precision=arguments.precision, batch_size=arguments.batch)
    model = QureModel(config).to(device)
    prepare_temperature(model, settings)
    policy = PrecisionPolicy.of(settings.precision, device)
    loss = TripletLoss(model, settings, policy, Processes(0, 1, device))
    optimizer, scaler = make_optimizer(model, settings), policy.scaler()
    pixels = torch.randn(3, arguments.batch, 3, config.vision.image_size, config.vision.image_size, device=device)
    text = text_of(arguments.batch, config, device)

    def encoded() -> Tensor:
        """Features of references, targets and negatives: three passes, as published."""
        with policy.autocast():
            return torch.stack([model.encode_vision(images) for images in pixels])

    cache = encoded().to(torch.float16)

    def step(features: Callable[[], Tensor]) -> float:
        model.train()
        started = clock(device)
        outcome = loss(batch_of(features(), text))
        scaler.scale(outcome.loss / arguments.batch).backward()
        optimizer_step(optimizer, scaler, model, None)
        return clock(device) - started

    kinds = {"three_vit_passes": encoded, "cached_features": lambda: cache}
    losses = {name: loss_of(model, loss, batch_of(features(), text)) for name, features in kinds.items()}
    for features in kinds.values():
        step(features)
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(arguments.repeats):
        for name, features in kinds.items():
            taken[name].append(step(features))
    median = {name: statistics.median(times) for name, times in taken.items()}
    payload = {
        "size": arguments.size,
        "batch": arguments.batch,
        "precision": arguments.precision,
        "device": str(device),
        "threads": arguments.threads,
        "unit": "wall seconds" if device.type == "cuda" else "CPU seconds",
        "parameters": sum(one.numel() for one in model.parameters()),
        **{name: {"median": round(median[name], 4), "all": [round(one, 4) for one in taken[name]]} for name in kinds},
        "losses": losses,
        "times_faster": round(median["three_vit_passes"] / median["cached_features"], 2),
    }
    print(json.dumps(payload, indent=2))
    print(write_result("training_step", payload))


@torch.no_grad()
def loss_of(model: QureModel, loss: TripletLoss, batch: Batch) -> float:
    """Of either kind before any step and without dropout: cached features are those of the three passes, in fp16."""
    model.eval()
    return float(loss(batch).loss)


def clock(device: torch.device) -> float:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
        return time.perf_counter()
    return time.process_time()


def text_of(batch: int, config: QureConfig, device: torch.device) -> tuple[Tensor, Tensor]:
    """Sentences of twelve tokens, padded."""
    ids = torch.zeros(batch, config.text_tokens, dtype=torch.int64)
    ids[:, :12] = torch.randint(4, config.qformer.vocabulary, (batch, 12))
    return ids.to(device), (ids > 0).long().to(device)


def batch_of(features: Tensor, text: tuple[Tensor, Tensor]) -> Batch:
    references, targets, negatives = features
    size, device = len(references), references.device
    return Batch(
        references=references,
        input_ids=text[0],
        attention_mask=text[1],
        candidates=torch.cat([targets, negatives]),
        weights=torch.ones(size, device=device),
        rows=torch.arange(size, device=device),
        size=size,
        shared=None,
    )


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=sorted(SIZES), default="vitl")
    parser.add_argument("--batch", type=int, default=2)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--precision", choices=["fp32", "bf16", "fp16"], default="fp32")
    parser.add_argument("--device", default=None)
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


if __name__ == "__main__":
    main()

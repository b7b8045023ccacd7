"""A short image-text contrastive pre-training on the rendered catalogue, in place of BLIP-2's on 129 million pairs.

Without it, learning from single negatives starts from noise. It is BLIP-2's first objective: the text alone through
the Q-Former, `text_proj` of [CLS], against the image's query tokens through `vision_proj`, maximum over tokens. That
trains everything QuRe goes on with except the joint attention of query tokens and text: the vision tower, the
cross-attention and `vision_proj` that make candidates, and the text layers and `text_proj` that both sides of a query
share. BLIP-2's other objectives (matching, captioning) would train the joint attention too; they are left out because
a step would cost more than half as much again, and fine-tuning trains it anyway.

At first neither side says anything that the other could be compared with. A Q-Former normalises behind its layers; with
steps too large that early it settles where all images look alike, and rounding decides whether a run ever leaves that
plateau. Half the learning rate and four times the warm-up of the first version leave it with every seed
(`python -m benchmarks.first_run`; docs/first-run.md has the curves).

It reads train images and full captions only; it never sees a triplet's answer or a validation image.
"""

import contextlib
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial, reduce

import numpy as np
import numpy.typing as npt
import torch
from torch.nn import functional

from qure.config import PretrainingSettings
from qure.errors import StageFailed
from qure.images import normalise
from qure.models.model import INITIAL_TEMPERATURE, QureModel
from qure.models.relevance import relevance
from qure.models.text import longest_text
from qure.models.threads import deterministic_algorithms
from qure.progress import progress_bar

logger = logging.getLogger(__name__)

#: Share of batches drawn from one group (a garment category, or scenes): their negatives are the hard ones.
SINGLE_GROUP_SHARE = 0.6
#: Share of the steps in which the learning rate grows; long, for the reason above.
WARM_UP_SHARE = 0.2
TEMPERATURE_BOUNDS = (0.01, 0.5)
#: Every so many-th image is kept out of the training, to measure what was learned.
HELD_OUT_EVERY = 20
#: Parts that a batch is encoded in side by side, each by one thread. Sums of floats depend on how they are shared out:
#: with a fixed number the weights depend neither on the machine's load nor on its settings. torch's own threads are
#: kept out: on operations as small as these they wait for each other more than they work, and on a busy machine
#: ten times as long.
PARTS = 2

#: Steps between two points of the curve, and between two lines of the log.
CURVE_EVERY = 100
_LOGGED_EVERY = 200

#: Told of the curve: (step, values by name).
Observe = Callable[[int, Mapping[str, float]], None]


@dataclass(frozen=True)
class CaptionedImages:
    """Prepared train images with their full captions.

    Attributes:
        pixels: (N, H, W, 3) uint8, as `qure.images.prepare_image` gives them.
        captions: N captions.
        groups: N group names; batches of one group have harder negatives.
    """

    pixels: npt.NDArray[np.uint8]
    captions: Sequence[str]
    groups: Sequence[str]


@dataclass(frozen=True)
class _Pairs:
    """The same as tensors, and which rows are trained on."""

    pixels: torch.Tensor
    ids: torch.Tensor
    mask: torch.Tensor
    pools: list[npt.NDArray[np.int64]]
    training: npt.NDArray[np.int64]
    held_out: npt.NDArray[np.int64]


def pretrain(
    model: QureModel,
    images: CaptionedImages,
    settings: PretrainingSettings,
    seed: int,
    observe: Observe | None = None,
) -> dict[str, float]:
    """Trains every weight, the vision tower included, in place; leaves the model in evaluation mode, tower frozen.

    The result is a function of the arguments, to the last bit on one kind of machine. Dropout stays off: a thousand
    steps of 32 see each image 11 times, too few to overfit. The temperature goes back to its published start
    afterwards.

    Args:
        observe: told every `CURVE_EVERY` steps the in-batch accuracy since the last time, and the held-out recall.

    Returns:
        in_batch_accuracy: share of captions that found their image among the batch, over the last tenth of the steps.
        loss: mean over the same steps.
        held_out_recall_at_1, held_out_recall_at_5: share of captions of images not trained on that find their image
            among those images (captions of look-alikes are alike, so 1 cannot be reached).
        held_out_images: how many those are.
        learned_temperature: where the temperature ended.

    Raises:
        StageFailed: nothing was learned: fewer of the held-out captions than `settings.least_recall_at_5` find their
            image among the first five.
    """
    pairs = _pairs(model, images)
    assert model.vision is not None  # checked by _pairs
    model.eval()
    model.vision.requires_grad_(True)
    parameters = model.trainable_parameters()
    optimizer = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=0.05, fused=True)
    draws = np.random.Generator(np.random.Philox(seed))
    size = min(settings.batch_size, len(pairs.training))
    losses, accuracies = [], []
    with _reproducible(), _workers() as pool, progress_bar() as bar:
        shown = bar.add_task("pre-training", total=settings.steps, note="")
        for step in range(settings.steps):
            _set_learning_rate(optimizer, settings, step)
            optimizer.zero_grad()
            loss, accuracy = _backward(model, pairs, _batch(draws, pairs, size), pool)
            torch.nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            with torch.no_grad():
                model.temperature.clamp_(*TEMPERATURE_BOUNDS)
            losses.append(loss)
            accuracies.append(accuracy)
            bar.update(shown, advance=1, note=f"loss {losses[-1]:.3f}, in-batch accuracy {accuracy:.2f}")
            if observe is not None and (step + 1) % CURVE_EVERY == 0:
                recent = {"in_batch_accuracy": float(np.mean(accuracies[-CURVE_EVERY:]))}
                observe(step + 1, recent | _held_out_recall(model, pairs))
            if (step + 1) % _LOGGED_EVERY == 0:
                found = float(np.mean(accuracies[-_LOGGED_EVERY:]))
                logger.info(
                    "pre-training, step %d of %d: %.0f %% of captions find their image among %d",
                    *(step + 1, settings.steps, 100 * found, size),
                )
        recall = _held_out_recall(model, pairs)
    last = max(1, settings.steps // 10)
    learned = float(model.temperature.detach())
    with torch.no_grad():
        model.temperature.fill_(INITIAL_TEMPERATURE)
    model.freeze()
    metrics = {
        "in_batch_accuracy": float(np.mean(accuracies[-last:])),
        "loss": float(np.mean(losses[-last:])),
        **recall,
        "held_out_images": len(pairs.held_out),
        "learned_temperature": learned,
    }
    _require_learned(metrics, settings)
    return metrics


def _require_learned(metrics: Mapping[str, float], settings: PretrainingSettings) -> None:
    """What follows would train, judge and register on a tower that sees nothing, and say so only in its numbers."""
    images, found = metrics["held_out_images"], metrics["held_out_recall_at_5"]
    if images and found < settings.least_recall_at_5:
        raise StageFailed(
            f"the pre-training has not learned: {100 * found:.0f} % of {images:.0f} held-out captions find their image "
            f"among the first five; guessing finds {100 * min(1.0, 5 / images):.0f} %, and "
            f"backbone.pretraining.least_recall_at_5 asks for {100 * settings.least_recall_at_5:.0f} %. "
            "In params.yaml under backbone.pretraining try more `steps`, another `seed` or a lower `learning_rate`; "
            "for data of your own that is harder, lower least_recall_at_5"
        )


@contextlib.contextmanager
def _reproducible() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with deterministic_algorithms():
            yield
    finally:
        torch.set_num_threads(threads)


def _workers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(PARTS, initializer=torch.set_num_threads, initargs=(1,))


def _pairs(model: QureModel, images: CaptionedImages) -> _Pairs:
    if model.tokenizer is None or model.vision is None:
        raise ValueError("pre-training needs the tokenizer and the vision tower")
    ids, mask = model.tokenizer(list(images.captions))
    rows = np.arange(len(images.captions), dtype=np.int64)
    held_out = rows[HELD_OUT_EVERY - 1 :: HELD_OUT_EVERY]
    training = np.setdiff1d(rows, held_out)
    groups = np.asarray(images.groups)[training]
    pools = [training[groups == group] for group in sorted(set(groups.tolist()))]
    return _Pairs(torch.from_numpy(images.pixels), ids, mask, pools, training, held_out)


def _batch(draws: np.random.Generator, pairs: _Pairs, size: int) -> torch.Tensor:
    """Rows of one batch: from one group, or from everything."""
    alone = [pool for pool in pairs.pools if len(pool) >= size]
    pool = pairs.training
    if alone and draws.random() < SINGLE_GROUP_SHARE:
        pool = alone[int(draws.integers(len(alone)))]
    return torch.from_numpy(draws.choice(pool, size, replace=False))


def _set_learning_rate(optimizer: torch.optim.Optimizer, settings: PretrainingSettings, step: int) -> None:
    """Linear warm-up, then a cosine to nothing."""
    warm = min(1.0, (step + 1) / max(1.0, WARM_UP_SHARE * settings.steps))
    for group in optimizer.param_groups:
        group["lr"] = settings.learning_rate * warm * 0.5 * (1 + math.cos(math.pi * step / settings.steps))


def _backward(model: QureModel, pairs: _Pairs, rows: torch.Tensor, pool: Executor) -> tuple[float, float]:
    """Sets the gradients of a batch's contrast; returns its loss and the share of captions that found their image.

    The parts are encoded side by side, compared with each other as one batch, and taken back side by side. Their
    gradients are added in a fixed order.
    """
    encoded = list(pool.map(partial(_encode, model, pairs), rows.chunk(PARTS)))
    texts, images = (torch.cat([part[side].detach() for part in encoded]).requires_grad_() for side in (0, 1))
    logits = relevance(texts, images) / model.temperature
    right = torch.arange(len(logits))
    loss = (functional.cross_entropy(logits, right) + functional.cross_entropy(logits.T, right)) / 2
    loss.backward()
    assert texts.grad is not None
    assert images.grad is not None
    encoders = [one for one in model.trainable_parameters() if one is not model.temperature]
    sizes = [len(part[0]) for part in encoded]
    upstream = zip(texts.grad.split(sizes), images.grad.split(sizes), strict=True)
    gradients = pool.map(lambda part, above: torch.autograd.grad(part, encoders, above), encoded, upstream)
    for parameter, *parts in zip(encoders, *gradients, strict=True):
        parameter.grad = reduce(torch.add, parts)
    return loss.item(), float((logits.argmax(dim=1) == right).float().mean())


def _encode(model: QureModel, pairs: _Pairs, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Text embeddings (rows, D) and image embeddings (rows, T, D)."""
    assert model.vision is not None
    longest = longest_text(pairs.mask[rows])
    features = model.vision(pixel_values=normalise(pairs.pixels[rows])).last_hidden_state
    texts = model.encode_texts(pairs.ids[rows, :longest], pairs.mask[rows, :longest])
    return texts, model.encode_images(features)


@torch.no_grad()
def _held_out_recall(model: QureModel, pairs: _Pairs) -> dict[str, float]:
    if len(pairs.held_out) == 0:
        return {"held_out_recall_at_1": 0.0, "held_out_recall_at_5": 0.0}
    scores = relevance(*_encode(model, pairs, torch.from_numpy(pairs.held_out)))
    better = (scores > scores.diagonal().unsqueeze(1)).sum(dim=1)
    return {f"held_out_recall_at_{k}": float((better < k).float().mean()) for k in (1, 5)}

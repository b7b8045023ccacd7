"""Images -> features: files are read and decoded in parallel while the device works on the batch before."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext

import torch

from qure.config import FeatureSettings, Precision
from qure.datasets.image_store import ImageStore
from qure.errors import StageFailed
from qure.features.preparing import Batches, preparing
from qure.images import normalise
from qure.models.model import QureModel
from qure.models.precision import DTYPES, PrecisionPolicy

#: Batches of features on their way from a GPU at once.
_UNDER_WAY = 2


def compute_features(
    model: QureModel,
    images: ImageStore,
    ids: Sequence[str],
    settings: FeatureSettings,
    advance: Callable[[int], None] = lambda count: None,
    batches: Batches | None = None,
) -> tuple[torch.Tensor, list[str]]:
    """Features of some images and the SHA-256 of their files.

    Args:
        model: with its vision tower.
        images: where the files are.
        ids: which.
        settings: `dtype` and `batch_size` are read.
        advance: told after each batch how many images it held.
        batches: workers of `qure.features.preparing` that several calls share; None: this call's own.

    Returns:
        (len(ids), tokens, width) in the stored dtype on the CPU, digests in the same order.

    Raises:
        ImageError: an image cannot be decoded.
        StageFailed: a feature is not finite in the stored dtype.
    """
    vision, cuda = model.config.vision, model.device.type == "cuda"
    result = torch.empty(
        len(ids), vision.tokens, vision.width, dtype=DTYPES[settings.dtype], pin_memory=cuda and len(ids) > 0
    )
    digests: list[str] = []
    finite: list[torch.Tensor] = []
    back = _CopyBack(model.device)
    with nullcontext(batches) if batches else preparing(images, vision.image_size, processes=cuda) as prepared:
        for batch in prepared(ids, settings.batch_size):
            pixels = torch.from_numpy(batch.pixels)
            pixels = (pixels.pin_memory() if cuda else pixels).to(model.device, non_blocking=True)
            features = encode_pixels(model, pixels, settings.dtype)
            finite.append(torch.isfinite(features).flatten(1).all(dim=1))
            back(features, result[len(digests) : len(digests) + len(batch.digests)])
            digests += batch.digests
            advance(len(batch.digests))
        back.wait()
    _refuse_overflow(finite, ids, settings.dtype)
    return result, digests


def encode_pixels(model: QureModel, pixels: torch.Tensor, dtype: Precision) -> torch.Tensor:
    """Features of prepared images as a store of that dtype holds them; searching must see what training saw.

    On a GPU the tower computes under autocast in that dtype, as published (fp16); on a CPU in fp32, and only the
    result is cast.

    Args:
        pixels: (B, H, W, 3) uint8 from `qure.images.prepare_image`, on the model's device.

    Returns:
        (B, tokens, width) in that dtype, on the model's device.
    """
    policy = PrecisionPolicy.of(dtype if model.device.type == "cuda" else "fp32", model.device)
    with policy.autocast():
        return model.encode_vision(normalise(pixels)).to(DTYPES[dtype])


class _CopyBack:
    """Copies features to page-locked host memory on a stream of its own, while the next batch is computed."""

    def __init__(self, device: torch.device) -> None:
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._under_way: deque[torch.cuda.Event] = deque()

    def __call__(self, features: torch.Tensor, place: torch.Tensor) -> None:
        if self._stream is None:
            place.copy_(features)
            return
        self._stream.wait_stream(torch.cuda.current_stream(features.device))
        with torch.cuda.stream(self._stream):
            place.copy_(features, non_blocking=True)
            features.record_stream(self._stream)
            self._under_way.append(self._stream.record_event())
        if len(self._under_way) > _UNDER_WAY:
            self._under_way.popleft().synchronize()

    def wait(self) -> None:
        """Until everything has arrived."""
        while self._under_way:
            self._under_way.popleft().synchronize()


def _refuse_overflow(finite: list[torch.Tensor], ids: Sequence[str], dtype: str) -> None:
    every = torch.cat(finite) if finite else torch.ones(0, dtype=torch.bool)
    if not every.all():
        image_id = ids[int((~every).nonzero()[0])]
        raise StageFailed(f"features of image {image_id!r} are not finite in {dtype}; set features.dtype to bf16")

"""Images -> features: files are read and decoded in parallel threads while the device works on the batch before."""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from qure.config import FeatureSettings
from qure.datasets.image_store import ImageStore
from qure.errors import StageFailed
from qure.images import normalise, prepare_image
from qure.models.model import QureModel
from qure.models.precision import DTYPES, PrecisionPolicy

#: Batches that are decoded ahead of the device.
_AHEAD = 2


class _Prepared(NamedTuple):
    pixels: npt.NDArray[np.uint8]
    sha256: str


def compute_features(
    model: QureModel,
    images: ImageStore,
    ids: Sequence[str],
    settings: FeatureSettings,
    advance: Callable[[int], None] = lambda count: None,
) -> tuple[torch.Tensor, list[str]]:
    """Features of some images and the SHA-256 of their files.

    On a GPU the tower computes under autocast in the stored dtype, as published (fp16); on a CPU in fp32, and only
    the result is cast.

    Args:
        model: with its vision tower.
        images: where the files are.
        ids: which.
        settings: `dtype` and `batch_size` are read.
        advance: told after each batch how many images it held.

    Returns:
        (len(ids), tokens, width) in the stored dtype on the CPU, digests in the same order.

    Raises:
        ImageError: an image cannot be decoded.
        StageFailed: a feature is not finite in the stored dtype.
    """
    vision = model.config.vision
    result = torch.empty(len(ids), vision.tokens, vision.width, dtype=DTYPES[settings.dtype])
    digests: list[str] = []
    policy = PrecisionPolicy.of(settings.dtype if model.device.type == "cuda" else "fp32", model.device)
    for batch in _prepared_batches(images, ids, vision.image_size, settings.batch_size):
        pixels = torch.from_numpy(np.stack([one.pixels for one in batch])).to(model.device, non_blocking=True)
        with policy.autocast():
            features = model.encode_vision(normalise(pixels)).to(result.dtype)
        result[len(digests) : len(digests) + len(batch)] = features.cpu()
        digests += [one.sha256 for one in batch]
        advance(len(batch))
    _refuse_overflow(result, ids, settings.dtype)
    return result, digests


def _prepared_batches(images: ImageStore, ids: Sequence[str], size: int, batch_size: int) -> Iterator[list[_Prepared]]:
    def prepare(image_id: str) -> _Prepared:
        data = images.read(image_id)
        return _Prepared(prepare_image(data, size, name=images.name(image_id)), hashlib.sha256(data).hexdigest())

    waiting: deque[list[Future[_Prepared]]] = deque()
    with ThreadPoolExecutor(max_workers=len(os.sched_getaffinity(0))) as pool:
        try:
            for start in range(0, len(ids), batch_size):
                waiting.append([pool.submit(prepare, image_id) for image_id in ids[start : start + batch_size]])
                if len(waiting) > _AHEAD:
                    yield [future.result() for future in waiting.popleft()]
            while waiting:
                yield [future.result() for future in waiting.popleft()]
        finally:  # after a broken image the rest need not be decoded
            pool.shutdown(wait=False, cancel_futures=True)


def _refuse_overflow(features: torch.Tensor, ids: Sequence[str], dtype: str) -> None:
    finite = torch.isfinite(features).flatten(1).all(dim=1)
    if not finite.all():
        image_id = ids[int((~finite).nonzero()[0])]
        raise StageFailed(f"features of image {image_id!r} are not finite in {dtype}; set features.dtype to bf16")

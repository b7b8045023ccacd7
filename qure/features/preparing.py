"""Image files -> pixels and digests, many at once and ahead of who works on them.

Beside a GPU in processes: decoding holds Python's lock for a seventh of its time, so threads stop scaling at seven
cores. Where a CPU computes the features, threads are enough, and nothing has to be started.
"""

import hashlib
import os
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from qure.errors import BadInput
from qure.images import ImageError, prepare_image
from qure.processes import worker_pool

if TYPE_CHECKING:
    from qure.datasets.image_base import ImageStore

#: Batches that are prepared ahead.
_AHEAD = 2
#: Images that one process prepares before it answers.
_TOGETHER = 8


class Prepared(NamedTuple):
    """Some images: pixels (n, size, size, 3) uint8 and the SHA-256 of their files."""

    pixels: npt.NDArray[np.uint8]
    digests: list[str]


class _Refused(NamedTuple):
    """A `BadInput` on its way between processes; exceptions with own arguments cannot be pickled."""

    image: bool
    problem: str
    file: str | None
    remedy: str | None


Batches = Callable[[Sequence[str], int], Iterator[Prepared]]

#: In a worker process: what it prepares from.
_source: "tuple[ImageStore, int] | None" = None


@contextmanager
def preparing(images: "ImageStore", size: int, *, processes: bool) -> Iterator[Batches]:
    """Workers that prepare images of a store.

    Args:
        images: where the files are.
        size: edge length of the model's input.
        processes: one a core instead of threads.

    Yields:
        a function of ids and a batch size to the batches in the order of the ids. It raises ImageError for an image
        that cannot be decoded, and BadInput for one that is not there.
    """
    workers = len(os.sched_getaffinity(0))
    pool: Executor
    if processes and workers > 1:
        context = get_context("spawn")  # a forked process would share locks of threads that it does not have
        pool = worker_pool(workers, context, _remember, (images, size))
        work: Callable[[Sequence[str]], Prepared | _Refused] = _prepare_in_process
        together = _TOGETHER
    else:
        pool = ThreadPoolExecutor(workers)
        work = _Prepare(images, size)
        together = 1

    def batches(ids: Sequence[str], batch_size: int) -> Iterator[Prepared]:
        waiting: deque[list[Future[Prepared | _Refused]]] = deque()
        try:
            for start in range(0, len(ids), batch_size):
                batch = ids[start : start + batch_size]
                cuts = range(0, len(batch), together)
                waiting.append([pool.submit(work, batch[cut : cut + together]) for cut in cuts])
                if len(waiting) > _AHEAD:
                    yield _join(waiting.popleft())
            while waiting:
                yield _join(waiting.popleft())
        finally:  # after a broken image the rest need not be decoded
            for futures in waiting:
                for future in futures:
                    future.cancel()

    try:
        yield batches
    finally:
        pool.shutdown(wait=processes, cancel_futures=True)


class _Prepare:
    """Reads, hashes and prepares images, in order."""

    def __init__(self, images: "ImageStore", size: int) -> None:
        self._images, self._size = images, size

    def __call__(self, ids: Sequence[str]) -> Prepared:
        pixels, digests = [], []
        for image_id in ids:
            data = self._images.read(image_id)
            pixels.append(prepare_image(data, self._size, name=self._images.name(image_id)))
            digests.append(hashlib.sha256(data).hexdigest())
        return Prepared(np.stack(pixels), digests)


def _remember(images: "ImageStore", size: int) -> None:
    global _source
    _source = images, size


def _prepare_in_process(ids: Sequence[str]) -> Prepared | _Refused:
    assert _source is not None
    try:
        return _Prepare(*_source)(ids)
    except ImageError as error:
        return _Refused(True, error.reason, error.name, error.remedy)
    except BadInput as error:
        return _Refused(False, error.problem, None if error.file is None else str(error.file), error.remedy)


def _join(futures: "list[Future[Prepared | _Refused]]") -> Prepared:
    pixels, digests = [], []
    for future in futures:
        found = future.result()
        if isinstance(found, _Refused):
            if found.image:
                raise ImageError(found.file or "", found.problem)
            raise BadInput(found.problem, file=found.file, remedy=found.remedy)
        pixels.append(found.pixels)
        digests += found.digests
    return Prepared(np.concatenate(pixels), digests)

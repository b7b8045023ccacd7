"""Processes that work for this one, and never longer than it lives."""

import multiprocessing
import os
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor  # noqa: TID251 (here alone)
from multiprocessing.context import BaseContext
from typing import Any


def worker_pool(
    workers: int,
    context: BaseContext,
    initializer: Callable[..., object] | None = None,
    initargs: tuple[Any, ...] = (),
) -> ProcessPoolExecutor:
    """A pool whose processes end with this one, however it ends.

    The standard library's own wait for work for ever when their parent is killed: each of them holds both ends of the
    pipe that work comes through, so none sees it close.

    Args:
        workers: how many processes.
        context: how they are started: of `spawn` or `forkserver`, whose processes hold no end of their own pipe.
        initializer, initargs: called in each process before any work.
    """
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(initializer, initargs))


def _begin(initializer: Callable[..., object] | None, initargs: tuple[Any, ...]) -> None:
    threading.Thread(target=_end_with_parent, name="end with parent", daemon=True).start()
    if initializer is not None:
        initializer(*initargs)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)

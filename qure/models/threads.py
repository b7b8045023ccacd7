"""How a model is computed on a CPU: with how many of torch's threads, and with which of its operations."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch

from qure.models.model import QureModel

#: A Q-Former of fewer hidden units is small. The catalogue's has 64, the published one 768.
SMALL_HIDDEN = 128


@contextlib.contextmanager
def suited_threads(model: QureModel) -> Iterator[None]:
    """One thread for a small model on a CPU, torch's own number for everything else.

    On operations as small as the catalogue's, threads wait for each other more than they work, and on a busy machine
    ten times as long. Sums also depend on how they are shared out: with one thread a result depends neither on the
    machine's cores nor on its load. The process's number is put back afterwards.
    """
    threads = torch.get_num_threads()
    small = model.device.type == "cpu" and model.config.qformer.hidden < SMALL_HIDDEN
    if small:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        if small:
            torch.set_num_threads(threads)


@contextlib.contextmanager
def deterministic_algorithms() -> Iterator[None]:
    """Only operations that always give the same bits; what torch was set to is put back afterwards.

    With them torch also fills every new tensor with NaN, so that a read of memory that was never written shows. No
    operation here does that, and filling costs a small model 2 to 9 % of its step.
    """
    settings: Any = torch.utils.deterministic  # a property that typing does not see
    before, filling = torch.are_deterministic_algorithms_enabled(), settings.fill_uninitialized_memory
    torch.use_deterministic_algorithms(True)
    settings.fill_uninitialized_memory = False
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before)
        settings.fill_uninitialized_memory = filling

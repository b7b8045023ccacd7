"""How many of torch's threads a model is computed with on a CPU."""

import contextlib
from collections.abc import Iterator

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

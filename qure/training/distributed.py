"""Data parallel training under `torchrun`: the few collectives that the loop needs.

One process and several give the same sequence of losses, to rounding (on a GPU dropout apart, see `dropout`): a batch
is the batch of the recipe, however many processes share it; losses are normalised over the whole batch; candidates
that queries share are gathered over all processes with their gradient. Rank 0 alone reads and writes checkpoints and
outputs and hands on what the others need, so the processes need no shared folder for them.
"""

import atexit
import contextlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from qure.errors import BadInput


@dataclass(frozen=True)
class Processes:
    """The processes that train together; with `world` 1 every method is the identity.

    Attributes:
        rank: this process's number.
        world: how many there are.
        device: where this process computes.
    """

    rank: int
    world: int
    device: torch.device

    @property
    def main(self) -> bool:
        """Whether this process writes files and talks to the tracking server."""
        return self.rank == 0

    def gather(self, tensor: Tensor) -> Tensor:
        """The processes' tensors, equal in shape, one after the other along dimension 0; gradients flow back."""
        if self.world == 1:
            return tensor
        gathered: Tensor = _Gather.apply(tensor, self.rank, self.world)
        return gathered

    def sum(self, tensor: Tensor) -> Tensor:
        """The sum of the processes' tensors, without gradient."""
        if self.world > 1:
            tensor = tensor.detach().clone()
            dist.all_reduce(tensor)
        return tensor

    def share(self, value: Any) -> Any:
        """Rank 0's JSON-able value, on every process."""
        if self.world == 1:
            return value
        text = json.dumps(value).encode() if self.main else b""
        size = torch.tensor([len(text)], device=self.device)
        dist.broadcast(size, src=0)
        content = torch.empty(int(size), dtype=torch.uint8, device=self.device)
        if self.main:
            content.copy_(torch.frombuffer(bytearray(text), dtype=torch.uint8))
        dist.broadcast(content, src=0)
        return json.loads(content.cpu().numpy().tobytes())

    def share_tensors(self, tensors: dict[str, Tensor] | None) -> dict[str, Tensor]:
        """Rank 0's tensors, on every process, each on the CPU."""
        if self.world == 1:
            return tensors or {}
        tensors = tensors or {}
        shapes = self.share([[name, list(one.shape), str(one.dtype)] for name, one in tensors.items()])
        shared = {}
        for name, shape, dtype in shapes:
            numbers = torch.empty(shape, dtype=getattr(torch, dtype.removeprefix("torch.")), device=self.device)
            if self.main:
                numbers.copy_(tensors[name])
            if numbers.numel():
                dist.broadcast(numbers, src=0)
            shared[name] = numbers.cpu()
        return shared


class _Gather(torch.autograd.Function):
    """all_gather; its gradient is this process's part of the summed gradients."""

    @staticmethod
    def forward(context: Any, tensor: Tensor, rank: int, world: int) -> Tensor:
        context.rank = rank
        parts = [torch.empty_like(tensor) for _ in range(world)]
        dist.all_gather(parts, tensor.contiguous())
        return torch.cat(parts)

    @staticmethod
    def backward(context: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        gradient = gradients[0].contiguous()
        dist.all_reduce(gradient)
        size = len(gradient) // dist.get_world_size()
        return gradient[context.rank * size : (context.rank + 1) * size], None, None


@contextlib.contextmanager
def processes(device: torch.device) -> Iterator[Processes]:
    """Joins the processes that `torchrun` started, or stands alone when there are none.

    Under torchrun, `cuda` without a number becomes this process's own GPU (LOCAL_RANK), with NCCL between the
    processes; on CPUs they talk through gloo. They stay joined until the process ends, so that one command can train
    several times.

    Raises:
        BadInput: more processes on a machine than GPUs.
    """
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world == 1:
        yield Processes(0, 1, device)
        return
    if device.type == "cuda":
        device = _own_gpu()
    if not dist.is_initialized():
        dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
        atexit.register(dist.destroy_process_group)
    yield Processes(dist.get_rank(), dist.get_world_size(), device)


def _own_gpu() -> torch.device:
    local = int(os.environ.get("LOCAL_RANK", "0"))
    if local >= torch.cuda.device_count():
        raise BadInput(
            f"process {local} of this machine has no GPU of its own: there are {torch.cuda.device_count()}",
            remedy="Start torchrun with --nproc-per-node no larger than the number of GPUs",
        )
    torch.cuda.set_device(local)
    return torch.device("cuda", local)

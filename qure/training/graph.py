"""A whole optimizer step launched at once: captured as a CUDA graph and replayed with new numbers in the same memory.

A step of the published size is some ten thousand small kernels, and launching them one by one takes five times as long
as computing them. A graph launches all of them in one go. What a step reads must then lie where it lay when the step
was captured: every part of a batch is filled to one length, its numbers are copied into buffers that never move, and
features that the GPU holds are gathered inside the graph. Random numbers come from torch's default generator, whose
state torch registers with every graph, so a seed set before a replay counts as it does before a plain step.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from qure.config import TrainingSettings
from qure.errors import BadInput
from qure.features.store import FeatureStore
from qure.training.batches import BatchNumbers
from qure.training.distributed import Processes
from qure.training.step import Batch

#: A step over parts of a batch: forward and backward passes, optimizer; the second argument scales their losses.
#: Returns the step's counts.
Step = Callable[[list[Batch], Tensor], Tensor]

#: Steps that run launch by launch before one is captured: they allocate what must outlive the graph.
WARM_UP = 3

#: What changes from step to step; the rest of a `Batch` is the same in all.
_FIELDS = ("references", "candidates", "input_ids", "attention_mask", "weights", "shared")

HostPart = dict[str, Tensor]


def uses_graph(settings: TrainingSettings, group: Processes) -> bool:
    """Whether this training's steps become a CUDA graph.

    Raises:
        BadInput: the settings insist on it, but there is no GPU or there are several processes.
    """
    possible = group.device.type == "cuda" and group.world == 1
    if settings.engine == "graph" and not possible:
        raise BadInput(
            f"engine 'graph' needs one process on a CUDA GPU; here are {group.world} on {group.device.type!r}",
            field="engine",
            remedy="Set engine to auto or eager",
        )
    return settings.engine != "eager" and possible and not settings.gradient_checkpointing


class GraphStep:
    """Runs a step from buffers that never move, on a GPU as one CUDA graph after the first few.

    On a CPU nothing is captured: the same step runs from the same buffers.

    Args:
        step: what to run. It must not wait for the device, and must leave the gradients empty.
        features: of all images; gathered inside the step where the device holds them.
        device: where.
    """

    def __init__(self, step: Step, features: FeatureStore, device: torch.device) -> None:
        self._step, self._features, self._device = step, features, device
        self._buffers: list[HostPart] = []
        self._first: list[BatchNumbers] = []
        self._share = torch.zeros((), device=device)
        self._graph: torch.cuda.CUDAGraph | None = None
        self._counts = torch.empty(0)
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None
        self._warm = 0

    def prepare(self, parts: Sequence[BatchNumbers]) -> tuple[Sequence[BatchNumbers], list[HostPart]]:
        """A step's numbers in page-locked memory; may run in another thread while a step runs."""
        return parts, [self._host_part(part) for part in parts]

    def __call__(self, prepared: tuple[Sequence[BatchNumbers], list[HostPart]], share: float) -> Tensor:
        """One step; returns its counts."""
        self._fill(*prepared, share)
        if self._stream is None:
            return self._step(self._batches(), self._share)
        if self._graph is None and self._warm == WARM_UP:
            self._graph = self._capture(self._stream)
        if self._graph is not None:
            self._graph.replay()
            return self._counts.clone()
        self._warm += 1
        return self._on(self._stream)

    def _host_part(self, part: BatchNumbers) -> HostPart:
        values = {name: getattr(part, name) for name in _FIELDS if getattr(part, name) is not None}
        if self._features.table is None:
            values |= {name: self._features.read(values[name]) for name in ("references", "candidates")}
        return {name: value.pin_memory() for name, value in values.items()} if self._stream is not None else values

    def _fill(self, parts: Sequence[BatchNumbers], values: list[HostPart], share: float) -> None:
        if not self._buffers:
            self._first = list(parts)
            self._buffers = [
                {name: torch.empty_like(value, device=self._device) for name, value in part.items()} for part in values
            ]
        self._share.fill_(share)
        for buffers, part in zip(self._buffers, values, strict=True):
            for name, buffer in buffers.items():
                if buffer.shape != part[name].shape:
                    raise ValueError(f"{name} is {tuple(part[name].shape)}, the captured step's {tuple(buffer.shape)}")
                buffer.copy_(part[name], non_blocking=True)

    def _batches(self) -> list[Batch]:
        return [self._batch(numbers, buffers) for numbers, buffers in zip(self._first, self._buffers, strict=True)]

    def _batch(self, numbers: BatchNumbers, buffers: HostPart) -> Batch:
        table = self._features.table
        images = {name: buffers[name] for name in ("references", "candidates")}
        if table is not None:
            images = {name: table.index_select(0, rows) for name, rows in images.items()}
        return Batch(
            references=images["references"],
            input_ids=buffers["input_ids"],
            attention_mask=buffers["attention_mask"],
            candidates=images["candidates"],
            weights=buffers["weights"],
            rows=numbers.rows,
            size=numbers.size,
            shared=buffers.get("shared"),
        )

    def _on(self, stream: torch.cuda.Stream) -> Tensor:
        """Warm-up on the stream of the capture: autograd keeps the stream on which it first saw a parameter."""
        current = torch.cuda.current_stream(self._device)
        stream.wait_stream(current)
        with torch.cuda.stream(stream):
            counts = self._step(self._batches(), self._share)
        current.wait_stream(stream)
        return counts.clone()

    def _capture(self, stream: torch.cuda.Stream) -> torch.cuda.CUDAGraph:
        graph = torch.cuda.CUDAGraph()
        # Only this thread's calls are watched: another one reads the next batch meanwhile.
        with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
            self._counts = self._step(self._batches(), self._share)
        return graph

"""Dropout that does not depend on how many processes share a batch.

torch draws a dropout mask for the rows it sees, so two processes with half a batch each drop other units than one
process with the whole batch, and their losses part ways from the first step. Here every process draws the mask of
the whole batch from the same stream and keeps the part of its own rows: data parallel training gives the losses of
one process, to rounding, with dropout as published (0.1).

One process on a GPU lets torch draw its masks itself, inside fused attention too, because nobody shares its batches:
there one process and several drop other units, and their losses agree to rounding without dropout alone.
"""

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.overrides import TorchFunctionMode


class BatchDropout(TorchFunctionMode):
    """While active, `dropout` and dropout inside attention draw masks for the whole batch.

    The first dimension of every tensor dropped is either this process's rows, or a multiple of them (candidates:
    the targets' rows, then the rows of each round of negatives). Masks come from the default generator of the
    tensor's device, so that gradient checkpointing, which restores it, recomputes the same ones: the backward pass
    runs outside of this mode, so `checkpoint` must be given `contexts` as its `context_fn`.

    Args:
        rows: (b,) which rows of the whole batch this process holds.
        batch: rows of the whole batch.
    """

    def __init__(self, rows: Tensor, batch: int) -> None:
        super().__init__()
        self._rows, self._batch = rows, batch

    def contexts(self) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        """What `torch.utils.checkpoint.checkpoint` runs a layer in: the first time, and when recomputing it."""
        return nullcontext(), BatchDropout(self._rows, self._batch)

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Iterable[type],
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        arguments = dict(kwargs or {})
        if func is functional.dropout:
            return self._dropout(*args, **arguments)
        if func is functional.scaled_dot_product_attention and arguments.get("dropout_p", 0.0) > 0:
            return self._attention(*args, **arguments)
        return func(*args, **arguments)

    def _dropout(self, values: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        if not training or p == 0:
            return values
        return values * self._scaled_mask(values, p)

    def _attention(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        attn_mask: Tensor | None = None,
        dropout_p: float = 0.0,
        is_causal: bool = False,
        scale: float | None = None,
    ) -> Tensor:
        """Attention written out, because the fused kernels draw their masks themselves."""
        if is_causal:
            raise NotImplementedError("causal attention with batch-wide dropout")
        scores = query @ key.transpose(-2, -1) * (query.shape[-1] ** -0.5 if scale is None else scale)
        if attn_mask is not None:
            hidden = attn_mask.dtype == torch.bool
            scores = scores.masked_fill(~attn_mask, float("-inf")) if hidden else scores + attn_mask
        weights = scores.softmax(dim=-1).to(value.dtype)
        return (weights * self._scaled_mask(weights, dropout_p)) @ value

    def _scaled_mask(self, values: Tensor, p: float) -> Tensor:
        rounds = len(values) // len(self._rows)
        drawn = torch.rand((rounds * self._batch, *values.shape[1:]), device=values.device)
        if len(self._rows) < self._batch:
            starts = torch.arange(rounds, device=values.device)[:, None] * self._batch
            drawn = drawn[(starts + self._rows.to(values.device)).flatten()]
        return (drawn >= p).to(values.dtype) / (1 - p)

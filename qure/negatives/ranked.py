"""A block of scores in descending order. Who ranked where is found out only where somebody asks.

Sorting values alone takes a twentieth of a stable sort with its columns (both on one core). A target's rank and the
images of a range of ranks follow from values, except where equal scores lie across the range's edge: those rows, and
strategies that look at the order themselves, are sorted with their columns.
"""

from functools import cached_property

import numpy as np
import torch
from torch import Tensor

#: Queries that a CPU sorts with their columns at once.
_SORTED_AT_ONCE = 16


def rank(scores: Tensor) -> tuple[Tensor, Tensor]:
    """Scores in descending order and the columns they came from; ties keep ascending column order.

    >>> scores, order = rank(torch.tensor([[0.1, 0.9, 0.1, 0.5]]))
    >>> order.tolist()
    [[1, 3, 0, 2]]
    """
    ranked = torch.sort(scores, dim=1, descending=True, stable=True)
    return ranked.values, ranked.indices


class Ranked:
    """The corpus of every query of a block in the order of `rank`.

    Args:
        by_column: (q, N) float32 without NaN.

    Attributes:
        by_column: as given.
        scores: (q, N) float32, descending.
    """

    def __init__(self, by_column: Tensor) -> None:
        self.by_column = by_column
        #: A GPU sorts columns along for little, and has no wish to be asked about single rows.
        self.values_first = by_column.device.type == "cpu"
        if self.values_first:
            self.scores = _descending(by_column)
        else:
            self.scores, self.order = rank(by_column)

    @cached_property
    def order(self) -> Tensor:
        """(q, N) int64, the corpus column at each rank; equal scores in ascending column order."""
        order = torch.empty(self.by_column.shape, dtype=torch.int64)
        for first in range(0, len(order), _SORTED_AT_ONCE):  # a sort has copies of its own
            order[first : first + _SORTED_AT_ONCE] = rank(self.by_column[first : first + _SORTED_AT_ONCE])[1]
        return order

    def ranks_of(self, columns: Tensor) -> Tensor:
        """(q,) int64, 0-based rank of one column of each query.

        Args:
            columns: (q,) int64.
        """
        if not self.values_first:
            return (self.order == columns[:, None]).to(torch.uint8).argmax(1)
        scores = self.by_column.numpy()
        own = np.take_along_axis(scores, columns[:, None].numpy(), axis=1)  # (q, 1)
        ranks = np.count_nonzero(scores > own, axis=1)
        equal = scores == own
        for row in np.flatnonzero(np.count_nonzero(equal, axis=1) > 1):
            ranks[row] += np.count_nonzero(equal[row, : columns[row]])
        return torch.from_numpy(ranks)

    def members(self, first: Tensor, stop: Tensor) -> Tensor:
        """(q, N) bool by column: the images at ranks first .. stop - 1 of each query.

        Args:
            first, stop: (q,) int64 with 0 <= first < stop <= N.
        """
        last = self.scores.shape[1] - 1
        highest = self.scores.gather(1, first[:, None])  # (q, 1)
        lowest = self.scores.gather(1, stop[:, None] - 1)
        above = self.scores.gather(1, (first[:, None] - 1).clamp(min=0))
        below = self.scores.gather(1, stop[:, None].clamp(max=last))
        clear = ((first[:, None] == 0) | (above > highest)) & ((stop[:, None] > last) | (lowest > below))
        scores = self.by_column.numpy()
        members = torch.from_numpy((scores <= highest.numpy()) & (scores >= lowest.numpy()))
        for row in (~clear[:, 0]).nonzero()[:, 0].tolist():  # equal scores on both sides of an edge
            order = rank(self.by_column[row : row + 1])[1][0]
            members[row] = False
            members[row, order[first[row] : stop[row]]] = True
        return members


def _descending(scores: Tensor) -> Tensor:
    # NumPy sorts upwards, in vector registers where it sorts values alone; signs turn it around without a copy.
    ordered = np.negative(scores.numpy())
    ordered.sort(axis=1)
    return torch.from_numpy(np.negative(ordered, out=ordered))

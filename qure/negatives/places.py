"""The ranks at which a query's negatives lie, as marks or as a range."""

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Marks:
    """Any ranks; at least one in every row.

    Attributes:
        marks: (q, N) bool by rank.
    """

    marks: Tensor

    def below(self, bounds: Tensor) -> Tensor:
        """(q, b) int32, how many of each query's ranks are smaller than each of its bounds (q, b) or (1, b) int64."""
        sums = torch.cumsum(self.marks.to(torch.uint8), 1, dtype=torch.int32)
        before = torch.nn.functional.pad(sums, (1, 0))  # (q, N + 1)
        return before.gather(1, bounds.expand(len(before), -1))

    def first(self) -> Tensor:
        """(q,) int64, the smallest rank."""
        return self.marks.to(torch.uint8).argmax(1)

    def last(self) -> Tensor:
        """(q,) int64, the largest rank."""
        return self.marks.shape[1] - 1 - self.marks.flip(1).to(torch.uint8).argmax(1)


@dataclass(frozen=True)
class Span:
    """The ranks start .. stop - 1 without the target's; at least one in every row.

    Attributes:
        start, stop: (q,) int64, 0 <= start < stop <= N.
        target_ranks: (q,) int64.
    """

    start: Tensor
    stop: Tensor
    target_ranks: Tensor

    @property
    def holds_target(self) -> Tensor:
        """(q,) bool, whether the target's rank lies inside."""
        return (self.start <= self.target_ranks) & (self.target_ranks < self.stop)

    def size(self) -> Tensor:
        """(q,) int64, how many ranks these are."""
        return self.stop - self.start - self.holds_target.long()

    def below(self, bounds: Tensor) -> Tensor:
        """As `Marks.below`."""
        start, stop, target = self.start[:, None], self.stop[:, None], self.target_ranks[:, None]
        inside = torch.minimum(bounds.expand(len(start), -1), stop).sub(start).clamp(min=0)  # (q, b)
        return (inside - (self.holds_target[:, None] & (target < bounds)).long()).int()

    def first(self) -> Tensor:
        """(q,) int64, the smallest rank."""
        return self.start + (self.start == self.target_ranks).long()

    def last(self) -> Tensor:
        """(q,) int64, the largest rank."""
        return self.stop - 1 - (self.stop - 1 == self.target_ranks).long()

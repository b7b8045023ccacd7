"""What a strategy gets, a ranking, and what it may give besides a mask: a choice with its drops, or a range."""

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


class Ranking:
    """A block of q queries, each with its corpus of N images in ranked order.

    Attributes:
        scores: (q, N) float32 relevance, descending.
        target_ranks: (q,) int64, 0-based rank of each query's target.

    Args:
        order: the attribute `order`, or what makes it: most strategies do without, and then it is never made.
    """

    def __init__(self, scores: "Tensor", order: "Tensor | Callable[[], Tensor]", target_ranks: "Tensor") -> None:
        self.scores = scores
        self.target_ranks = target_ranks
        self._order = order

    @functools.cached_property
    def order(self) -> "Tensor":
        """(q, N) int64, the corpus column at each rank."""
        return self._order() if callable(self._order) else self._order

    @property
    def ranks(self) -> "Tensor":
        """(N,) int64: 0, 1, ... on the scores' device."""
        import torch

        return torch.arange(self.scores.shape[1], device=self.scores.device)

    @property
    def target_scores(self) -> "Tensor":
        """(q,) float32 relevance of each query's target."""
        return self.scores.gather(1, self.target_ranks[:, None])[:, 0]


@dataclass(frozen=True)
class Choice:
    """What a strategy chose, where it can also say by which two drops.

    Attributes:
        ranked: (q, N) bool, whether the image at a rank is chosen.
        start, end: (q,) int64 ranks of the drops, -1 where a query has none.
    """

    ranked: "Tensor"
    start: "Tensor"
    end: "Tensor"


@dataclass(frozen=True)
class Range:
    """A choice of consecutive ranks. Nobody needs to know which image has which rank to find the images in it.

    Attributes:
        first, stop: (q,) int64, ranks first .. stop - 1 of each query; what lies outside the list does not count, and
            none are chosen where stop <= first.
        start, end: (q,) int64 ranks of the drops, -1 where a query has none; None: the strategy knows no drops.
    """

    first: "Tensor"
    stop: "Tensor"
    start: "Tensor | None" = None
    end: "Tensor | None" = None

"""The published strategy, `between_steep_drops`, and those that figure 4 of the paper compares it with."""

import torch
from torch import Tensor

from qure.negatives.steep_drops import Rule, steep_drops
from qure.strategies import Choice, Ranking, strategy


@strategy("all_corpus", whole_corpus=True)
def all_corpus(ranking: Ranking) -> Tensor:
    """Every image."""
    return torch.ones_like(ranking.scores, dtype=torch.bool)


@strategy("top_k")
def highest(ranking: Ranking, *, top_k: int) -> Tensor:
    """The `top_k` highest-ranking images besides the target, those above it included."""
    stop = top_k + (ranking.target_ranks < top_k).long()
    return ranking.ranks < stop[:, None]


@strategy("after_target_top_k")
def after_target(ranking: Ranking, *, top_k: int) -> Tensor:
    """The `top_k` images that follow the target."""
    return _between(ranking, ranking.target_ranks + 1, ranking.target_ranks + 1 + top_k)


@strategy("between_steep_drops")
def between_steep_drops(
    ranking: Ranking, *, rule: Rule, consecutive_threshold: int, search_window: int | None
) -> Choice:
    """The images between the two steepest drops of relevance after the target; none where there are no two."""
    start, end = steep_drops(
        ranking.scores,
        ranking.target_ranks,
        rule=rule,
        consecutive_threshold=consecutive_threshold,
        search_window=search_window,
    )
    return Choice(_between(ranking, start + 1, end + 1), start, end)


def _between(ranking: Ranking, first: Tensor, stop: Tensor) -> Tensor:
    """(q, N) bool: ranks first .. stop - 1 of each query."""
    ranks = ranking.ranks
    return (ranks >= first[:, None]) & (ranks < stop[:, None])

"""The published strategy, `between_steep_drops`, and those that figure 4 of the paper compares it with."""

import torch

from qure.negatives.steep_drops import Rule, steep_drops
from qure.strategies import Range, Ranking, strategy


@strategy("all_corpus", whole_corpus=True)
def all_corpus(ranking: Ranking) -> Range:
    """Every image."""
    none = torch.zeros_like(ranking.target_ranks)
    return Range(none, none + ranking.scores.shape[1])


@strategy("top_k")
def highest(ranking: Ranking, *, top_k: int) -> Range:
    """The `top_k` highest-ranking images besides the target, those above it included."""
    return Range(torch.zeros_like(ranking.target_ranks), top_k + (ranking.target_ranks < top_k).long())


@strategy("after_target_top_k")
def after_target(ranking: Ranking, *, top_k: int) -> Range:
    """The `top_k` images that follow the target."""
    return Range(ranking.target_ranks + 1, ranking.target_ranks + 1 + top_k)


@strategy("between_steep_drops")
def between_steep_drops(
    ranking: Ranking, *, rule: Rule, consecutive_threshold: int, search_window: int | None
) -> Range:
    """The images between the two steepest drops of relevance after the target; none where there are no two."""
    start, end = steep_drops(
        ranking.scores,
        ranking.target_ranks,
        rule=rule,
        consecutive_threshold=consecutive_threshold,
        search_window=search_window,
    )
    return Range(start + 1, end + 1, start, end)

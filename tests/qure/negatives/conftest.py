"""A slow second opinion: every rule and strategy once more, one query at a time, in plain Python."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from qure.config import NegativeSettings


@dataclass
class Plain:
    """What one query's row comes to."""

    order: list[int]
    target_rank: int
    start: int
    end: int
    negatives: list[int]
    fallback: int


def plain_negatives(
    scores: NDArray[np.float32],
    target: int,
    settings: NegativeSettings,
    images: list[int] | None = None,
    exclude: tuple[int, ...] = (),
) -> Plain:
    order = sorted(range(len(scores)), key=lambda column: (-float(scores[column]), column))
    target_rank = order.index(target)
    pair = None
    if settings.strategy == "between_steep_drops":
        ranked = np.array([scores[column] for column in order])
        pair = plain_pair_of_drops(
            ranked, target_rank, settings.rule, settings.consecutive_threshold, settings.search_window
        )
    others = [column for column in order if column != target]
    after = order[target_rank + 1 :]
    chosen: list[int] = {
        "all_corpus": others,
        "top_k": others[: settings.top_k],
        "after_target_top_k": after[: settings.top_k],
        "between_steep_drops": order[pair[0] + 1 : pair[1] + 1] if pair else [],
    }[settings.strategy]
    names = images if images is not None else list(range(len(scores)))

    def kept(columns: list[int]) -> list[int]:
        return [column for column in columns if names[column] != names[target] and column not in exclude]

    fallback = 0
    if not kept(chosen):
        chosen, fallback = after, 1
    if not kept(chosen):
        chosen, fallback = others, 2
    negatives = sorted({names.index(names[column]) for column in kept(chosen)})
    start, end = pair or (-1, -1)
    return Plain(order, target_rank, start, end, negatives, fallback)


def plain_pair_of_drops(
    scores: NDArray[np.float32], target_rank: int, rule: str, threshold: int, window: int | None
) -> tuple[int, int] | None:
    """The two drops of one descending row, found by walking a sorted list of them."""
    last = len(scores) - 1 if window is None else min(len(scores) - 1, target_rank + window)
    drops = [(float(scores[upper] - scores[upper + 1]), upper) for upper in range(target_rank + 1, last)]
    drops.sort(key=lambda drop: (-drop[0], drop[1]))
    pairs = list(pairwise(upper for _, upper in drops))
    if rule == "paper":
        return (min(pairs[0]), max(pairs[0])) if pairs else None
    for one, other in pairs:
        if abs(one - other) > threshold:
            return min(one, other), max(one, other)
    return None


@pytest.fixture(scope="session")
def plain() -> Callable[..., Plain]:
    return plain_negatives


@pytest.fixture(scope="session")
def plain_drops() -> Callable[..., tuple[int, int] | None]:
    return plain_pair_of_drops

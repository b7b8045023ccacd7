from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qure.negatives import steep_drops as module
from qure.negatives.ranked import rank
from qure.negatives.steep_drops import steep_drops


def ranges(scores: list[float], target_rank: int = 0, **options: Any) -> tuple[int, int]:
    start, end = steep_drops(torch.tensor([scores]), torch.tensor([target_rank]), **options)
    return int(start), int(end)


def test_the_two_rules_differ_where_the_largest_drops_are_neighbours() -> None:
    scores = [1.0, 0.95, 0.8, 0.5, 0.1, 0.09, 0.08, 0.0]
    assert ranges(scores, rule="paper") == (2, 3)
    assert ranges(scores, rule="reference") == (1, 6)


def test_the_drop_from_the_target_to_its_successor_does_not_count() -> None:
    assert ranges([1.0, 0.1, 0.09, 0.05, 0.04, 0.01], rule="paper") == (2, 4)


@pytest.mark.parametrize("rule", ["reference", "paper"])
def test_the_window_bounds_the_set(rule: str) -> None:
    scores = [1.0, 0.9, 0.8, 0.79, 0.6, 0.59, 0.58, 0.1, -0.9]
    assert ranges(scores, rule=rule) == ((6, 7) if rule == "paper" else (3, 6))
    for window in range(4, 9):
        start, end = ranges(scores, rule=rule, search_window=window)
        assert 0 < start < end <= window - 1
    assert ranges(scores, rule=rule, search_window=5) == (1, 3)


def test_a_window_as_long_as_the_list_changes_nothing() -> None:
    torch.manual_seed(0)
    scores, _ = rank(torch.randn(50, 30))
    targets = torch.arange(50) % 30
    for rule in ("reference", "paper"):
        unbounded = steep_drops(scores, targets, rule=rule)
        bounded = steep_drops(scores, targets, rule=rule, search_window=30)
        assert all(torch.equal(one, other) for one, other in zip(unbounded, bounded, strict=True))


@pytest.mark.parametrize("curve", ["convex", "concave", "even"])
def test_drops_in_one_direction_have_no_range(curve: str) -> None:
    steps = torch.arange(40.0)
    drops = {"convex": 41 - steps, "concave": steps + 1, "even": torch.ones(40)}[curve]
    scores = -torch.cumsum(drops, 0)[None]
    start, end = steep_drops(scores, torch.tensor([0]))
    assert (int(start), int(end)) == (-1, -1)


def test_tiny_lists_have_no_range() -> None:
    for size in range(1, 5):
        for target in range(size):
            assert ranges([1.0 - 0.1 * place for place in range(size)], target) == (-1, -1)


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(ValueError, match="rule must be"):
        ranges([3.0, 2.0, 1.0, 0.5], rule="steepest")


@given(
    data=st.data(),
    size=st.integers(1, 40),
    levels=st.integers(1, 12),
    rule=st.sampled_from(["reference", "paper"]),
    threshold=st.integers(0, 4),
    window=st.none() | st.integers(7, 30),
    quick=st.sampled_from([0, 1, 8]),
)
@settings(max_examples=150, deadline=None)
def test_agrees_with_a_plain_loop(
    plain_drops: Callable[..., tuple[int, int] | None],
    data: st.DataObject,
    size: int,
    levels: int,
    rule: str,
    threshold: int,
    window: int | None,
    quick: int,
) -> None:
    """Few score levels make ties; few quick steps make the whole-sort path do the work."""
    rows = data.draw(st.integers(1, 6))
    row = st.lists(st.integers(0, levels), min_size=size, max_size=size)
    raw = np.array(data.draw(st.lists(row, min_size=rows, max_size=rows)), dtype=np.float32)
    target_ranks = data.draw(st.lists(st.integers(0, size - 1), min_size=rows, max_size=rows))
    scores, _ = rank(torch.from_numpy(raw))
    saved, module.QUICK_STEPS = module.QUICK_STEPS, quick
    try:
        start, end = steep_drops(
            scores,
            torch.tensor(target_ranks),
            rule=rule,  # type: ignore[arg-type]
            consecutive_threshold=threshold,
            search_window=window,
        )
    finally:
        module.QUICK_STEPS = saved
    for place, target_rank in enumerate(target_ranks):
        wanted = plain_drops(scores[place].numpy(), target_rank, rule, threshold, window)
        assert (int(start[place]), int(end[place])) == (wanted or (-1, -1))

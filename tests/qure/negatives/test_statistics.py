from typing import Any

import numpy as np
import pytest
import torch

from qure.config import NegativeSettings
from qure.negatives.mining import mine, negatives_from_scores
from qure.negatives.statistics import (
    AFTER_TARGET_EDGES,
    SHARE_BINS,
    Observations,
    findings,
    metrics,
    observe,
    statistics_of,
)


def statistics(scores: torch.Tensor, targets: torch.Tensor, **options: Any) -> dict[str, Any]:
    _, chosen = negatives_from_scores(scores, targets, NegativeSettings(**options))
    return statistics_of(observe(chosen))


def bell_shaped(queries: int = 200, size: int = 1000) -> tuple[torch.Tensor, torch.Tensor]:
    """Bell-shaped scores, a target near the top: what an ordinary embedding model gives."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(queries, size, generator=generator)
    targets = torch.topk(scores, 10, dim=1).indices[:, -1]
    return scores, targets


def test_numbers_of_a_ranking_that_can_be_counted_by_hand() -> None:
    scores = torch.arange(100.0, 0, -1).repeat(4, 1)
    targets = torch.tensor([0, 9, 49, 98])
    found = statistics(scores, targets, strategy="after_target_top_k", top_k=10)
    assert found["queries"] == 4
    assert found["size"]["mean"] == (10 + 10 + 10 + 1) / 4
    assert found["target_rank"]["q50"] == 29
    assert found["first_after_target"] == {"mean": 1, "q05": 1, "q25": 1, "q50": 1, "q75": 1, "q95": 1}
    assert found["last_after_target"]["q75"] == 10
    assert found["first_share_after_target"]["q95"] == 0
    assert found["first_share_of_list"]["q50"] == pytest.approx(0.30)
    assert found["fallback"] == {"after_target": 0, "whole_corpus": 0, "share": 0}
    assert found["drops_share"] == 0
    by_distance = dict(zip(("above", *AFTER_TARGET_EDGES), found["by_distance"]["probability"], strict=True))
    assert by_distance["above"] == 0
    assert by_distance[1] == pytest.approx((3 * 0.1 + 1) / 4)
    assert by_distance[6] == pytest.approx(3 * 0.5 / 4)
    assert by_distance[11] == 0


@pytest.mark.parametrize(
    ("size", "target", "first", "last", "before_first", "before_middle"),
    [
        (11, 2, 4, 8, 1 / 8, 3 / 8),  # eight images rank below the target: one before the first, three before rank 6
        (12, 1, 2, 11, 0, 4.5 / 10),
        (9, 4, 1, 2, 0, 0),  # all above it
        (5, 4, 0, 3, 0, 0),  # nothing ranks below it
    ],
)
def test_shares_count_the_images_below_the_target(
    size: int, target: int, first: int, last: int, before_first: float, before_middle: float
) -> None:
    def one(value: int) -> Any:
        return np.array([value], dtype=np.int64)

    selected = np.ones((1, 3), dtype=np.int32)
    seen = Observations(
        *(one(value) for value in (size, target, 3, first, last, 0, 3, 0)), by_share=selected, by_distance=selected
    )
    found = statistics_of(seen)
    assert found["first_share_after_target"]["mean"] == pytest.approx(before_first)
    assert found["middle_share_after_target"]["mean"] == pytest.approx(before_middle)
    assert found["first_after_target"]["mean"] == first - target
    assert found["first_share_of_list"]["mean"] == pytest.approx(first / size)
    assert found["last_share_of_list"]["mean"] == pytest.approx(last / size)
    assert found["drops_share"] == 1


def test_both_histograms_hold_every_draw_once() -> None:
    scores, targets = bell_shaped(50, 137)
    for strategy in ("all_corpus", "top_k", "after_target_top_k", "between_steep_drops"):
        found = statistics(scores, targets, strategy=strategy)
        assert len(found["by_share_of_list"]["probability"]) == SHARE_BINS
        assert sum(found["by_share_of_list"]["probability"]) == pytest.approx(1)
        assert sum(found["by_distance"]["probability"]) == pytest.approx(1)


def test_bins_after_the_target_are_the_same_in_every_mining() -> None:
    """Rounded up in steps of 1, 2, 5 to 10,000: what was measured last year is laid beside what is measured today."""
    steps = [digit * 10**power for power in range(5) for digit in (1, 2, 5)]
    assert [edge - 1 for edge in AFTER_TARGET_EDGES] == [0, *(step for step in steps if step <= 10_000)]


def test_histograms_agree_with_counting_ranks() -> None:
    scores, targets = bell_shaped(30, 200)
    _, chosen = negatives_from_scores(scores, targets, NegativeSettings(strategy="top_k", top_k=33))
    seen = observe(chosen)
    edges = [-np.inf, *AFTER_TARGET_EDGES, np.inf]
    for row in range(30):
        order = torch.argsort(scores[row], descending=True, stable=True)
        ranks = np.flatnonzero(chosen.members[row, order].numpy())
        wanted = np.histogram(ranks, bins=np.arange(SHARE_BINS + 1) * 200 // SHARE_BINS)[0]
        np.testing.assert_array_equal(seen.by_share[row], wanted)
        distances = ranks - int(chosen.target_ranks[row])
        np.testing.assert_array_equal(seen.by_distance[row], np.histogram(distances, bins=edges)[0])


def test_images_above_the_target_count_as_above() -> None:
    scores = torch.arange(10.0, 0, -1)[None]
    found = statistics(scores, torch.tensor([5]), strategy="top_k", top_k=4)
    assert found["by_distance"]["probability"][0] == 1
    assert found["first_after_target"]["q50"] == -5
    assert found["first_share_after_target"]["q50"] == 0


def test_sets_in_the_tail_are_said_loudly() -> None:
    scores, targets = bell_shaped()
    found = statistics(scores, targets)
    assert found["first_share_after_target"]["q50"] > 0.9
    (message,) = findings(found)
    assert "in the tail" in message
    assert "search_window" in message


def test_a_window_brings_the_sets_to_the_head() -> None:
    scores, targets = bell_shaped()
    found = statistics(scores, targets, search_window=50)
    assert found["last_after_target"]["q95"] <= 50
    assert findings(found) == []


def test_sets_that_reach_into_the_tail_are_said_too() -> None:
    """The first drop just behind the target, the second at the end: the set is nearly the whole corpus."""
    scores = torch.arange(200.0, 0, -1).repeat(9, 1)
    scores[:, :3] += 50
    scores[:, 198:] -= 40
    found = statistics(scores, torch.zeros(9, dtype=torch.int64))
    assert found["drops_share"] == 1
    (message,) = findings(found)
    assert "reach into the tail" in message


def test_many_fallbacks_are_said() -> None:
    scores = -torch.cumsum(torch.arange(30.0), 0).repeat(10, 1)
    found = statistics(scores, torch.tensor([0] * 9 + [29]))
    assert found["fallback"] == {"after_target": 9, "whole_corpus": 1, "share": 1.0}
    (message,) = findings(found)
    assert "100% of the queries" in message
    assert "(9)" in message


def test_strategies_without_drops_are_not_blamed_for_the_tail() -> None:
    scores, targets = bell_shaped()
    for strategy in ("all_corpus", "top_k", "after_target_top_k"):
        assert findings(statistics(scores, targets, strategy=strategy)) == []


def test_metrics_are_flat_numbers_of_a_mining() -> None:
    generator = torch.Generator().manual_seed(0)
    candidates = torch.nn.functional.normalize(torch.randn(40, 2, 8, generator=generator), dim=-1)
    mining = mine(candidates[:, 0], candidates, torch.arange(40), NegativeSettings(strategy="top_k", top_k=7))
    flat = metrics(mining.statistics)
    assert flat["negatives_size_mean"] == 7
    assert flat["negatives_target_rank_median"] == 0
    assert all(isinstance(value, float) for value in flat.values())

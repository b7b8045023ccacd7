"""Intervals and differences, against numbers known from elsewhere."""

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qure.ablation.summary import Difference, averaged, estimate
from qure.evaluation.statistics.results import Evaluation


@pytest.mark.parametrize("seeds", range(2, 7))
def test_the_interval_of_the_mean_is_students(seeds: int) -> None:
    values = [51.2, 50.1, 52.9, 51.0, 49.7, 50.4][:seeds]
    low, high = stats.t.interval(0.95, seeds - 1, loc=np.mean(values), scale=stats.sem(values))
    found = estimate(values)
    assert (found.low, found.high) == (pytest.approx(low), pytest.approx(high))


def test_one_seed_has_no_interval() -> None:
    assert (estimate([3.0]).mean, estimate([3.0]).low, estimate([3.0]).high) == (3.0, None, None)


@pytest.mark.parametrize(
    ("bounds", "verdict"),
    [
        ((-2.0, -1.0, -3.0, -0.5), "below"),
        ((1.0, 2.0, 0.5, 3.0), "above"),
        ((-2.0, -1.0, -3.0, 0.1), "level"),  # another seed might have been as good
        ((-2.0, 0.1, -2.5, -0.5), "level"),  # other queries might
        ((-2.0, -1.0, None, None), "below"),
    ],
)
def test_a_verdict_needs_both_intervals_on_one_side(
    bounds: tuple[float, float, float | None, float | None], verdict: str
) -> None:
    assert Difference(sum(bounds[:2]) / 2, *bounds).verdict == verdict


def test_averaging_matches_queries_by_name() -> None:
    def evaluation(ids: list[str], hits: list[float]) -> Evaluation:
        table = pd.DataFrame({"query_id": ids, "category": "dress", "hit": hits})
        return Evaluation("fashioniq", "val", {}, {}, table, {}, ())

    both = averaged([evaluation(["a", "b"], [1.0, 0.0]), evaluation(["b", "a"], [1.0, 0.0])])
    assert both.per_query["query_id"].tolist() == ["a", "b"]
    assert both.per_query["hit"].tolist() == [0.5, 0.5]

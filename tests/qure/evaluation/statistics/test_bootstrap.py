"""Intervals that cover, resampling that respects the design, and paired comparison."""

import dataclasses

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from qure.errors import BadInput
from qure.evaluation.statistics.bootstrap import Measure, interval, percentiles, resamples, summarise
from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation

HIT = Measure("hit", "hit")


def evaluation(values: np.ndarray, *, benchmark: str = "cirr", order: np.ndarray | None = None) -> Evaluation:
    table = pd.DataFrame({"query_id": [str(number) for number in range(len(values))], "hit": values})
    if order is not None:
        table = table.iloc[order].reset_index(drop=True)
    metrics, intervals = summarise(table, [HIT])
    return Evaluation(benchmark, "val", metrics, intervals, table, {}, (HIT,))


def test_the_same_seed_gives_the_same_interval() -> None:
    values = np.random.default_rng(0).random(200)
    assert interval(values, seed=3) == interval(values, seed=3)
    assert interval(values, seed=3) != interval(values, seed=4)


def test_unasked_every_statistic_takes_the_draws_of_seed_0() -> None:
    """An interval that somebody computes again without naming a seed is the one that was reported."""
    generator = np.random.default_rng(8)
    first, second = generator.random(40), generator.random(40)
    draws = np.random.default_rng(0)
    drawn = np.concatenate([draws.integers(0, 40, size=(100, 40), dtype=np.int64) for _ in range(10)])
    ends = [0.025, 0.975]
    expected = np.quantile(first[drawn].mean(axis=1), ends)
    table = pd.DataFrame({"hit": first})
    assert interval(first) == pytest.approx(tuple(expected), abs=1e-12)
    assert summarise(table, [HIT])[1]["hit"] == pytest.approx(tuple(100 * expected), abs=1e-10)
    paired = paired_difference(evaluation(first), evaluation(second), "hit")
    expected = np.quantile(100 * (first - second)[drawn].mean(axis=1), ends)
    assert (paired.low, paired.high) == pytest.approx(tuple(expected), abs=1e-10)


def test_equals_a_plain_loop_over_the_same_draws() -> None:
    values = np.random.default_rng(0).random(30)
    generator = np.random.default_rng(9)
    means = []
    for _ in range(2):
        drawn = generator.integers(0, 30, size=(100, 30), dtype=np.int64)
        means += [np.mean([values[place] for place in line]) for line in drawn]
    expected = np.quantile(means, [0.05, 0.95])
    assert interval(values, samples=200, confidence=0.9, seed=9) == pytest.approx(tuple(expected), abs=1e-12)


def test_in_the_plain_case_the_interval_is_scipys_up_to_the_draws() -> None:
    """Both are percentile intervals of the same statistic; the resamples are other ones."""
    values = np.random.default_rng(0).exponential(size=80)
    for confidence in (0.8, 0.95):
        known = stats.bootstrap(
            (values,), np.mean, n_resamples=20_000, method="percentile", confidence_level=confidence, random_state=1
        ).confidence_interval
        found = interval(values, samples=20_000, confidence=confidence)
        # An end's own error with 20,000 resamples is below 0.02 standard errors of the mean; five of these.
        assert found == pytest.approx(tuple(known), abs=0.1 * stats.sem(values))


@pytest.mark.parametrize("samples", [1, 100, 150, 1001])
def test_there_are_as_many_resamples_as_asked_for_and_each_draws_as_many_rows(samples: int) -> None:
    table = pd.DataFrame({"category": [*"aaabbcc"], "person": [*"xxyyyyz"]})
    for strata, cluster, column in (("category", None, "category"), (None, "person", "person"), (None, None, None)):
        counts = np.concatenate(list(resamples(table, strata, cluster, samples, 0)))
        assert counts.shape == (samples, 7)
        if cluster is not None:
            assert all(len(set(line[:2])) == len(set(line[2:6])) == 1 for line in counts)
            assert (counts[:, [0, 2, 6]].sum(axis=1) == 3).all(), "as many people as there are"
        elif column is not None:
            assert (counts[:, :3].sum(axis=1) == 3).all()
            assert (counts[:, 3:5].sum(axis=1) == 2).all()
            assert (counts[:, 5:].sum(axis=1) == 2).all()
        else:
            assert (counts.sum(axis=1) == 7).all()


def test_covers_the_true_mean_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    covered = 0
    for repeat in range(400):
        values = (generator.random(150) < 0.3).astype(float)
        low, high = interval(values, samples=400, seed=repeat)
        covered += low <= 0.3 <= high
    # 95 % of 400 is 380; a binomial's 4 standard deviations are 17.
    assert 363 <= covered <= 397


def test_covers_a_conditional_rate() -> None:
    generator = np.random.default_rng(2)
    covered = 0
    for repeat in range(300):
        asked = (generator.random(200) < 0.5).astype(float)
        answers = (generator.random(200) < 0.6).astype(float)
        low, high = interval(answers, weights=asked, samples=300, seed=repeat)
        covered += low <= 0.6 <= high
    assert 270 <= covered <= 299


def test_clusters_widen_what_depends_on_people() -> None:
    generator = np.random.default_rng(3)
    people = np.repeat([f"user_{number}" for number in range(30)], 40)
    values = np.repeat(generator.random(30), 40) + generator.normal(0, 0.01, 1200)
    low, high = interval(values, clusters=list(people))
    naive_low, naive_high = interval(values)
    expected = 2 * 1.96 * values.reshape(30, 40).mean(axis=1).std() / np.sqrt(30)
    assert high - low == pytest.approx(expected, rel=0.15)
    assert high - low > 4 * (naive_high - naive_low)


def test_strata_keep_their_sizes() -> None:
    strata = ["a"] * 10 + ["b"] * 90
    values = [1.0] * 10 + [0.0] * 90
    assert interval(values, strata=strata) == (0.5, 0.5), "nothing varies within a stratum"


def test_the_mean_over_strata_weighs_them_equally() -> None:
    # Three: of two, each is what the other leaves.
    table = pd.DataFrame({"category": [*"aabbbbc"], "hit": [1.0, 0.0, 1.0, 1.0, 1.0, 0.0, 1.0]})
    measures = [
        Measure("all", "hit", mean_over="category"),
        Measure("a", "hit", where=("category", "a")),
        Measure("pooled", "hit"),
    ]
    values, _ = summarise(table, measures, strata="category")
    assert values == pytest.approx({"all": 75.0, "a": 50.0, "pooled": 500 / 7})


def test_a_rate_without_a_case_is_left_out() -> None:
    table = pd.DataFrame({"hit": [1.0, 0.0], "never": [0.0, 0.0]})
    values, intervals = summarise(table, [HIT, Measure("rate", "hit", weight="never")])
    assert values.keys() == intervals.keys() == {"hit"}


def test_pairs_by_query_id_whatever_the_order() -> None:
    generator = np.random.default_rng(4)
    first, second = generator.random(80), generator.random(80)
    straight = paired_difference(evaluation(first), evaluation(second), "hit")
    shuffled = paired_difference(evaluation(first), evaluation(second, order=generator.permutation(80)), "hit")
    assert straight == shuffled
    assert straight.difference == pytest.approx(100 * (first.mean() - second.mean()))
    assert (straight.a, straight.b) == pytest.approx((100 * first.mean(), 100 * second.mean()))
    assert straight.queries == 80


def test_pairing_sees_what_separate_intervals_do_not() -> None:
    generator = np.random.default_rng(5)
    hard = (generator.random(500) < 0.5).astype(float)
    better = hard.copy()
    better[np.flatnonzero(hard == 0)[:12]] = 1.0
    result = paired_difference(evaluation(better), evaluation(hard), "hit")
    assert result.low > 0
    assert (result.p < 0.01, result.p_worse > 0.99) == (True, True)
    assert evaluation(better).intervals["hit"][0] < evaluation(hard).metrics["hit"]
    reverse = paired_difference(evaluation(hard), evaluation(better), "hit")
    assert (reverse.p, reverse.p_worse) == (result.p_worse, result.p)


def test_equal_models_are_neither_better_nor_worse() -> None:
    values = np.random.default_rng(6).random(50)
    result = paired_difference(evaluation(values), evaluation(values), "hit")
    assert (result.difference, result.low, result.high, result.p, result.p_worse) == (0.0, 0.0, 0.0, 1.0, 1.0)


def test_p_is_small_as_often_as_it_says_when_models_are_equal() -> None:
    generator = np.random.default_rng(7)
    small = 0
    for repeat in range(200):
        first, second = generator.random(100), generator.random(100)
        small += paired_difference(evaluation(first), evaluation(second), "hit", samples=200, seed=repeat).p <= 0.05
    assert 2 <= small <= 22  # 10 expected, 4 standard deviations are 12


def test_other_queries_are_refused_by_name() -> None:
    first, second = evaluation(np.ones(10)), evaluation(np.ones(12))
    with pytest.raises(BadInput, match="only the second has '10', '11'"):
        paired_difference(first, second, "hit")
    with pytest.raises(BadInput, match="two benchmarks, 'cirr' and 'circo'"):
        paired_difference(first, evaluation(np.ones(10), benchmark="circo"), "hit")
    counted = dataclasses.replace(first, metrics={**first.metrics, "queries": 10})
    with pytest.raises(BadInput, match="no metric 'queries'"):
        paired_difference(counted, counted, "queries")


def test_a_measure_of_rows_that_are_not_there_is_no_number() -> None:
    """A category without a query has no mean; what no resample holds, no interval."""
    table = pd.DataFrame({"hit": [0.0, 1.0], "category": ["dress", "dress"]})
    own, missing = (Measure(name, "hit", where=("category", name)) for name in ("dress", "shirt"))
    metrics, intervals = summarise(table, [own, missing])
    assert (metrics, intervals.keys()) == ({"dress": 50.0}, {"dress"})
    assert np.isnan(percentiles(np.array([np.nan, np.nan]), 0.95)).all()
    assert percentiles(np.array([np.nan, 3.0, np.nan]), 0.95) == (3.0, 3.0)


def test_strata_and_clusters_together_are_refused() -> None:
    table = pd.DataFrame({"hit": [0.0, 1.0], "category": ["dress", "shirt"], "person": ["a", "b"]})
    with pytest.raises(ValueError, match="strata and clusters cannot be combined"):
        summarise(table, [HIT], strata="category", cluster="person")

"""Percentile bootstrap: confidence intervals, and paired comparison of two models on the same queries.

The unit that is resampled is the query, or a cluster of them where queries are not independent (a person who
answered many). Where a measure is a mean over categories, each category's queries are resampled among themselves,
so every resample has the benchmark's own composition. Everything is a function of the seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from qure.errors import BadInput
from qure.evaluation.embeddings import named

if TYPE_CHECKING:
    from qure.evaluation.results import Evaluation

Doubles = NDArray[np.float64]
Indices = NDArray[np.int64]

#: Resamples drawn at once; part of what a seed means.
_AT_ONCE = 100


@dataclass(frozen=True, slots=True)
class Measure:
    """How one number is made of a per-query table: a (weighted) mean of a column, in percent.

    Attributes:
        name: the metric's key.
        value: column to average; 0..1.
        weight: column of weights; a 0/1 column turns the mean into a conditional rate. None: all rows count 1.
        where: (column, value): only these rows.
        mean_over: column; the mean over its values of the mean within each.
    """

    name: str
    value: str
    weight: str | None = None
    where: tuple[str, str] | None = None
    mean_over: str | None = None


@dataclass(frozen=True, slots=True)
class PairedResult:
    """Model a against model b on the same queries, in percent points.

    Attributes:
        metric: which metric.
        a, b: its value for either model.
        difference: a - b.
        low, high: bootstrap interval of the difference.
        p: one-sided p-value of "a is no better than b": small when a is better.
        p_worse: one-sided p-value of "a is no worse than b": small when a is worse.
        queries: how many queries both were asked.
        confidence: of the interval.
    """

    metric: str
    a: float
    b: float
    difference: float
    low: float
    high: float
    p: float
    p_worse: float
    queries: int
    confidence: float


def interval(
    values: ArrayLike,
    *,
    weights: ArrayLike | None = None,
    strata: Sequence[str] | None = None,
    clusters: Sequence[str] | None = None,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
) -> tuple[float, float]:
    """Percentile interval of a mean, of a weighted mean, or of a mean over strata of the means within them.

    Args:
        values: (N,).
        weights: (N,), not negative; None: all 1.
        strata: (N,) labels; the statistic becomes the mean of the strata's means, each resampled within itself.
        clusters: (N,) labels; whole clusters are resampled instead of single values. Not together with strata.
        samples: resamples.
        confidence: share of resamples inside.
        seed: of the resamples.

    Returns:
        (low, high), in the values' unit.

    >>> interval([0.0, 1.0] * 50, seed=1)
    (0.4, 0.6)
    >>> interval([0.0] * 50 + [1.0] * 50, clusters=["ann"] * 50 + ["bob"] * 50)
    (0.0, 1.0)
    """
    table = pd.DataFrame({"value": np.asarray(values, dtype=np.float64)})
    measure = Measure("value", "value", mean_over="stratum" if strata is not None else None)
    if weights is not None:
        table["weight"] = np.asarray(weights, dtype=np.float64)
        measure = Measure("value", "value", weight="weight", mean_over=measure.mean_over)
    if strata is not None:
        table["stratum"] = list(strata)
    if clusters is not None:
        table["cluster"] = list(clusters)
    _, intervals = summarise(
        table,
        [measure],
        strata="stratum" if strata is not None else None,
        cluster="cluster" if clusters is not None else None,
        samples=samples,
        confidence=confidence,
        seed=seed,
        scale=1.0,
    )
    return intervals["value"]


def summarise(
    table: pd.DataFrame,
    measures: Sequence[Measure],
    *,
    strata: str | None = None,
    cluster: str | None = None,
    samples: int = 1000,
    confidence: float = 0.95,
    seed: int = 0,
    scale: float = 100.0,
) -> tuple[dict[str, float], dict[str, tuple[float, float]]]:
    """Every measure of a per-query table with its interval; all from the same resamples.

    Args:
        table: one row per query.
        measures: what to compute.
        strata: column; rows are resampled within each of its values.
        cluster: column; whole clusters are resampled. Not together with `strata`.
        samples, confidence, seed: as `interval`.
        scale: 100 for percent.

    Returns:
        values and intervals by the measures' names. A measure without any row (a rate whose condition never
        holds) is left out of both.

    >>> rows = pd.DataFrame({"category": ["dress", "dress", "shirt"], "hit": [1.0, 0.0, 1.0]})
    >>> values, _ = summarise(rows, [Measure("all", "hit", mean_over="category")], strata="category")
    >>> values
    {'all': 75.0}
    """
    terms = [_terms(table, measure) for measure in measures]
    values = {
        measure.name: float(scale * value)
        for measure, term in zip(measures, terms, strict=True)
        if np.isfinite(value := term.statistic(np.ones((1, len(table))))[0])
    }
    draws: list[list[Doubles]] = [[] for _ in measures]
    for counts in _resamples(table, strata, cluster, samples, seed):
        for drawn, term in zip(draws, terms, strict=True):
            drawn.append(term.statistic(counts))
    intervals = {
        measure.name: _percentiles(scale * np.concatenate(drawn), confidence)
        for measure, drawn in zip(measures, draws, strict=True)
        if measure.name in values
    }
    return values, intervals


def paired_difference(
    a: "Evaluation", b: "Evaluation", metric: str, *, samples: int = 1000, confidence: float = 0.95, seed: int = 0
) -> PairedResult:
    """Model a against model b: both are resampled together, query by query (or person by person).

    Args:
        a, b: evaluations of the same benchmark on the same queries, in any order.
        metric: a key of both evaluations' metrics that is made of per-query values.
        samples, confidence, seed: as `interval`.

    Raises:
        BadInput: different benchmarks, different queries (names them), or a metric that is not made of queries.
    """
    if a.benchmark != b.benchmark:
        raise BadInput(f"evaluations of two benchmarks, {a.benchmark!r} and {b.benchmark!r}, cannot be paired")
    _require_same_queries(a, b)
    table_a = a.per_query.set_index("query_id", drop=False).reset_index(drop=True)
    table_b = b.per_query.set_index("query_id").loc[list(a.per_query["query_id"])].reset_index()
    term_a, term_b = _terms(table_a, a.measure(metric)), _terms(table_b, b.measure(metric))
    everything = np.ones((1, len(table_a)))
    value_a, value_b = 100.0 * term_a.statistic(everything)[0], 100.0 * term_b.statistic(everything)[0]
    drawn = 100.0 * np.concatenate(
        [
            term_a.statistic(counts) - term_b.statistic(counts)
            for counts in _resamples(table_a, a.strata, a.cluster, samples, seed)
        ]
    )
    drawn = drawn[np.isfinite(drawn)]
    low, high = _percentiles(drawn, confidence)
    return PairedResult(
        metric=metric,
        a=float(value_a),
        b=float(value_b),
        difference=float(value_a - value_b),
        low=low,
        high=high,
        p=_one_sided(drawn <= 0.0),
        p_worse=_one_sided(drawn >= 0.0),
        queries=len(table_a),
        confidence=confidence,
    )


@dataclass(frozen=True, slots=True)
class _Terms:
    """A measure as a mean of ratios of sums: one numerator and denominator column (rows, G) per averaged group."""

    numerators: Doubles
    denominators: Doubles

    def statistic(self, counts: Doubles) -> Doubles:
        """The measure when row r counts counts[s, r] times: (S,); NaN where a group has no weight."""
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Doubles = ((counts @ self.numerators) / (counts @ self.denominators)).mean(axis=1)
        return result


def _terms(table: pd.DataFrame, measure: Measure) -> _Terms:
    weight = np.ones(len(table)) if measure.weight is None else table[measure.weight].to_numpy(dtype=np.float64)
    if measure.where is not None:
        column, wanted = measure.where
        weight = weight * (table[column] == wanted).to_numpy(dtype=np.float64)
    value = table[measure.value].to_numpy(dtype=np.float64)
    if measure.mean_over is None:
        groups = np.ones((len(table), 1))
    else:
        labels = table[measure.mean_over]
        groups = np.stack([(labels == label).to_numpy(dtype=np.float64) for label in labels.unique()], axis=1)
    denominators = groups * weight[:, None]
    return _Terms(denominators * value[:, None], denominators)


def _resamples(
    table: pd.DataFrame, strata: str | None, cluster: str | None, samples: int, seed: int
) -> Iterator[Doubles]:
    """How often each row counts in each resample: blocks of (s, rows), together `samples` of them."""
    if strata is not None and cluster is not None:
        raise ValueError("strata and clusters cannot be combined")
    generator = np.random.default_rng(seed)
    unit_of = _codes(table[cluster]) if cluster is not None else np.arange(len(table))
    groups = _codes(table[strata]) if strata is not None else np.zeros(len(table), dtype=np.int64)
    members = (
        [np.flatnonzero(groups == group) for group in range(int(groups.max(initial=-1)) + 1)]
        if cluster is None
        else [np.arange(int(unit_of.max(initial=-1)) + 1)]
    )
    units = sum(len(group) for group in members)
    for start in range(0, samples, _AT_ONCE):
        size = min(_AT_ONCE, samples - start)
        counts = np.zeros((size, units))
        for group in members:
            counts[:, group] = _multinomial(generator, size, len(group))
        yield counts if cluster is None else counts[:, unit_of]


def _multinomial(generator: np.random.Generator, samples: int, units: int) -> Doubles:
    """How often each of `units` is drawn in `units` draws with replacement: (samples, units)."""
    drawn = generator.integers(0, units, size=(samples, units), dtype=np.int64)
    flat = (drawn + np.arange(samples, dtype=np.int64)[:, None] * units).ravel()
    return np.bincount(flat, minlength=samples * units).reshape(samples, units).astype(np.float64)


def _codes(labels: "pd.Series") -> Indices:
    codes, _ = pd.factorize(labels)
    return codes.astype(np.int64)


def _percentiles(drawn: Doubles, confidence: float) -> tuple[float, float]:
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)


def _one_sided(against: NDArray[np.bool_]) -> float:
    return float((1 + np.count_nonzero(against)) / (1 + len(against)))


def _require_same_queries(a: "Evaluation", b: "Evaluation") -> None:
    of_a, of_b = set(a.per_query["query_id"]), set(b.per_query["query_id"])
    parts = [
        f"only the {which} has {named(sorted(extra))}"
        for which, extra in (("first", of_a - of_b), ("second", of_b - of_a))
        if extra
    ]
    if parts:
        raise BadInput(
            f"the two evaluations of {a.benchmark!r} are on different queries: {'; '.join(parts)}",
            remedy="Evaluate both models on the same data",
        )

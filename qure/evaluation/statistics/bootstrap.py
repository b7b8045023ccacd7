"""Percentile bootstrap: confidence intervals of what is measured query by query.

The unit that is resampled is the query, or a cluster of them where queries are not independent (a person who
answered many). Where a measure is a mean over categories, each category's queries are resampled among themselves,
so every resample has the benchmark's own composition. Everything is a function of the seed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

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
    terms = [ratios_of(table, measure) for measure in measures]
    values = {
        measure.name: float(scale * value)
        for measure, term in zip(measures, terms, strict=True)
        if np.isfinite(value := term.statistic(np.ones((1, len(table))))[0])
    }
    draws: list[list[Doubles]] = [[] for _ in measures]
    for counts in resamples(table, strata, cluster, samples, seed):
        for drawn, term in zip(draws, terms, strict=True):
            drawn.append(term.statistic(counts))
    intervals = {
        measure.name: percentiles(scale * np.concatenate(drawn), confidence)
        for measure, drawn in zip(measures, draws, strict=True)
        if measure.name in values
    }
    return values, intervals


@dataclass(frozen=True, slots=True)
class Ratios:
    """A measure as a mean of ratios of sums: one numerator and denominator column (rows, G) per averaged group."""

    numerators: Doubles
    denominators: Doubles

    def statistic(self, counts: Doubles) -> Doubles:
        """The measure when row r counts counts[s, r] times: (S,); NaN where a group has no weight."""
        with np.errstate(invalid="ignore", divide="ignore"):
            result: Doubles = ((counts @ self.numerators) / (counts @ self.denominators)).mean(axis=1)
        return result


def ratios_of(table: pd.DataFrame, measure: Measure) -> Ratios:
    """A measure of a per-query table as ratios of sums, which resampling only counts differently."""
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
    return Ratios(denominators * value[:, None], denominators)


def resamples(
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


def percentiles(drawn: Doubles, confidence: float) -> tuple[float, float]:
    """The interval that holds `confidence` of the resamples; NaN without any."""
    known = drawn[np.isfinite(drawn)]
    if not len(known):
        return float("nan"), float("nan")
    low, high = np.quantile(known, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0])
    return float(low), float(high)


def one_sided(against: NDArray[np.bool_]) -> float:
    """A p-value: the share of resamples that speak against, the observed one among them."""
    return float((1 + np.count_nonzero(against)) / (1 + len(against)))

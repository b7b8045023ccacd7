"""Two models on the same queries: the bootstrap of their difference."""

from dataclasses import dataclass

import numpy as np

from qure.datasets.ids import first_few
from qure.errors import BadInput
from qure.evaluation.statistics.bootstrap import one_sided, percentiles, ratios_of, resamples
from qure.evaluation.statistics.results import Evaluation


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


def paired_difference(
    a: Evaluation, b: Evaluation, metric: str, *, samples: int = 1000, confidence: float = 0.95, seed: int = 0
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
    term_a, term_b = ratios_of(table_a, a.measure(metric)), ratios_of(table_b, b.measure(metric))
    everything = np.ones((1, len(table_a)))
    value_a, value_b = 100.0 * term_a.statistic(everything)[0], 100.0 * term_b.statistic(everything)[0]
    drawn = 100.0 * np.concatenate(
        [
            term_a.statistic(counts) - term_b.statistic(counts)
            for counts in resamples(table_a, a.strata, a.cluster, samples, seed)
        ]
    )
    drawn = drawn[np.isfinite(drawn)]
    low, high = percentiles(drawn, confidence)
    return PairedResult(
        metric=metric,
        a=float(value_a),
        b=float(value_b),
        difference=float(value_a - value_b),
        low=low,
        high=high,
        p=one_sided(drawn <= 0.0),
        p_worse=one_sided(drawn >= 0.0),
        queries=len(table_a),
        confidence=confidence,
    )


def _require_same_queries(a: Evaluation, b: Evaluation) -> None:
    of_a, of_b = set(a.per_query["query_id"]), set(b.per_query["query_id"])
    parts = [
        f"only the {which} has {first_few(sorted(extra))}"
        for which, extra in (("first", of_a - of_b), ("second", of_b - of_a))
        if extra
    ]
    if parts:
        raise BadInput(
            f"the two evaluations of {a.benchmark!r} are on different queries: {'; '.join(parts)}",
            remedy="Evaluate both models on the same data",
        )

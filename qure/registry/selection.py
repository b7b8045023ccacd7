"""What choosing on one set of queries does to the chosen one's score: estimated, and measured on queries held back.

Every challenger is judged on the same queries, and the one that measures best becomes champion: partly because it is
better, partly because chance favours it on just these queries. Its measured score is therefore above what fresh queries
would give. With `promotion.held_back` a share of the queries is kept from the gate: only reports read them, so what the
champion measures there is not selected.
"""

import hashlib
import math
from collections.abc import Mapping
from dataclasses import replace
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

from qure.errors import BadInput

if TYPE_CHECKING:
    from qure.evaluation.statistics.paired import PairedResult
    from qure.evaluation.statistics.results import Evaluation


def selection_bias(paired: "PairedResult", judged: int) -> float:
    """Percentage points that the best of several equal models measures above its true score, on average.

    Models that are equal differ on the same queries by chance alone, each by se / sqrt(2), where se is the standard
    error of the difference of two. The best of `judged` measures the expected largest of that many draws above the
    mean. For models that are truly different it is less: then it is not chance that chooses.

    Args:
        paired: two of the models; its interval gives se.
        judged: models that were judged on these queries.
    """
    quantile = NormalDist().inv_cdf(0.5 + paired.confidence / 2)
    error = (paired.high - paired.low) / (2 * quantile)
    return expected_maximum(judged) * error / math.sqrt(2)


def expected_maximum(count: int) -> float:
    """Mean of the largest of `count` independent standard normal values.

    >>> round(expected_maximum(2), 3), round(expected_maximum(20), 2)
    (0.564, 1.87)
    """
    if count < 2:
        return 0.0
    values = np.linspace(-8.0, 8.0, 4001)
    density = np.exp(-(values**2) / 2) / math.sqrt(2 * math.pi)
    below = np.clip(np.cumsum(density) * (values[1] - values[0]), 0.0, 1.0)
    return float(np.trapezoid(values * count * density * below ** (count - 1), values))


def gate_part(evaluation: "Evaluation", share: float) -> "Evaluation":
    """The evaluation on the queries that decide: all but the share that is held back."""
    return _part(evaluation, share, held_back=False) if share > 0 else evaluation


def gate_parts(evaluations: "Mapping[str, Evaluation]", share: float) -> "dict[str, Evaluation]":
    """The same for every benchmark."""
    return {benchmark: gate_part(evaluation, share) for benchmark, evaluation in evaluations.items()}


def held_back_part(evaluation: "Evaluation", share: float) -> "Evaluation | None":
    """The evaluation on the queries that only reports read; None where none are held back."""
    return _part(evaluation, share, held_back=True) if share > 0 else None


def _part(evaluation: "Evaluation", share: float, *, held_back: bool) -> "Evaluation":
    from qure.evaluation.statistics.bootstrap import ratios_of

    table = evaluation.per_query
    # A person's answers stay together: they are not independent.
    units = table[evaluation.cluster or "query_id"]
    chosen = np.array([_is_held_back(str(unit), share) for unit in units]) == held_back
    part = table[chosen].reset_index(drop=True)
    if part.empty:
        raise BadInput(
            f"of {len(table)} queries of {evaluation.benchmark!r} none is left on one side",
            field="promotion.held_back",
            remedy="Choose another share, or 0",
        )
    everything = np.ones((1, len(part)))
    values = {one.name: 100.0 * float(ratios_of(part, one).statistic(everything)[0]) for one in evaluation.measures}
    metrics = {name: values.get(name, value) for name, value in evaluation.metrics.items()}
    return replace(evaluation, per_query=part, metrics=metrics, intervals={})


def _is_held_back(unit: str, share: float) -> bool:
    """The same queries for every model, whatever the order or number of the others."""
    digest = hashlib.sha256(f"held back: {unit}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64

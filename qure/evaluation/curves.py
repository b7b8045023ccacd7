"""Recall at every depth, for plots."""

import numpy as np
from numpy.typing import NDArray

from qure.evaluation.results import Evaluation

#: Deepest rank of a curve.
DEPTH = 50


def recall_curve(evaluation: Evaluation, depth: int = DEPTH) -> NDArray[np.float64]:
    """Recall at 1, 2, ..., `depth` in percent; the mean over categories where the evaluation has them.

    Args:
        evaluation: one whose per-query table has the target's `rank`.
        depth: how far.
    """
    table = evaluation.per_query
    groups = [own for _, own in table.groupby(evaluation.strata)] if evaluation.strata else [table]
    ranks = np.arange(1, depth + 1)
    curves = [(own["rank"].to_numpy()[:, None] <= ranks).mean(axis=0) for own in groups]
    return np.asarray(100.0 * np.mean(curves, axis=0), dtype=np.float64)

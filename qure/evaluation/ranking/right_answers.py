"""Recall and mean average precision over all right answers, where more than the one labelled target is known."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from qure.datasets.ids import first_few
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Floats, Indices
from qure.evaluation.ranking.queries import DEPTHS, Columns
from qure.evaluation.ranking.scores import columns_of, ranks
from qure.evaluation.statistics.bootstrap import Measure

#: Depths of the mean average precision, as CIRCO has them.
PRECISION_DEPTHS = (5, 10, 25, 50)
RECALL, PRECISION = "right_recall_at", "right_map_at"


def several_known(triplets: Sequence[Triplet]) -> bool:
    """Whether any query has more than one right answer."""
    return any(len(one.answers) > 1 for one in triplets)


def answer_columns(triplets: Sequence[Triplet], gallery: Gallery) -> list[Indices]:
    """For each query the columns of its right answers, the target first; of the target alone where no more is known.

    Raises:
        BadInput: an answer is not in the gallery.
    """
    there = frozenset(gallery.ids)
    answers = [one.answers or (str(one.target),) for one in triplets]
    missing = dict.fromkeys(image for own in answers for image in own if image not in there)
    if missing:
        raise BadInput(
            f"{len(missing)} right answers are not in the gallery of {len(there)} images: {first_few(missing)}"
        )
    return [columns_of(own, gallery.ids, what="answer") for own in answers]


def answer_ranks(scores: Floats, answers: Sequence[Indices]) -> list[NDArray[np.int64]]:
    """1-based ranks of each query's right answers, ascending."""
    return [np.sort(ranks(line[None], columns[None])[0]) for line, columns in zip(scores, answers, strict=True)]


def right_columns(scores: Floats, answers: Sequence[Indices]) -> Columns:
    """Per query, over all right answers: the share among the k best, and the average precision at k.

    Args:
        scores: (q, N).
        answers: their right answers' columns.
    """
    found = answer_ranks(scores, answers)
    recalls = {f"{RECALL}_{k}": np.array([float((own <= k).mean()) for own in found]) for k in DEPTHS}
    precisions = {f"{PRECISION}_{k}": np.array([average_precision(own, k) for own in found]) for k in PRECISION_DEPTHS}
    return {"best_rank": np.array([own[0] for own in found]), **recalls, **precisions}


def right_measures(mean_over: str | None = None) -> list[Measure]:
    """The measures that these columns become."""
    names = [*(f"{RECALL}_{k}" for k in DEPTHS), *(f"{PRECISION}_{k}" for k in PRECISION_DEPTHS)]
    return [Measure(name, name, mean_over=mean_over) for name in names]


def average_precision(answer_ranks: Indices | NDArray[np.int64], depth: int) -> float:
    """AP@k: the precisions at the right answers within the first k ranks, summed, / min(number of answers, k).

    Args:
        answer_ranks: 1-based ranks of all right answers, ascending.
        depth: k.

    >>> average_precision(np.array([1, 4, 30]), 5)  # (1/1 + 2/4) / 3
    0.5
    >>> average_precision(np.array([1, 2, 3]), 2)
    1.0
    """
    found = answer_ranks[answer_ranks <= depth]
    return float((np.arange(1, len(found) + 1) / found).sum() / min(len(answer_ranks), depth))

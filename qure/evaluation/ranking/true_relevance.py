"""How relevant the whole top ten is, where the true attributes of every image are known (the rendered catalogue).

Benchmarks name one target per query, so recall says nothing about the other nine images that a person sees.
"""

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from qure.datasets.types import Triplet
from qure.evaluation.statistics.bootstrap import Measure

#: How many of the best candidates are measured.
DEPTH = 10
COLUMNS = (f"ndcg_at_{DEPTH}", f"wanted_share_at_{DEPTH}", f"relevant_at_{DEPTH}")

Doubles = NDArray[np.float64]


class TrueRelevance(Protocol):
    """What `qure.datasets.truth.Truth` offers."""

    def relevance_matrix(self, query_ids: Sequence[str], image_ids: Sequence[str]) -> NDArray[np.float32]:
        """Share of each query's wanted attributes that each image meets: (queries, images), 0..1."""
        ...


def measure_top(
    truth: TrueRelevance,
    triplets: Sequence[Triplet],
    gallery: Sequence[str],
    top_columns: NDArray[np.int64],
    dropped: NDArray[np.int64],
) -> dict[str, Doubles]:
    """Per query: nDCG@10, mean share of wanted attributes in the top ten, share of fully relevant ones among them.

    Args:
        truth: true relevance of images to queries.
        triplets: the Q queries.
        gallery: the N candidates' ids.
        top_columns: (Q, >= 10 or N) columns of the best candidates, best first.
        dropped: (Q,) the column that is no candidate for the query, or -1.

    Returns:
        columns of Q numbers in 0..1 by the names in `COLUMNS`.
    """
    values = np.empty((len(triplets), len(COLUMNS)))
    shares = truth.relevance_matrix([triplet.query_id for triplet in triplets], gallery)
    for row, gains in enumerate(shares.astype(np.float64)):
        best = gains[top_columns[row][:DEPTH]]
        available = np.delete(gains, dropped[row]) if dropped[row] >= 0 else gains
        values[row] = ndcg(best, available), best.mean(), (best >= 1.0).mean()
    return {name: values[:, number] for number, name in enumerate(COLUMNS)}


def ndcg(gains: Doubles, available: Doubles) -> float:
    """Normalised discounted cumulative gain of a ranking's beginning (Jarvelin and Kekalainen, 2002).

    Args:
        gains: (k,) relevance of the ranked images, best rank first; the gain is linear, the discount log2(rank + 1).
        available: (N,) relevance of all candidates; their best order is the ideal.

    >>> ndcg(np.array([1.0, 0.5]), np.array([0.5, 1.0, 0.0]))
    1.0
    >>> round(ndcg(np.array([0.0, 1.0]), np.array([0.0, 1.0])), 4)
    0.6309
    >>> ndcg(np.array([0.0]), np.array([0.0]))  # nothing is relevant: nothing can be missed, and nothing found
    0.0
    """
    ideal = _discounted(np.sort(available)[::-1][: len(gains)])
    return _discounted(gains) / ideal if ideal > 0.0 else 0.0


def truth_measures(mean_over: str | None = None) -> list[Measure]:
    """The measures that `measure_top`'s columns become."""
    return [Measure(name, name, mean_over=mean_over) for name in COLUMNS]


def by_chance(
    truth: TrueRelevance, query_ids: Sequence[str], images: Sequence[str], references: Sequence[str] | None
) -> dict[str, float]:
    """Expected nDCG@10, share of wanted attributes and share of relevant images of ten random candidates.

    Args:
        truth: true relevance of images to queries.
        query_ids: the Q queries.
        images: the candidates' ids.
        references: each query's reference where that is no candidate; None where it is.
    """
    place = {image: column for column, image in enumerate(images)}
    discounts = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    values: list[Doubles] = []
    for row, gains in enumerate(truth.relevance_matrix(query_ids, images).astype(np.float64)):
        available = gains if references is None else np.delete(gains, place[references[row]])
        best = np.sort(available)[::-1][:DEPTH]
        ideal = float((best * discounts[: len(best)]).sum())
        expected = float(available.mean() * discounts[: len(best)].sum())
        values.append(np.array([expected / ideal if ideal else 0.0, available.mean(), (available >= 1.0).mean()]))
    return dict(zip(COLUMNS, np.mean(values, axis=0).tolist(), strict=True))


def _discounted(gains: Doubles) -> float:
    return float((gains / np.log2(np.arange(2, len(gains) + 2))).sum())

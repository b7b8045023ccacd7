"""What the protocols share: rank queries against a gallery and make a row for each."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings, Floats, Indices
from qure.evaluation.ranking.scores import (
    Needed,
    columns_of,
    query_vectors,
    require_same_dimension,
    score_rows,
    top,
    without,
)
from qure.evaluation.ranking.true_relevance import TrueRelevance, measure_top
from qure.evaluation.statistics.results import TOP, Top

#: The recall depths of FashionIQ and CIRR.
DEPTHS = (1, 5, 10, 50)

#: Per-query columns: a number for each query.
Columns = Mapping[str, "NDArray[Any]"]


class FromScores(Protocol):
    """Computes per-query columns from one block of scores."""

    def __call__(self, chosen: slice, scores: Floats) -> Columns: ...


def require_embeddings(
    queries: Embeddings, candidates: Embeddings, query_ids: Sequence[str], images: Iterable[str]
) -> None:
    """Everything that a protocol needs is there, before anything is ranked.

    Raises:
        BadInput: no query, a query or image without an embedding (names the first few), another dimension, or
            several vectors per query.
    """
    if not query_ids:
        raise BadInput("there is no query to evaluate")
    require_same_dimension(queries, candidates)
    queries.rows(query_ids)
    candidates.rows(list(dict.fromkeys(images)))


def rank_queries(
    triplets: Sequence[Triplet],
    gallery: Gallery,
    queries: Embeddings,
    candidates: Embeddings,
    from_scores: FromScores,
    *,
    columns: "Sequence[Indices] | Indices | None" = None,
    drop_reference: bool = False,
    truth: TrueRelevance | None = None,
    device: str = "cpu",
) -> tuple[pd.DataFrame, Top]:
    """Ranks a gallery for every query.

    Args:
        triplets: the queries.
        gallery: their candidates.
        queries, candidates: embeddings of both, by id.
        from_scores: called with each block of queries and its scores (q, N), the dropped reference at -inf.
        columns: for each query the columns whose ranks or scores `from_scores` asks for: only these, and the best, are
            then exact, in less time (docs/benchmarks.md). None: all are.
        drop_reference: the reference image is no candidate (CIRR).
        truth: measures the best ten by true relevance.
        device: where scores are computed.

    Returns:
        a row per query (`query_id`, `category`, `reference`, `target`, `text`, then the columns of `from_scores`
        and of `truth`), and each query's best candidates.
    """
    vectors = query_vectors(queries, [triplet.query_id for triplet in triplets])
    dropped = np.full(len(triplets), -1, dtype=np.int64)
    if drop_reference:
        dropped = columns_of([triplet.reference for triplet in triplets], gallery.ids, what="reference")
    candidates_left = len(gallery.ids) - (1 if drop_reference else 0)
    needed = None if columns is None else Needed(TOP + 1, columns)  # one more: the dropped reference may be of them
    parts: list[Columns] = []
    best: Top = {}
    relevances: list[Columns] = []
    for chosen, rows in score_rows(vectors, candidates, gallery.ids, needed=needed, device=device, title=gallery.name):
        scores = without(rows, dropped[chosen]) if drop_reference else rows
        parts.append(from_scores(chosen, scores))
        first = top(scores, min(TOP, candidates_left))
        best |= _best_candidates(triplets[chosen], gallery.ids, first, scores)
        if truth is not None:
            relevances.append(measure_top(truth, triplets[chosen], gallery.ids, first, dropped[chosen]))
    table = pd.DataFrame(
        {
            "query_id": [triplet.query_id for triplet in triplets],
            "category": [triplet.category for triplet in triplets],
            "reference": [triplet.reference for triplet in triplets],
            "target": [triplet.target for triplet in triplets],
            "text": [triplet.text for triplet in triplets],
            **_concatenate(parts),
            **_concatenate(relevances),
        }
    )
    return table, best


def recall_columns(rank: Indices, depths: Sequence[int] = DEPTHS, name: str = "recall_at") -> Columns:
    """1.0 where the target ranks within k, else 0.0.

    >>> recall_columns(np.array([1, 7]), depths=(5, 10))
    {'recall_at_5': array([1., 0.]), 'recall_at_10': array([1., 1.])}
    """
    return {f"{name}_{depth}": (rank <= depth).astype(np.float64) for depth in depths}


def required_targets(triplets: Sequence[Triplet], benchmark: str, split: str) -> list[str]:
    """The targets of all triplets.

    Raises:
        BadInput: a split whose answers are withheld.
    """
    return [_target(triplet, benchmark, split) for triplet in triplets]


def _target(triplet: Triplet, benchmark: str, split: str) -> str:
    if triplet.target is None:
        raise BadInput(
            f"split {split!r} of {benchmark!r} has no answers (query {triplet.query_id!r}): nothing can be measured",
            file=triplet.source or None,
            remedy="Choose split 'val'",
        )
    return triplet.target


def _best_candidates(triplets: Sequence[Triplet], ids: Sequence[str], columns: Indices, scores: Floats) -> Top:
    values = np.take_along_axis(scores, columns, axis=1)
    return {
        triplet.query_id: [(ids[column], float(value)) for column, value in zip(places, line, strict=True)]
        for triplet, places, line in zip(triplets, columns, values, strict=True)
    }


def _concatenate(parts: Sequence[Columns]) -> Columns:
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]} if parts else {}

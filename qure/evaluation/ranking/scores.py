"""Exact ranking with bounded memory and a deterministic order.

Scores are summed in float64 and rounded to float32. So a score does not depend on block sizes, thread counts or
the device, equal candidates have equal scores, and a rank never moves by the last bit of a sum. Among equal
scores the candidate that comes first in the gallery wins.

A protocol looks at few places of a ranking (`Needed`). Everything is scored in float32 first; what
could stand on either side of such a place within float32's error is then scored exactly. Ranks, best candidates and
their scores are the same to the bit.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings, Floats, Indices
from qure.models.relevance import fp32_error, largest_products, relevance
from qure.negatives.relevance import relevance_block
from qure.progress import track

#: Bytes that one block of per-token scores and candidates may take.
BLOCK_BYTES = 128 << 20
#: Bytes that the score rows held at once may take; more queries are ranked in several passes over the gallery.
ROWS_BYTES = 512 << 20
#: Rows whose sort keys are built at once.
_KEY_ROWS = 64
#: Where a larger share of the scores would be needed exactly (a collapsed model: all are near each other), all are.
_MOSTLY = 0.25


@dataclass(frozen=True)
class Needed:
    """What is looked at of each query's ranking.

    Attributes:
        best: how many of the best candidates.
        columns: for each query (rows of an array, or one array each) the columns whose ranks or scores are asked for;
            None: of no others than the best.
    """

    best: int
    columns: "Sequence[Indices] | Indices | None" = None

    def of(self, chosen: slice) -> "Needed":
        """The same of some of the queries."""
        return Needed(self.best, None if self.columns is None else self.columns[chosen])


def score_rows(
    queries: Floats,
    gallery: Embeddings,
    ids: Sequence[str],
    *,
    needed: Needed | None = None,
    device: str | torch.device = "cpu",
    block_bytes: int = BLOCK_BYTES,
    rows_bytes: int = ROWS_BYTES,
    title: str = "ranking",
) -> Iterator[tuple[slice, Floats]]:
    """Relevance of every query to every candidate: the largest dot product over the candidate's T vectors.

    Args:
        queries: (Q, D).
        gallery: embeddings that hold `ids` and maybe more.
        ids: N distinct candidates; column n of the scores belongs to ids[n].
        needed: what is looked at; `ranks` and `top` of these, and their scores, are exact, other scores are near. None:
            every score is exact.
        device: where the products are computed.
        block_bytes, rows_bytes: bounds on the memory taken.
        title: what the progress bar says.

    Yields:
        which queries, and their scores (q, N) float32; together every query once, in order.

    Raises:
        BadInput: another dimension than the queries', an id without an embedding, NaN or infinity.
    """
    require_same_dimension(queries, gallery)
    at_once = min(len(queries), max(1, rows_bytes // (4 * len(ids))))
    for start in range(0, len(queries), at_once):
        chosen = slice(start, min(start + at_once, len(queries)))
        own = queries[chosen]
        scores = None
        if needed is not None:
            scores = _exact_where_needed(own, gallery, ids, needed.of(chosen), torch.device(device), block_bytes, title)
        yield chosen, _scores(own, gallery, ids, torch.device(device), block_bytes, title) if scores is None else scores


def score_pairs(queries: Floats, query_rows: Indices, gallery: Embeddings, candidates: Sequence[str]) -> Floats:
    """Relevance of single (query, candidate) pairs: (P,) float32, the same numbers as `score_rows` gives.

    Args:
        queries: (Q, D).
        query_rows: (P,) rows of `queries`.
        gallery: embeddings that hold every candidate.
        candidates: P ids, repeats allowed.
    """
    require_same_dimension(queries, gallery)
    distinct = list(dict.fromkeys(candidates))
    place = {identifier: number for number, identifier in enumerate(distinct)}
    wanted = np.array([place[identifier] for identifier in candidates], dtype=np.int64)
    return _pair_scores(queries, query_rows, gallery, distinct, wanted, BLOCK_BYTES)


def without(scores: Floats, columns: Indices) -> Floats:
    """Scores (Q, N) in which each query's own column (-1: none) ranks after everything else."""
    changed = scores.copy()
    rows = np.flatnonzero(columns >= 0)
    changed[rows, columns[rows]] = -np.inf
    return changed


def ranks(scores: Floats, columns: Indices) -> Indices:
    """1-based ranks of the candidates in `columns`.

    Args:
        scores: (Q, N).
        columns: (Q,) or (Q, K) column numbers.

    Returns:
        the ranks, shaped as `columns`: 1 + candidates that score higher + candidates that score the same and
        come earlier in the gallery.

    >>> ranks(np.array([[0.5, 0.9, 0.5, 0.1]], dtype=np.float32), np.array([[0, 1, 2, 3]])).tolist()
    [[2, 1, 3, 4]]
    """
    wanted = columns if columns.ndim == 2 else columns[:, None]
    result = np.empty(wanted.shape, dtype=np.int64)
    for row, (line, places) in enumerate(zip(scores, wanted, strict=True)):
        for number, column in enumerate(places):
            own = line[column]
            result[row, number] = 1 + np.count_nonzero(line > own) + np.count_nonzero(line[:column] == own)
    return result.reshape(columns.shape)


def top(scores: Floats, count: int) -> Indices:
    """Columns of the best `count` candidates (all, when there are fewer), best first: (Q, min(count, N)).

    >>> top(np.array([[0.5, 0.9, 0.5, 0.1]], dtype=np.float32), 3).tolist()
    [[1, 0, 2]]
    """
    width = scores.shape[1]
    count = min(count, width)
    result = np.empty((len(scores), count), dtype=np.int64)
    for start in range(0, len(scores), _KEY_ROWS):
        keys = _keys(scores[start : start + _KEY_ROWS])
        best = np.argpartition(keys, width - count, axis=1)[:, width - count :]
        order = np.argsort(-np.take_along_axis(keys, best, axis=1), axis=1)
        result[start : start + _KEY_ROWS] = np.take_along_axis(best, order, axis=1)
    return result


def columns_of(ids: Sequence[str], gallery: Sequence[str], *, what: str) -> Indices:
    """Where each id stands in a gallery.

    Raises:
        BadInput: an id that is not in the gallery.
    """
    place = {identifier: column for column, identifier in enumerate(gallery)}
    for identifier in ids:
        if identifier not in place:
            raise BadInput(f"{what} {identifier!r} is not in the gallery of {len(gallery)} images")
    return np.array([place[identifier] for identifier in ids], dtype=np.int64)


def query_vectors(queries: Embeddings, ids: Sequence[str]) -> Floats:
    """One vector per query id: (Q, D).

    Raises:
        BadInput: a query without an embedding, several vectors per query, NaN or infinity.
    """
    if queries.tokens != 1:
        raise BadInput(
            f"{queries.tokens} vectors per query; a query is one vector, only candidates may have several",
            file=queries.name,
            field="embeddings",
        )
    return queries.take(ids)[:, 0, :]


def require_same_dimension(queries: "NDArray[np.floating] | Embeddings", gallery: Embeddings) -> None:
    """Raises BadInput unless queries (Q, D) and gallery have the same D."""
    dimension = queries.dimension if isinstance(queries, Embeddings) else queries.shape[-1]
    if dimension != gallery.dimension:
        raise BadInput(
            f"vectors of dimension {gallery.dimension}, but the queries' have dimension {dimension}",
            file=gallery.name,
            field="embeddings",
        )


def _scores(
    queries: Floats, gallery: Embeddings, ids: Sequence[str], device: torch.device, block_bytes: int, title: str
) -> Floats:
    asked = torch.from_numpy(queries).to(device, torch.float64)  # (q, D)
    result = np.empty((len(queries), len(ids)), dtype=np.float32)
    per_candidate = 8 * gallery.tokens * (len(queries) + 2 * gallery.dimension)
    size = max(1, block_bytes // per_candidate)
    for positions, vectors in track(gallery.blocks(ids, size), title, total=-(-len(ids) // size)):
        candidates = torch.from_numpy(vectors).to(device, torch.float64)  # (n, T, D)
        result[:, positions] = relevance(asked, candidates).to(torch.float32).cpu().numpy()
    return result


def _exact_where_needed(
    queries: Floats,
    gallery: Embeddings,
    ids: Sequence[str],
    needed: Needed,
    device: torch.device,
    block_bytes: int,
    title: str,
) -> Floats | None:
    """Scores (q, N), near ones but where a rank depends on them; None where it does nearly everywhere."""
    scores, longest = _near_scores(queries, gallery, ids, device, block_bytes, title)
    error = fp32_error(gallery.dimension) * longest * np.linalg.norm(queries.astype(np.float64), axis=1)  # (q,)
    rows, columns = [], []
    left = int(_MOSTLY * scores.size)
    for start in range(0, len(scores), _KEY_ROWS):
        part = slice(start, start + _KEY_ROWS)
        row, column = _undecided(scores[part], 2.0 * error[part], needed.of(part)).nonzero()
        rows.append(row + start)
        columns.append(column)
        left -= len(row)
        if left < 0:
            return None
    row, column = np.concatenate(rows), np.concatenate(columns)
    distinct, wanted = np.unique(column, return_inverse=True)
    images = [ids[number] for number in distinct]
    scores[row, column] = _pair_scores(queries, row, gallery, images, wanted, block_bytes)
    return scores


def _near_scores(
    queries: Floats, gallery: Embeddings, ids: Sequence[str], device: torch.device, block_bytes: int, title: str
) -> tuple[Floats, float]:
    """Scores (q, N) summed in float32, and the length of the longest candidate vector."""
    asked = torch.from_numpy(queries).to(device)  # (q, D)
    result, longest = np.empty((len(queries), len(ids)), dtype=np.float32), 0.0
    per_candidate = 4 * (len(queries) + 2 * gallery.tokens * gallery.dimension)
    size = max(1, block_bytes // per_candidate)
    for positions, vectors in track(gallery.blocks(ids, size), title, total=-(-len(ids) // size)):
        candidates = torch.from_numpy(vectors).to(device)  # (n, T, D)
        result[:, positions] = relevance_block(asked, candidates).cpu().numpy()
        longest = max(longest, float(torch.linalg.vector_norm(candidates, dim=2).amax()))
    return result, longest


def _undecided(scores: Floats, within: NDArray[np.float64], needed: Needed) -> NDArray[np.bool_]:
    """Which near scores (q, N) may lie on another side of one that is looked at than the exact ones do.

    Args:
        within: (q,) how far the difference of two near scores can lie from that of the exact ones.
    """
    width = scores.shape[1]
    count = min(needed.best, width)
    marked = np.zeros(scores.shape, dtype=np.bool_)
    if count:
        last = np.partition(scores, width - count, axis=1)[:, width - count]
        marked |= scores >= (last - within)[:, None]
    if needed.columns is not None:
        for line, marks, margin, columns in zip(scores, marked, within, needed.columns, strict=True):
            for own in line[columns]:
                marks |= np.abs(line - own) <= margin
    return marked


def _pair_scores(
    queries: Floats,
    query_rows: Indices,
    gallery: Embeddings,
    distinct: Sequence[str],
    wanted: Indices,
    block_bytes: int,
) -> Floats:
    """`score_pairs` of the candidates distinct[wanted]: (P,)."""
    pairs_of = _grouped(wanted, len(distinct))
    result = torch.empty(len(wanted), dtype=torch.float64)
    asked, rows = torch.from_numpy(queries).double(), torch.from_numpy(query_rows)
    block_rows = max(1, block_bytes // (16 * gallery.tokens * gallery.dimension))
    with torch.autocast("cpu", enabled=False):
        for positions, vectors in gallery.blocks(distinct, block_rows):
            for position, tokens in zip(positions, torch.from_numpy(vectors).double(), strict=True):
                pairs = pairs_of[position]
                result[pairs] = largest_products(asked[rows[pairs]], tokens[None])[:, 0]
    return result.float().numpy()


def _keys(scores: Floats) -> Indices:
    """(q, N) integers, all different within a row, that sort as (score, earlier column)."""
    bits = np.ascontiguousarray(scores + np.float32(0.0)).view(np.int32).astype(np.int64)
    ascending = np.where(bits >= 0, bits, -(bits & 0x7FFFFFFF))
    return (ascending << 32) - np.arange(scores.shape[1], dtype=np.int64)


def _grouped(numbers: Indices, count: int) -> Sequence[torch.Tensor]:
    """For each of 0..count-1 the places in `numbers` that hold it."""
    order = np.argsort(numbers, kind="stable")
    return torch.from_numpy(order).split(np.bincount(numbers, minlength=count).tolist())

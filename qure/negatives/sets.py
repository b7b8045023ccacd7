"""Sets of hard negatives: one set of corpus columns per query, listed or described, in memory and in a file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qure.errors import BadInput
from qure.files import atomic_file

#: From this mean length on, rows are copied one by one: slices then cost less than an index for every entry.
_LONG = 64

Integers = NDArray[np.int64]
Columns = NDArray[np.int32]
Mask = NDArray[np.bool_]


class NegativeSets(Protocol):
    """What draws and losses need of a set per query."""

    def __len__(self) -> int:
        """Number of queries."""

    @property
    def sizes(self) -> Integers:
        """(Q,) number of negatives of each query."""

    def of(self, row: int) -> Integers:
        """The negatives of one query, ascending."""

    def at(self, rows: ArrayLike, positions: ArrayLike) -> Integers:
        """(R, P) negatives of the queries `rows` (R,) at 0-based `positions` (R, P) of their ascending lists."""

    def contains(self, rows: ArrayLike, columns: ArrayLike) -> Mask:
        """(R, C) whether the corpus column `columns[c]` is a negative of the query `rows[r]`."""

    def save(self, path: Path) -> None:
        """Writes one safetensors file, whole or not at all; `load` reads it."""


class HardNegatives:
    """Listed sets (CSR): query q's negatives are `indices[offsets[q] : offsets[q + 1]]`, ascending and unique.

    Attributes:
        offsets: (Q + 1,) int64.
        indices: int32 corpus columns; four bytes each, because sets can cover half of a corpus.

    >>> hard = HardNegatives([0, 2, 5], [3, 7, 0, 1, 9])
    >>> hard.of(1).tolist(), hard.contains([0, 1], [7, 9]).tolist()
    ([0, 1, 9], [[True, False], [False, True]])
    """

    def __init__(self, offsets: ArrayLike, indices: ArrayLike) -> None:
        self.offsets: Integers = np.asarray(offsets, dtype=np.int64)
        self.indices: Columns = np.asarray(indices, dtype=np.int32)
        self._check()

    @classmethod
    def made(cls, offsets: Integers, indices: Columns) -> "HardNegatives":
        """Sets that their maker knows to be ascending and whole: looking through them costs more than making them."""
        hard = cls.__new__(cls)
        hard.offsets, hard.indices = offsets, indices
        return hard

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def sizes(self) -> Integers:
        return np.diff(self.offsets)

    def of(self, row: int) -> Integers:
        return self.indices[self.offsets[row] : self.offsets[row + 1]].astype(np.int64)

    def at(self, rows: ArrayLike, positions: ArrayLike) -> Integers:
        first = self.offsets[np.asarray(rows, dtype=np.int64)]
        return self.indices[first[:, None] + np.asarray(positions, dtype=np.int64)].astype(np.int64)

    def contains(self, rows: ArrayLike, columns: ArrayLike) -> Mask:
        rows, columns = np.asarray(rows, dtype=np.int64), np.asarray(columns, dtype=np.int64)
        if not len(self.indices):
            return np.zeros((len(rows), len(columns)), dtype=bool)
        low = np.repeat(self.offsets[rows][:, None], len(columns), axis=1)
        stop = self.offsets[rows + 1][:, None]
        high = np.repeat(stop, len(columns), axis=1)
        # A binary search of all pairs at once inside their rows: as many steps as the longest row has bits.
        last = len(self.indices) - 1
        for _ in range(int(self.sizes[rows].max(initial=0)).bit_length()):
            middle = (low + high) // 2
            right = (middle < high) & (self.indices[np.minimum(middle, last)] < columns)
            low = np.where(right, middle + 1, low)
            high = np.where(right, high, middle)
        return np.asarray((low < stop) & (self.indices[np.minimum(low, last)] == columns))

    def save(self, path: Path) -> None:
        _save(path, "listed", {"offsets": self.offsets, "indices": self.indices})

    def _check(self) -> None:
        rising = self.offsets.ndim == 1 and len(self.offsets) > 0 and bool((np.diff(self.offsets) >= 0).all())
        if not rising or self.offsets[0] != 0 or self.indices.shape != (self.offsets[-1],):
            raise BadInput("offsets must start at 0, never fall and end at the number of indices", field="offsets")
        ascending = np.diff(self.indices) > 0
        starts = self.offsets[1:-1]
        ascending[starts[(starts > 0) & (starts < len(self.indices))] - 1] = True
        if not ascending.all() or (len(self.indices) and self.indices.min() < 0):
            raise BadInput("the columns of each query must be ascending, unique and not negative", field="indices")


class WholeCorpus:
    """Described sets: every image of a query's corpus except its target (warm-up, and the strategy `all_corpus`).

    Listed, the warm-up of CIRR would take 28,225 x 16,938 entries.

    Attributes:
        first, stop: (Q,) int64; query q's corpus is the columns first[q] .. stop[q] - 1.
        targets: (Q,) int64 column of each query's target, inside its corpus.
        also: (Q, E) int64 further columns that are no negatives, padded with -1: other right answers.

    >>> warm_up = whole_corpus(targets=[1, 3], corpus_size=4)
    >>> warm_up.of(0).tolist(), warm_up.of(1).tolist()
    ([0, 2, 3], [0, 1, 2])
    >>> whole_corpus(targets=[1, 3], corpus_size=4, also=[[2], [-1]]).of(0).tolist()
    [0, 3]
    """

    def __init__(self, first: ArrayLike, stop: ArrayLike, targets: ArrayLike, also: ArrayLike | None = None) -> None:
        self.first: Integers = np.asarray(first, dtype=np.int64)
        self.stop: Integers = np.asarray(stop, dtype=np.int64)
        self.targets: Integers = np.asarray(targets, dtype=np.int64)
        if not self.first.shape == self.stop.shape == self.targets.shape or self.targets.ndim != 1:
            raise BadInput("first, stop and targets must have one entry per query")
        outside = (self.targets < self.first) | (self.targets >= self.stop) | (self.first < 0)
        if outside.any():
            row = int(outside.argmax())
            raise BadInput(
                f"the target column {self.targets[row]} is not in the corpus {self.first[row]} .. {self.stop[row] - 1}",
                row=row,
                field="targets",
            )
        self.also: Integers = (
            np.full((len(self.targets), 0), -1, dtype=np.int64) if also is None else np.asarray(also, dtype=np.int64)
        )
        if self.also.ndim != 2 or len(self.also) != len(self.targets):
            raise BadInput("there must be one row of further columns per query", field="also")
        self._left_out, self._count = self._without()

    def __len__(self) -> int:
        return len(self.targets)

    @property
    def sizes(self) -> Integers:
        return np.asarray(self.stop - self.first - self._count)

    def of(self, row: int) -> Integers:
        columns = np.arange(self.first[row], self.stop[row], dtype=np.int64)
        return np.asarray(columns[~np.isin(columns, self._left_out[row])])

    def at(self, rows: ArrayLike, positions: ArrayLike) -> Integers:
        rows = np.asarray(rows, dtype=np.int64)
        columns = self.first[rows][:, None] + np.asarray(positions, dtype=np.int64)
        for left_out in self._left_out[rows].T:  # ascending: each moves what lies at or behind it by one
            columns = columns + (columns >= left_out[:, None])
        return np.asarray(columns)

    def contains(self, rows: ArrayLike, columns: ArrayLike) -> Mask:
        rows, columns = np.asarray(rows, dtype=np.int64)[:, None], np.asarray(columns, dtype=np.int64)[None, :]
        found = (columns >= self.first[rows]) & (columns < self.stop[rows])
        for left_out in self._left_out[rows[:, 0]].T:
            found &= columns != left_out[:, None]
        return np.asarray(found)

    def save(self, path: Path) -> None:
        arrays: dict[str, Integers | Columns] = {"first": self.first, "stop": self.stop, "targets": self.targets}
        if self.also.shape[1]:
            arrays["also"] = self.also
        _save(path, "whole_corpus", arrays)

    def _without(self) -> tuple[Integers, Integers]:
        """(Q, 1 + E) columns that are no negatives, ascending, each once, padded behind every column; and how many."""
        inside = (self.also >= self.first[:, None]) & (self.also < self.stop[:, None])
        padding = np.iinfo(np.int64).max
        columns = np.sort(np.concatenate([self.targets[:, None], np.where(inside, self.also, padding)], axis=1), axis=1)
        columns[:, 1:][columns[:, 1:] == columns[:, :-1]] = padding
        columns = np.sort(columns, axis=1)
        return columns, (columns < padding).sum(axis=1)


def whole_corpus(targets: ArrayLike, corpus_size: int, also: ArrayLike | None = None) -> WholeCorpus:
    """The warm-up's sets over one corpus: all of its columns except each query's target, and what is `also` right.

    Raises:
        BadInput: a target outside the corpus; names its row.
    """
    columns = np.asarray(targets, dtype=np.int64)
    return WholeCorpus(np.zeros_like(columns), np.full_like(columns, corpus_size), columns, also)


def combine(
    parts: Sequence[NegativeSets], corpus_offsets: Sequence[int], query_rows: Sequence[ArrayLike] | None = None
) -> HardNegatives | WholeCorpus:
    """Sets of several corpora as one, for a training that mixes their queries.

    Args:
        parts: all listed or all described.
        corpus_offsets: where each part's corpus begins in the joint one.
        query_rows: which joint rows each part's queries take; together every row once. Default: one part after
            the other.

    >>> both = combine([HardNegatives([0, 1], [2]), HardNegatives([0, 2], [0, 1])], corpus_offsets=[0, 3])
    >>> both.of(0).tolist(), both.of(1).tolist()
    ([2], [3, 4])
    """
    if len(parts) != len(corpus_offsets):
        raise ValueError("one corpus offset per part")
    order = _joint_order([len(part) for part in parts], query_rows)
    shifts = list(zip(parts, corpus_offsets, strict=True))
    if all(isinstance(part, WholeCorpus) for part in parts):
        first, stop, targets = (
            np.concatenate([getattr(part, name) + shift for part, shift in shifts])[order]
            for name in ("first", "stop", "targets")
        )
        widest = max(part.also.shape[1] for part, _ in shifts)  # type: ignore[attr-defined]
        also = np.full((len(order), widest), -1, dtype=np.int64)
        start = 0
        for part, shift in shifts:
            own = part.also  # type: ignore[attr-defined]
            also[start : start + len(own), : own.shape[1]] = np.where(own >= 0, own + shift, -1)
            start += len(own)
        return WholeCorpus(first, stop, targets, also[order])
    if all(isinstance(part, HardNegatives) for part in parts):
        sizes = np.concatenate([part.sizes for part in parts])
        indices = np.concatenate([part.indices + np.int32(shift) for part, shift in shifts])  # type: ignore[attr-defined]
        return _reordered(offsets_of(sizes), indices, order)
    raise ValueError("sets over a whole corpus and listed sets cannot be combined")


def load(path: Path) -> HardNegatives | WholeCorpus:
    """Reads what `save` wrote.

    Raises:
        BadInput: no such file, damaged, or its arrays do not describe sets.
    """
    path = Path(path)
    if not path.is_file():
        raise BadInput("the file does not exist", file=path)
    try:
        with safe_open(path, framework="numpy") as stream:
            kind = (stream.metadata() or {}).get("negatives")
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        if kind == "listed":
            return HardNegatives(arrays["offsets"], arrays["indices"])
        if kind == "whole_corpus":
            return WholeCorpus(arrays["first"], arrays["stop"], arrays["targets"], arrays.get("also"))
    except (SafetensorError, KeyError) as error:
        raise BadInput(f"not a whole file of negatives: {error}", file=path) from None
    except BadInput as error:
        raise BadInput(error.problem, file=path, row=error.row, field=error.field) from None
    raise BadInput(f"not a file of negatives: its kind is {kind!r}", file=path)


def offsets_of(sizes: ArrayLike) -> Integers:
    """CSR offsets of rows of these sizes.

    >>> offsets_of([2, 0, 1]).tolist()
    [0, 2, 2, 3]
    """
    return np.concatenate([[0], np.cumsum(np.asarray(sizes, dtype=np.int64))]).astype(np.int64)


def _reordered(offsets: Integers, indices: Columns, order: Integers) -> HardNegatives:
    sizes = np.diff(offsets)[order]
    joint = offsets_of(sizes)
    if joint[-1] > _LONG * len(order):
        joined = np.empty_like(indices)
        for place, row in enumerate(order.tolist()):
            joined[joint[place] : joint[place + 1]] = indices[offsets[row] : offsets[row + 1]]
        return HardNegatives.made(joint, joined)
    source = np.arange(joint[-1]) + np.repeat(offsets[:-1][order] - joint[:-1], sizes)
    return HardNegatives.made(joint, indices[source])


def _joint_order(lengths: Sequence[int], query_rows: Sequence[ArrayLike] | None) -> Integers:
    total = sum(lengths)
    if query_rows is None:
        return np.arange(total, dtype=np.int64)
    rows = np.concatenate([np.asarray(part, dtype=np.int64) for part in query_rows])
    if [len(np.asarray(part)) for part in query_rows] != list(lengths) or set(rows.tolist()) != set(range(total)):
        raise ValueError("query_rows must name every joint row exactly once, one per query of its part")
    return np.argsort(rows)


def _save(path: Path, kind: str, arrays: dict[str, NDArray[np.int64] | NDArray[np.int32]]) -> None:
    contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    with atomic_file(path) as temporary:
        save_file(contiguous, temporary, metadata={"negatives": kind})

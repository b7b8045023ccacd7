"""Embeddings with ids: in memory, or in a file that is read block by block.

The file format is safetensors with one tensor `embeddings`, (N, D) or (N, T, D), in fp16, bf16 or fp32, and the
header entry `ids`: a JSON list of N distinct strings, one per row. A list too long for a header (millions of ids) is
a tensor `ids` of the same text as bytes instead. Anything that can write safetensors can write it::

    safetensors.torch.save_file({"embeddings": vectors}, path, metadata={"ids": json.dumps(ids)})

Rows are used exactly as they are given: relevance is the plain dot product, so a model that is meant to be
compared by cosine must store unit rows (a warning says when rows are not).
"""

import json
import logging
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from qure.datasets.ids import first_few
from qure.errors import BadInput
from qure.evaluation.ranking.stored_rows import (
    IDS,
    STORED,
    TENSOR,
    Floats,
    Indices,
    InMemory,
    StoredRows,
    Vectors,
    read_header,
    read_ids,
    read_rows,
)
from qure.files import atomic_file

logger = logging.getLogger(__name__)

#: Bytes of ids that a header holds; safetensors opens no file whose header has more than 100 MB.
IDS_IN_HEADER = 32 << 20
#: A row whose length differs from 1 by more than this is not a unit vector, even in fp16 or bf16.
UNIT_TOLERANCE = 1e-2
#: Of a row's largest number: the product of two such rows still is a number of single precision, and not zero.
SMALLEST, LARGEST = 1e-15, 1e15


class Embeddings:
    """N ids, and for each T vectors of D numbers (T = 1 for a single-vector model).

    Args:
        ids: N distinct strings.
        vectors: (N, D) or (N, T, D) numbers in memory, or anything that reads rows in parts (`Vectors`).
        name: what error messages call it, for example the file's path.

    Raises:
        BadInput: ids that are not distinct strings, or not as many as rows; vectors of another shape.

    >>> pair = Embeddings(["a", "b"], np.eye(2, dtype=np.float32))
    >>> len(pair), pair.tokens, pair.dimension, pair.rows(["b"]).tolist()
    (2, 1, 2, [1])
    """

    def __init__(self, ids: Sequence[str], vectors: "NDArray[np.floating] | Vectors", *, name: str = "embeddings"):
        self.name = name
        self.source: Vectors = InMemory(vectors, name) if isinstance(vectors, np.ndarray) else vectors
        self.ids = tuple(ids)
        self._told_lengths = False
        self._row_of = _rows_of(self.ids, self.source.shape[0], name)

    def __len__(self) -> int:
        return len(self.ids)

    def __contains__(self, identifier: object) -> bool:
        return identifier in self._row_of

    @property
    def tokens(self) -> int:
        """T: vectors per id."""
        return self.source.shape[1]

    @property
    def dimension(self) -> int:
        """D: numbers per vector."""
        return self.source.shape[2]

    @property
    def vectors(self) -> Floats:
        """All rows at once: (N, T, D) float32."""
        return self.source.read(0, len(self))

    def rows(self, ids: Sequence[str]) -> Indices:
        """Row numbers of ids.

        Raises:
            BadInput: some ids have no row; names the first few and how many.
        """
        missing = [identifier for identifier in ids if identifier not in self._row_of]
        if missing:
            raise BadInput(
                f"{len(missing)} of {len(ids)} needed ids have no embedding: {first_few(missing)}", file=self.name
            )
        return np.fromiter((self._row_of[identifier] for identifier in ids), dtype=np.int64, count=len(ids))

    def blocks(self, ids: Sequence[str], size: int) -> Iterator[tuple[Indices, Floats]]:
        """Reads the rows of distinct `ids` in the order in which they are stored, `size` at a time.

        Yields:
            positions in `ids` (n,), and the rows (n, T, D) float32, finite.

        Raises:
            BadInput: an id without a row, or a row that holds NaN, infinity, or numbers too large or small to rank by.
        """
        rows = self.rows(ids)
        order = np.argsort(rows, kind="stable")
        for start in range(0, len(order), size):
            positions = order[start : start + size]
            block = read_rows(self.source, rows[positions])
            self._require_usable(block, rows[positions])
            self._warn_unless_unit(block)
            yield positions, block

    def take(self, ids: Sequence[str]) -> Floats:
        """The rows of `ids` (repeats allowed), in their order: (len(ids), T, D) float32, finite."""
        distinct = list(dict.fromkeys(ids))
        place = {identifier: number for number, identifier in enumerate(distinct)}
        rows = np.empty((len(distinct), self.tokens, self.dimension), dtype=np.float32)
        for positions, block in self.blocks(distinct, size=4096):
            rows[positions] = block
        return rows[[place[identifier] for identifier in ids]]

    def _require_usable(self, block: Floats, rows: Indices) -> None:
        largest = np.maximum(block.max(axis=(1, 2)), -block.min(axis=(1, 2)))  # NaN where any number is NaN
        bad = rows[~np.isfinite(largest)]
        problem, remedy = "NaN or infinity in", None
        if not len(bad):
            bad = rows[(largest > LARGEST) | ((largest < SMALLEST) & (largest > 0))]
            problem, remedy = "too large or too small numbers to rank by in", "Store rows of unit length"
        if len(bad):
            raise BadInput(
                f"{problem} the embedding of {first_few([self.ids[row] for row in bad])}",
                file=self.name,
                row=int(bad[0]),
                field=TENSOR,
                remedy=remedy,
            )

    def _warn_unless_unit(self, block: Floats) -> None:
        if self._told_lengths:
            return
        lengths = np.sqrt(np.einsum("ntd,ntd->nt", block, block, dtype=np.float32))
        self._told_lengths = bool((np.abs(lengths - 1.0) > UNIT_TOLERANCE).any())
        if self._told_lengths:
            logger.warning(
                "%s: rows are not of unit length (found %.4g to %.4g); they are used as given, "
                "relevance is their plain dot product and not the cosine",
                self.name,
                lengths.min(),
                lengths.max(),
            )


def read_embeddings(path: Path | str) -> Embeddings:
    """Opens an embeddings file; rows are read when they are asked for, so a gallery may be larger than memory.

    Raises:
        BadInput: no such file, not safetensors, no tensor `embeddings`, another shape or dtype, no header entry
            `ids`, or ids that are not a JSON list of as many distinct strings as there are rows.
    """
    path = Path(path)
    header = read_header(path)
    stored = StoredRows(path, header)
    return Embeddings(read_ids(path, header), stored, name=str(path))


def write_embeddings(
    path: Path | str,
    ids: Sequence[str],
    vectors: "NDArray[np.floating] | Vectors",
    *,
    dtype: Literal["fp16", "fp32"] = "fp32",
) -> None:
    """Writes an embeddings file whole or not at all, in blocks.

    Args:
        path: the file to write.
        ids: N distinct strings.
        vectors: (N, D) or (N, T, D) numbers, or anything that reads rows in parts; written as (N, T, D) when T > 1.
        dtype: how the numbers are stored.

    Raises:
        BadInput: as `Embeddings`; or NaN or infinity in a row, also after rounding to `dtype`.
    """
    embeddings = Embeddings(ids, vectors, name=str(path))
    count, tokens, dimension = len(embeddings), embeddings.tokens, embeddings.dimension
    shape = [count, tokens, dimension] if tokens > 1 else [count, dimension]
    code = {"fp16": "F16", "fp32": "F32"}[dtype]
    size = count * tokens * dimension * STORED[code].itemsize
    listed = json.dumps(list(embeddings.ids), ensure_ascii=False).encode()
    header: dict[str, Any] = {TENSOR: {"dtype": code, "shape": shape, "data_offsets": [0, size]}}
    if len(listed) <= IDS_IN_HEADER:
        header = {"__metadata__": {IDS: listed.decode()}} | header
    else:
        header[IDS] = {"dtype": "U8", "shape": [len(listed)], "data_offsets": [size, size + len(listed)]}
    text = json.dumps(header, ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    block_rows = max(1, (32 << 20) // (4 * tokens * dimension))
    with atomic_file(Path(path)) as temporary, temporary.open("wb") as stream:
        stream.write(struct.pack("<Q", len(text)) + text)
        for start in range(0, count, block_rows):
            block = embeddings.source.read(start, min(start + block_rows, count))
            with np.errstate(over="ignore"):
                rounded = block.astype(STORED[code])
            embeddings._require_usable(rounded.astype(np.float32), np.arange(start, start + len(block)))
            stream.write(rounded.tobytes())
        if IDS in header:
            stream.write(listed)


def _rows_of(ids: tuple[str, ...], count: int, name: str) -> dict[str, int]:
    for row, identifier in enumerate(ids):
        if not isinstance(identifier, str) or not identifier:
            raise BadInput(f"{identifier!r} is not an id: ids are strings", file=name, row=row, field="ids")
    if len(ids) != count:
        raise BadInput(f"{len(ids)} ids for {count} rows", file=name, field="ids")
    row_of = {identifier: row for row, identifier in enumerate(ids)}
    if len(row_of) != count:
        repeated = [identifier for row, identifier in enumerate(ids) if row_of[identifier] != row]
        raise BadInput(f"ids that occur more than once: {first_few(dict.fromkeys(repeated))}", file=name, field="ids")
    return row_of

"""The rows of an embeddings file, read in parts where they lie (its format: `qure.evaluation.ranking.embeddings`)."""

import json
import os
import struct
from pathlib import Path
from typing import Any, Protocol
from weakref import finalize

import numpy as np
from numpy.typing import NDArray

from qure.errors import BadInput

Floats = NDArray[np.float32]
Indices = NDArray[np.int64]
Header = dict[str, dict[str, Any]]

TENSOR, IDS = "embeddings", "ids"
#: How numbers are stored -> their type here; bf16 is read as the bits that it is.
STORED: dict[str, np.dtype[Any]] = {"F16": np.dtype("<f2"), "BF16": np.dtype("<u2"), "F32": np.dtype("<f4")}
FORMAT = (
    f"An embeddings file is safetensors with a tensor {TENSOR!r}, (N, D) or (N, T, D), in fp16, bf16 or fp32, "
    "and a header entry 'ids': a JSON list of N distinct strings"
)


class Vectors(Protocol):
    """Rows that can be read in parts: (N, T, D)."""

    @property
    def shape(self) -> tuple[int, int, int]: ...

    def read(self, start: int, stop: int) -> Floats:
        """Rows start..stop: (stop - start, T, D) float32."""
        ...


def read_rows(vectors: Vectors, rows: Indices) -> Floats:
    """Rows by their numbers, in the order asked for: (len(rows), T, D) float32. Neighbours are read at once.

    >>> read_rows(InMemory(np.eye(3, dtype=np.float32), "rows"), np.array([2, 0, 1])).argmax(axis=2)[:, 0].tolist()
    [2, 0, 1]
    """
    order = np.argsort(rows, kind="stable")
    ascending = rows[order]
    runs = np.split(ascending, np.flatnonzero(np.diff(ascending) != 1) + 1)
    found = [vectors.read(int(run[0]), int(run[-1]) + 1) for run in runs if len(run)]
    together = found[0] if len(found) == 1 else np.concatenate(found)
    if np.array_equal(ascending, rows):
        return together
    result = np.empty_like(together)
    result[order] = together
    return result


class InMemory:
    """Rows that an array holds.

    Args:
        vectors: (N, D) or (N, T, D).
        name: what error messages call them.

    Raises:
        BadInput: another shape.
    """

    def __init__(self, vectors: NDArray[np.floating], name: str):
        if vectors.ndim not in (2, 3) or 0 in vectors.shape:
            raise BadInput(f"embeddings of shape {vectors.shape}, neither (N, D) nor (N, T, D)", file=name)
        self._rows = vectors if vectors.ndim == 3 else vectors[:, None, :]
        self.shape = self._rows.shape

    def read(self, start: int, stop: int) -> Floats:
        """Rows start..stop, fp32."""
        return self._rows[start:stop].astype(np.float32, copy=False)


class StoredRows:
    """Rows of a safetensors file, read with plain reads: mapped pages would count as this process's memory.

    The file is held open: what is searched goes on to be read when its name is gone or leads to another file.

    Args:
        path: the file.
        header: its header (`read_header`).

    Raises:
        BadInput: no tensor `embeddings`, or one of another shape or number format.
    """

    def __init__(self, path: Path, header: Header):
        if TENSOR not in header:
            there = ", ".join(sorted(key for key in header if key != "__metadata__")) or "none"
            raise BadInput(f"no tensor {TENSOR!r}; tensors there: {there}", file=path, remedy=FORMAT)
        shape, code = tuple(header[TENSOR]["shape"]), str(header[TENSOR]["dtype"])
        if code not in STORED:
            raise BadInput(f"numbers of type {code}", file=path, field=TENSOR, remedy=FORMAT)
        if len(shape) not in (2, 3) or 0 in shape:
            raise BadInput(f"shape {shape}", file=path, field=TENSOR, remedy=FORMAT)
        self._path, self._dtype = path, STORED[code]
        self.shape: tuple[int, int, int] = (shape[0], shape[1] if len(shape) == 3 else 1, shape[-1])
        self._handle = os.open(path, os.O_RDONLY)
        finalize(self, os.close, self._handle)
        self._first_byte = _begin_of(header, TENSOR, self._handle)

    def read(self, start: int, stop: int) -> Floats:
        """Rows start..stop, fp32; several threads may read at the same time.

        Raises:
            BadInput: the file has become shorter.
        """
        _, tokens, dimension = self.shape
        row = tokens * dimension
        numbers = np.empty((stop - start) * row, self._dtype)
        _fill(numbers.view(np.uint8), self._handle, self._first_byte + start * row * self._dtype.itemsize, self._path)
        if self._dtype == STORED["BF16"]:
            numbers = (numbers.astype(np.uint32) << 16).view(np.float32)
        return numbers.astype(np.float32, copy=False).reshape(stop - start, tokens, dimension)


def read_header(path: Path) -> Header:
    """A safetensors file's header.

    Raises:
        BadInput: no such file, or not a whole safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise BadInput("the file does not exist", file=path, remedy=FORMAT)
    try:
        with safe_open(path, framework="np"), path.open("rb") as stream:
            (length,) = struct.unpack("<Q", stream.read(8))
            header: Header = json.loads(stream.read(length))
            return header
    except (SafetensorError, OSError) as error:
        raise BadInput(f"not a whole safetensors file: {error}", file=path, remedy=FORMAT) from None


def read_ids(path: Path, header: Header) -> list[str]:
    """The ids of a file's rows, from the header's entry or the tensor `ids`.

    Raises:
        BadInput: there are none, or they are no JSON list.
    """
    text: Any = (header.get("__metadata__") or {}).get(IDS)  # safetensors takes null for an object
    if text is None and header.get(IDS, {}).get("dtype") == "U8":
        text = _read_bytes(path, header, IDS)
    if not isinstance(text, str | bytes):
        raise BadInput("no 'ids' in the header", file=path, field="ids", remedy=FORMAT)
    try:
        ids = json.loads(text)
    except (ValueError, RecursionError) as error:  # also numbers of too many digits, and lists nested too deeply
        raise BadInput(f"not JSON: {error}", file=path, field="ids", remedy=FORMAT) from None
    if not isinstance(ids, list):
        raise BadInput(f"not a list but {type(ids).__name__}", file=path, field="ids", remedy=FORMAT)
    return ids


def _read_bytes(path: Path, header: Header, tensor: str) -> bytes:
    begin, end = header[tensor]["data_offsets"]
    content = np.empty(end - begin, np.uint8)
    with path.open("rb") as stream:
        _fill(content, stream.fileno(), _begin_of(header, tensor, stream.fileno()), path)
    return content.tobytes()


def _begin_of(header: Header, tensor: str, handle: int) -> int:
    """Where a tensor's bytes begin in the file."""
    (length,) = struct.unpack("<Q", os.pread(handle, 8, 0))
    return 8 + int(length) + int(header[tensor]["data_offsets"][0])


def _fill(content: NDArray[np.uint8], handle: int, offset: int, path: Path) -> None:
    """Reads as many bytes as `content` has; one call of the system gives 2 GiB at most."""
    view, filled = content.data, 0
    while filled < len(view):
        read = os.preadv(handle, [view[filled:]], offset + filled)
        if not read:
            raise BadInput("the file became shorter while it was read", file=path)
        filled += read

"""Approximate search of a gallery that stays on disk: FAISS leads to images, and these are scored exactly.

All vectors of all images lie in the lists of an inverted file, each as a code of a few bytes (IVF-PQ). A search looks
through the lists nearest to the query and takes the vectors that are best by their codes. The images that these belong
to are scored by the embeddings themselves, in float64, as exact search scores them: what is found has its exact
relevance and its exact place among what is found, and all that can be missing is an image that was not looked at.

An index lies beside the embeddings that it was made of, in a folder of its own (`qure.serving.index_building`):

    index.json       how it was made, of what, and how much of exact search's answers it finds
    part-0.faiss     the lists of the first images, and so on: mapped into memory, and read where a search looks
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any, Protocol

import numpy as np
import torch
from pydantic import Field
from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from qure.config import Frozen, IndexSettings, validated
from qure.errors import BadInput, StageFailed
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.stored_rows import Floats, Indices, Vectors, read_rows
from qure.files import read_json
from qure.models.relevance import relevance

INDEX, RECORD = "index", "index.json"
FORMAT = 1
#: How many results the settings are meant for; more results take more lists, vectors and images, in proportion.
RESULTS = 10
#: Of the gallery's embeddings that tell it from others.
FINGERPRINT_ROWS = 256
#: Bytes of candidates, in fp32, that are scored at once.
_BLOCK_BYTES = 64 << 20
_AGAIN = "Make it again: qure index GALLERY; or remove it: without an index all images are scored"


class IndexRecord(Frozen):
    """What index.json says.

    Attributes:
        format: of this folder.
        settings: how it was made, and how it is searched; `lists` and `probes` are those that were found.
        faiss: version that made it.
        fingerprint: of the embeddings (`fingerprint_of`).
        images, tokens, dimension: N, T and D of the embeddings.
        parts: file -> bytes, in the gallery's order.
        queries: how many it was compared with exact search on.
        recall_at_10: share of exact search's ten best images that it finds, the queries' mean.
    """

    format: int
    settings: IndexSettings
    faiss: str
    fingerprint: str
    images: int = Field(ge=1)
    tokens: int = Field(ge=1)
    dimension: int = Field(ge=1)
    parts: dict[str, int] = Field(min_length=1)
    queries: int
    recall_at_10: float


class SearchIndex(Protocol):
    """What finds the best candidates of a gallery."""

    def search(
        self, queries: Tensor, counts: Sequence[int], columns: Sequence[Tensor | None]
    ) -> list[tuple[Tensor, Tensor]]:
        """As `qure.evaluation.ranking.flat_index.FlatIndex.search`."""
        ...


class IvfIndex:
    """Finds the best candidates of a query among those that an inverted file leads to.

    Args:
        vectors: (N, T, D), read where they lie.
        parts: FAISS's indexes of consecutive images, with the same lists; a vector's id there is its image's row.
        settings: how many lists, vectors and images a search takes; where it names no `probes`, all lists.
    """

    def __init__(self, vectors: Vectors, parts: Sequence[Any], settings: IndexSettings) -> None:
        self._vectors, self._parts, self._settings = vectors, parts, settings
        self._faiss, self._lists = import_faiss(), int(parts[0].nlist)
        self._probes = settings.probes or self._lists
        self._all = _Pool(self._faiss, len(self), None)
        self._pools: Any = WeakTensorKeyDictionary()

    def __len__(self) -> int:
        return self._vectors.shape[0]

    @classmethod
    def load(cls, folder: Path, embeddings: Embeddings) -> "IvfIndex":
        """Opens an index; the lists stay on disk.

        Args:
            folder: of the index.
            embeddings: that it was made of.

        Raises:
            BadInput: a file is missing, damaged or of a FAISS that this one does not know; the index is of other
                embeddings; or FAISS is not installed.
        """
        faiss, record = import_faiss(), read_record(folder)
        present = fingerprint_of(embeddings)
        if record.fingerprint != present:
            raise BadInput(
                f"the index is of other embeddings ({record.fingerprint[:12]}) than {embeddings.name} ({present[:12]})",
                file=folder / RECORD,
                field="fingerprint",
                remedy=_AGAIN,
            )
        parts = [_opened(faiss, folder / name, size, record) for name, size in record.parts.items()]
        held = sum(int(part.ntotal) for part in parts)
        if held != record.images * record.tokens:
            raise BadInput(
                f"the parts hold {held:,} vectors, not {record.images * record.tokens:,}", file=folder, remedy=_AGAIN
            )
        return cls(embeddings.source, parts, record.settings)

    @torch.no_grad()
    def search(
        self, queries: Tensor, counts: Sequence[int], columns: Sequence[Tensor | None]
    ) -> list[tuple[Tensor, Tensor]]:
        """The best candidates of each query that the index leads to.

        Args:
            queries: (Q, D).
            counts: how many candidates each query gets; it gets all when there are fewer.
            columns: the candidates of each query, int64 in the order that decides between equal scores; None: all N
                in their own order.

        Returns:
            for each query the columns (k,) int64 and their exact scores (k,) fp32 on the CPU, best first.

        Raises:
            StageFailed: the index or a row of the embeddings is damaged.
        """
        asked = queries.to("cpu", torch.float32)
        return [
            self._best(query, count, self._pool(own)) for query, count, own in zip(asked, counts, columns, strict=True)
        ]

    def _best(self, query: Tensor, count: int, pool: "_Pool") -> tuple[Tensor, Tensor]:
        count = min(count, pool.size)
        if not count:
            return torch.empty(0, dtype=torch.int64), torch.empty(0)
        share = max(1.0, count / RESULTS)
        # Of a group's vectors as many are met in so many more lists as the gallery is larger than the group.
        probes = min(int(self._probes * share * len(self) / pool.size), self._lists)
        rows = pool.rows if self._is_small(pool, share, probes) else self._near(query, count, share, probes, pool)
        scores, order = self._exact(query, rows).sort(descending=True, stable=True)
        return torch.from_numpy(rows)[order[:count]], scores[:count]

    def _is_small(self, pool: "_Pool", share: float, probes: int) -> bool:
        """Whether all candidates are scored: no more than are scored anyway, or less work than finding the best.

        Scoring an image reads D numbers a vector, and a search reads the codes of all vectors in the lists that it
        looks through, whosever they are.
        """
        looked_through = len(self) * probes / self._lists
        return pool.size <= self._settings.images * share or pool.size * self._vectors.shape[2] <= looked_through

    def _near(self, query: Tensor, count: int, share: float, probes: int, pool: "_Pool") -> Indices:
        """Rows of the images that are scored, `count` of them at least, in the order that decides."""
        images, tokens = int(self._settings.images * share), int(self._settings.tokens * share)
        held = len(self) * self._vectors.shape[1]
        while True:
            tokens, probes = min(tokens, held), min(probes, self._lists)
            found = self._listed(query, tokens, probes, pool)
            if len(found) >= count or (tokens == held and probes == self._lists):
                return pool.ordered(found[:images])
            tokens, probes = 4 * tokens, 4 * probes  # its vectors lie farther away, or all belong to a few images

    def _listed(self, query: Tensor, tokens: int, probes: int, pool: "_Pool") -> Indices:
        """Rows of the images of the best `tokens` vectors in the nearest `probes` lists, each once, the best first."""
        asked = query.numpy()[None]
        options = self._faiss.SearchParametersIVF(nprobe=probes, sel=pool.selector)
        found = [part.search(asked, tokens, params=options) for part in self._parts]
        scores = np.concatenate([values[0] for values, _ in found])
        rows = np.concatenate([own[0] for _, own in found])
        best = rows[np.argsort(-scores, kind="stable")[:tokens]]
        best = best[best >= 0]  # FAISS gives -1 where there are no more
        if len(best) and int(best.max()) >= len(self):
            raise StageFailed(f"the index is damaged: it names image {int(best.max())} of {len(self):,}. {_AGAIN}")
        distinct, first = np.unique(best, return_index=True)
        return distinct[np.argsort(first)]

    def _exact(self, query: Tensor, rows: Indices) -> Tensor:
        _, tokens, dimension = self._vectors.shape
        size = max(1, _BLOCK_BYTES // (4 * tokens * dimension))
        parts = []
        for start in range(0, len(rows), size):
            vectors = torch.from_numpy(read_rows(self._vectors, rows[start : start + size]))
            parts.append(relevance(query.double()[None], vectors.double())[0].float())
        scores = torch.cat(parts)
        if not bool(scores.isfinite().all()):
            row = int(rows[int((~scores.isfinite()).nonzero()[0])])
            raise StageFailed(f"the gallery is damaged: NaN or infinity in the embedding of its image {row}")
        return scores

    def _pool(self, columns: Tensor | None) -> "_Pool":
        """What is known of a query's candidates; a group's is made once."""
        if columns is None:
            return self._all
        if columns not in self._pools:
            self._pools[columns] = _Pool(self._faiss, len(self), columns.cpu().numpy().copy())
        pool: _Pool = self._pools[columns]
        return pool


class _Pool:
    """The candidates of a query: all images, or those of a group in an order of their own.

    Attributes:
        size: how many they are.
        selector: lets FAISS see no others; None where there are none.
    """

    def __init__(self, faiss: ModuleType, images: int, columns: Indices | None) -> None:
        self._images, self._columns = images, columns
        self.size, self.selector = images, None
        if columns is not None:
            self.size = len(columns)
            self._by_row = np.argsort(columns, kind="stable")
            self._ascending = columns[self._by_row]
            among = np.zeros(images, dtype=bool)
            among[columns] = True
            self.selector = faiss.IDSelectorBitmap(np.packbits(among, bitorder="little"))

    @property
    def rows(self) -> Indices:
        """All of them, in the order that decides between equal scores."""
        return np.arange(self._images) if self._columns is None else self._columns

    def ordered(self, rows: Indices) -> Indices:
        """Some of them, in that order."""
        if self._columns is None:
            return np.sort(rows)
        places = self._by_row[np.searchsorted(self._ascending, rows)]
        return self._columns[np.sort(places)]


def fingerprint_of(embeddings: Embeddings) -> str:
    """SHA-256 (hex) of the ids, the shape and up to 256 rows from all over.

    It tells embeddings from those of another model or of other images without reading them all.
    """
    digest = hashlib.sha256("\0".join(embeddings.ids).encode())
    digest.update(f"{embeddings.source.shape}".encode())
    count = len(embeddings)
    rows = np.unique(np.linspace(0, count - 1, min(FINGERPRINT_ROWS, count)).astype(np.int64))
    sampled: Floats = read_rows(embeddings.source, rows)
    digest.update(np.ascontiguousarray(sampled).tobytes())
    return digest.hexdigest()


def has_index(gallery: Path) -> bool:
    """Whether a gallery folder has an index."""
    return (gallery / INDEX).is_dir()


def read_record(folder: Path) -> IndexRecord:
    """What index.json says.

    Raises:
        BadInput: it is missing or damaged, or of another format.
    """
    file = folder / RECORD
    content = read_json(file, remedy=_AGAIN)
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else None
        raise BadInput(f"{found!r} is not the format of an index, {FORMAT}", file=file, field="format", remedy=_AGAIN)
    return validated(IndexRecord, content, file=file)


def import_faiss() -> ModuleType:
    """FAISS, which only an index needs.

    Raises:
        BadInput: it is not installed.
    """
    try:
        import faiss
    except ImportError as error:
        raise BadInput(f"an index needs faiss: {error}", remedy="Install it with: pip install 'qure[index]'") from None
    module: ModuleType = faiss
    return module


def open_part(faiss: ModuleType, file: Path) -> Any:
    """FAISS's index in a file, its lists mapped into memory.

    Raises:
        RuntimeError: FAISS cannot read it.
    """
    part = faiss.read_index(str(file), faiss.IO_FLAG_MMAP | faiss.IO_FLAG_READ_ONLY)
    lists = faiss.downcast_InvertedLists(getattr(part, "invlists", None))
    if isinstance(lists, faiss.OnDiskInvertedLists):
        lists.prefetch_nthread = 0  # it would begin 32 threads for each search
    return part


def _opened(faiss: ModuleType, file: Path, size: int, record: IndexRecord) -> Any:
    """A part of an index. Its size is looked at first: what a mapped file lacks would end the process."""
    if not file.is_file() or file.stat().st_size != size:
        found = f"{file.stat().st_size:,} bytes" if file.is_file() else "not there"
        raise BadInput(f"{found}, written were {size:,} bytes", file=file, remedy=_AGAIN)
    try:
        part = open_part(faiss, file)
    except RuntimeError as error:
        said = str(error).splitlines()[0][:200]
        raise BadInput(
            f"faiss {faiss.__version__} cannot read what faiss {record.faiss} wrote: {said}", file=file, remedy=_AGAIN
        ) from None
    if (int(part.d), int(getattr(part, "nlist", 0))) != (record.dimension, record.settings.lists):
        raise BadInput("not a part of this index", file=file, remedy=_AGAIN)
    return part

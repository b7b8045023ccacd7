"""Building an index for a gallery: trained on a sample, filled block by block, compared with exact search, kept whole.

Memory is bounded by one part of the index and the sample that it is trained on, whatever the gallery's size. The same
embeddings and settings give the same bytes: the sample is drawn from a fixed seed, FAISS's clustering has one too, and
in a list vectors stand in the gallery's order.
"""

import logging
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qure.config import IndexSettings
from qure.errors import BadInput, StageFailed
from qure.evaluation.ranking.embeddings import Embeddings, read_embeddings
from qure.evaluation.ranking.scores import require_same_dimension
from qure.evaluation.ranking.stored_rows import Floats, read_rows
from qure.evaluation.ranking.streamed import search_stored
from qure.files import atomic_folder, write_json
from qure.progress import track
from qure.serving.ivf_index import (
    FORMAT,
    INDEX,
    RECORD,
    RESULTS,
    IndexRecord,
    IvfIndex,
    fingerprint_of,
    import_faiss,
    open_part,
)
from qure.serving.retriever import EMBEDDINGS

logger = logging.getLogger(__name__)

#: Values of a code's byte, each a centre that is learnt; FAISS wants this many vectors for each at least.
CENTRES, LEAST_FOR_CENTRE = 256, 39
#: Vectors that a list's centre is learnt from.
SAMPLED_FOR_LIST = 64
#: Lists that a search looks through at least, where their number is to be found.
LEAST_PROBES = 8
#: Bytes of embeddings, in fp32, that are added at once; bytes of codes that a part has at most.
_BLOCK_BYTES, _PART_BYTES = 64 << 20, 1 << 30
#: Bytes of a vector's id in a list.
_ID_BYTES = 8
_SEED = 0


def build_index(gallery: Path, settings: IndexSettings, queries: Floats | None = None) -> IndexRecord:
    """Makes the index of a gallery folder, in place of one that is there.

    Args:
        gallery: folder with embeddings.safetensors; `index/` is written into it, whole or not at all.
        settings: lists and codes, and how many lists, vectors and images a search takes.
        queries: (Q, D) that it is compared with exact search on, `settings.queries` of them; the gallery's own images,
            each as its vectors' mean, when left out.

    Raises:
        BadInput: the gallery is too small or its embeddings are damaged, the settings do not fit it, or FAISS is not
            installed.
        StageFailed: the index finds less of exact search's answers than `settings.least_recall`.
    """
    gallery = Path(gallery)
    embeddings = read_embeddings(gallery / EMBEDDINGS)
    require_fitting(settings, embeddings.dimension)
    faiss = import_faiss()
    too_small = why_exact(settings, embeddings)
    if too_small is not None:
        raise BadInput(too_small, file=gallery, remedy="Search it exactly: serving.index.kind: exact")
    settings = settings.model_copy(update={"lists": lists_for(settings, embeddings)})
    asked = _sample_queries(settings, embeddings, queries)
    with atomic_folder(gallery / INDEX) as folder:
        begun = time.monotonic()
        trained = _train(faiss, settings, embeddings)
        files = _fill(faiss, trained, embeddings, folder)
        seconds = time.monotonic() - begun
        parts = [open_part(faiss, file) for file in files]
        settings, recall = _compare(embeddings, parts, settings, asked)
        record = IndexRecord(
            format=FORMAT,
            settings=settings,
            faiss=faiss.__version__,
            fingerprint=fingerprint_of(embeddings),
            images=len(embeddings),
            tokens=embeddings.tokens,
            dimension=embeddings.dimension,
            parts={file.name: file.stat().st_size for file in files},
            queries=len(asked),
            recall_at_10=recall,
        )
        logger.info("the index of %s, made in %.0f s: %s", gallery, seconds, described(record))
        if recall < settings.least_recall:
            raise StageFailed(
                f"{gallery}: of the {RESULTS} best images of exact search the index finds {recall:.3f} with "
                f"{settings.probes} probes, less than serving.index.least_recall: {settings.least_recall:g}. Raise "
                "serving.index.tokens, images or, where they are set, probes, which makes searches slower; or "
                "bytes_per_token, which makes the index larger"
            )
        write_json(folder / RECORD, record.model_dump(mode="json"))
    return record


def require_fitting(settings: IndexSettings, dimension: int) -> None:
    """Finds out before the long work whether an index of embeddings of this dimension can be made.

    Raises:
        BadInput: `bytes_per_token` does not divide the dimension, or FAISS is not installed.
    """
    import_faiss()
    if dimension % settings.bytes_per_token:
        fitting = [str(size) for size in range(1, dimension + 1) if dimension % size == 0]
        raise BadInput(
            f"{settings.bytes_per_token} bytes do not divide {dimension} dimensions",
            field="serving.index.bytes_per_token",
            remedy=f"One of {', '.join(fitting)}",
        )


def why_exact(settings: IndexSettings, embeddings: Embeddings) -> str | None:
    """Why a gallery is better searched exactly, being too small for an index; None for one that is large enough."""
    lists, vectors = lists_for(settings, embeddings), len(embeddings) * embeddings.tokens
    least = LEAST_FOR_CENTRE * max(lists, CENTRES)
    if vectors < least:
        return f"{vectors:,} vectors are too few for an index of {lists:,} lists, which wants {least:,}"
    if len(embeddings) <= settings.images:
        return (
            f"{len(embeddings):,} images are no more than serving.index.images: {settings.images:,} are scored anyway"
        )
    return None


def lists_for(settings: IndexSettings, embeddings: Embeddings) -> int:
    """How many lists: as set, else the power of two nearest to the root of the number of vectors."""
    return settings.lists or 2 ** round(math.log2(len(embeddings) * embeddings.tokens) / 2)


def measure_recall(index: IvfIndex, queries: Tensor, exact: Tensor) -> float:
    """Share of exact search's ten best images that an index finds, the mean over queries.

    Args:
        queries: (Q, D).
        exact: (Q, 10) columns that exact search finds.
    """
    found = index.search(queries, [RESULTS] * len(queries), [None] * len(queries))
    kept = [
        len(np.intersect1d(own.numpy(), best.numpy())) / len(best) for (own, _), best in zip(found, exact, strict=True)
    ]
    return float(np.mean(kept))


def described(record: IndexRecord) -> str:
    """An index in a line, for people.

    >>> sizes = {"images": 1000, "tokens": 8, "dimension": 64, "parts": {"part-0.faiss": 400_000}}
    >>> found = {"fingerprint": "0", "faiss": "1.15", "queries": 200, "recall_at_10": 0.9815}
    >>> described(IndexRecord(format=1, settings=IndexSettings(kind="ivf_pq", lists=64, probes=8), **sizes, **found))
    '8 of 64 lists are searched, 400 bytes an image, recall@10 0.982 against exact search (200 queries)'
    """
    size = sum(record.parts.values()) / record.images
    return (
        f"{record.settings.probes:,} of {record.settings.lists:,} lists are searched, {size:,.0f} bytes an image, "
        f"recall@{RESULTS} {record.recall_at_10:.3f} against exact search ({record.queries} queries)"
    )


def _compare(
    embeddings: Embeddings, parts: Sequence[Any], settings: IndexSettings, queries: Floats
) -> tuple[IndexSettings, float]:
    """The settings that a search takes, and the recall with them: `probes`, where none are set, are doubled until the
    index finds enough."""
    asked = torch.from_numpy(queries)
    exact, _ = search_stored(asked, embeddings, RESULTS, title="comparing the index with exact search")
    lists = lists_for(settings, embeddings)
    probes = settings.probes or min(LEAST_PROBES, lists)
    while True:
        tried = settings.model_copy(update={"probes": min(probes, lists)})
        recall = measure_recall(IvfIndex(embeddings.source, parts, tried), asked, exact)
        if settings.probes or recall >= settings.least_recall or probes >= lists:
            return tried, recall
        probes *= 2


def _sample_queries(settings: IndexSettings, embeddings: Embeddings, queries: Floats | None) -> Floats:
    """As many queries as the settings say, evenly spaced among those that there are."""
    if queries is not None:
        require_same_dimension(queries, embeddings)
        return np.ascontiguousarray(queries[_spaced(len(queries), settings.queries)], dtype=np.float32)
    means = read_rows(embeddings.source, _spaced(len(embeddings), settings.queries)).mean(axis=1)
    lengths = np.linalg.norm(means, axis=1, keepdims=True)
    own: Floats = means / np.maximum(lengths, np.finfo(np.float32).tiny)
    return own


def _spaced(count: int, wanted: int) -> "np.ndarray[tuple[int], np.dtype[np.int64]]":
    return np.unique(np.linspace(0, count - 1, min(count, wanted)).astype(np.int64))


def _train(faiss: ModuleType, settings: IndexSettings, embeddings: Embeddings) -> Any:
    """An empty index that knows its lists' centres and its codes."""
    lists = lists_for(settings, embeddings)
    quantizer = faiss.IndexFlatIP(embeddings.dimension)
    index = faiss.IndexIVFPQ(
        quantizer, embeddings.dimension, lists, settings.bytes_per_token, 8, faiss.METRIC_INNER_PRODUCT
    )
    wanted = max(SAMPLED_FOR_LIST * lists, CENTRES * CENTRES)
    draw = np.random.default_rng(_SEED)
    count = min(len(embeddings), -(-wanted // embeddings.tokens))
    rows = np.sort(draw.choice(len(embeddings), size=count, replace=False))
    logger.info("learning %d lists from %d of %d images", lists, count, len(embeddings))
    sample = embeddings.take([embeddings.ids[row] for row in rows]).reshape(-1, embeddings.dimension)
    # Whether sums of a clustering are shared among threads shows in their last bits, and then in the lists.
    with _one_thread(faiss):
        index.train(sample)
    return index


def _fill(faiss: ModuleType, trained: Any, embeddings: Embeddings, folder: Path) -> list[Path]:
    """Writes all vectors' codes as parts of bounded size; a vector's id is its image's row."""
    tokens, dimension = embeddings.tokens, embeddings.dimension
    part_images = max(1, _PART_BYTES // (tokens * (int(trained.code_size) + _ID_BYTES)))
    block_images = max(1, _BLOCK_BYTES // (4 * tokens * dimension))
    starts = range(0, len(embeddings), block_images)
    files: list[Path] = []
    part = faiss.clone_index(trained)
    for positions, vectors in track(
        embeddings.blocks(embeddings.ids, block_images), "adding images to the index", len(starts)
    ):
        part.add_with_ids(vectors.reshape(-1, dimension), np.repeat(positions, tokens))
        if part.ntotal >= part_images * tokens or positions[-1] == len(embeddings) - 1:
            files.append(folder / f"part-{len(files)}.faiss")
            faiss.write_index(part, str(files[-1]))
            part.reset()
    return files


@contextmanager
def _one_thread(faiss: ModuleType) -> Iterator[None]:
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)

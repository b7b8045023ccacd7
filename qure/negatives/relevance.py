"""Relevance of whole corpora, ranked block by block, so that memory stays bounded whatever the corpus size.

The published code builds the (queries, images, tokens) tensor whole before taking the maximum: 41 GB on
FashionIQ. Here one (queries in a tile, images in a tile) product per candidate token is folded into a running
maximum on a CPU; on a GPU, where launches cost more than memory, one product of a tile with all tokens of many images
is reduced at once. Only as many queries are ranked together as the memory budget allows.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from qure.errors import BadInput
from qure.models.relevance import relevance
from qure.negatives.ranked import Ranked


@dataclass(frozen=True)
class Tiles:
    """Shape of every matrix product (rows padded at the end), whatever the memory budget: the order in which a product
    sums may depend on its shape, and a changed block size must not change a single bit of a score.

    Attributes:
        queries, images: of one product.
        tokens_at_once: whether a product takes all tokens of its images, or one token after the other.
    """

    queries: int
    images: int
    tokens_at_once: bool


QUERY_TILE = 256
CANDIDATE_TILE = 512

#: Of a CPU: what a tile reads and writes stays in its caches, and many queries share one packing of the images.
CPU_TILES = Tiles(QUERY_TILE, CANDIDATE_TILE, tokens_at_once=False)
#: Of a GPU: large products, few launches; at 32 tokens one product takes 256 MiB.
GPU_TILES = Tiles(1024, 2048, tokens_at_once=True)
#: Queries that a GPU ranks at once, at most: enough to keep it busy, and while it ranks them the sets of the queries
#: before them travel to the host.
GPU_QUERIES = 3 * GPU_TILES.queries

DEFAULT_MEMORY_BUDGET = 512 * 2**20
#: On a GPU, where nothing else runs while a training mines, and at most half of what is free.
GPU_MEMORY_BUDGET = 4 * 2**30

#: Working bytes per (query, image) pair while a block is scored, sorted and searched for drops: scores and sorted
#: scores 8; then drops and what is left of them 8, masks 3; or where a strategy asks for the order that 8, masks
#: and marks 6, what it computes itself 8.
BYTES_PER_PAIR = 32
#: Of these, those of its score: a product's queries are scored together, and ranked a few at a time where they must.
SCORE_BYTES = 4
#: Queries that are ranked together at least.
LEAST_RANKED = 16


@dataclass(frozen=True)
class RankedBlock:
    """A few queries with the whole corpus in the order of their relevance.

    Attributes:
        rows: which queries these are.
        ranked: their (q, N) scores.
    """

    rows: slice
    ranked: Ranked


@torch.no_grad()
def relevance_block(queries: Tensor, candidates: Tensor) -> Tensor:
    """Relevance of every candidate to every query: the maximum over candidate tokens of the dot product.

    Args:
        queries: (q, D), unit length.
        candidates: (N, T, D), each token of unit length.

    Returns:
        (q, N) float32. Bit for bit the same for a query whichever others are scored with it.

    Raises:
        BadInput: an embedding is NaN or infinite; names the first such row.

    >>> queries = torch.tensor([[1.0, 0.0]])
    >>> candidates = torch.tensor([[[0.0, 1.0], [0.6, 0.8]], [[1.0, 0.0], [0.0, 1.0]]])
    >>> relevance_block(queries, candidates).tolist()
    [[0.6000000238418579, 1.0]]
    """
    _check_shapes(queries, candidates)
    _refuse_non_finite(queries, "query")
    _refuse_non_finite(candidates, "candidate")
    return _relevance(queries, candidates, tiles_of(candidates.device))


def ranked_blocks(
    queries: Tensor,
    candidates: Tensor,
    *,
    device: torch.device | str | None = None,
    memory_budget: int | None = None,
    tiles: Tiles | None = None,
) -> Iterator[RankedBlock]:
    """Ranks the whole corpus for every query, a block of queries at a time.

    Args:
        queries: (Q, D), unit length.
        candidates: (N, T, D), each token of unit length.
        device: where to compute; the candidates move there whole. Default: where they are.
        memory_budget: bytes of working memory on top of the embeddings; default: `default_budget` of the device, or
            what the corpus takes at least. Changes the number of queries in a block, never a result.
        tiles: shape of the products; default: that of the device.

    Raises:
        BadInput: NaN or infinite embeddings, or a budget too small to score `QUERY_TILE` queries.
    """
    _check_shapes(queries, candidates)
    _refuse_non_finite(queries, "query")
    _refuse_non_finite(candidates, "candidate")
    device = torch.device(device) if device is not None else candidates.device
    candidates = candidates.to(device)
    tiles = tiles or tiles_of(device)
    if memory_budget is None:
        memory_budget = max(default_budget(device), least_budget(len(candidates)))
    size = queries_per_block(len(candidates), memory_budget)
    if tiles.tokens_at_once:
        size = min(size, GPU_QUERIES)
    at_once = ranked_at_once(len(candidates), memory_budget, size)
    for first in range(0, len(queries), size):
        with torch.no_grad():
            scores = _relevance(queries[first : first + size].to(device), candidates, tiles)
        for start in range(0, len(scores), at_once):
            part = scores[start : start + at_once]
            yield RankedBlock(slice(first + start, first + start + len(part)), Ranked(part))


def tiles_of(device: torch.device) -> Tiles:
    """The products' shape on a device."""
    return GPU_TILES if device.type == "cuda" else CPU_TILES


def default_budget(device: torch.device) -> int:
    """Bytes of working memory where the caller names none."""
    if device.type != "cuda":
        return DEFAULT_MEMORY_BUDGET
    return max(DEFAULT_MEMORY_BUDGET, min(GPU_MEMORY_BUDGET, torch.cuda.mem_get_info(device)[0] // 2))


def least_budget(corpus_size: int) -> int:
    """Bytes of working memory that a corpus takes at least: the scores of `QUERY_TILE` queries, a few being ranked.

    >>> least_budget(1_000_000) // 2**20
    1403
    """
    return corpus_size * (QUERY_TILE * SCORE_BYTES + LEAST_RANKED * (BYTES_PER_PAIR - SCORE_BYTES))


def queries_per_block(corpus_size: int, memory_budget: int) -> int:
    """How many queries are scored together: a multiple of `QUERY_TILE`.

    Raises:
        BadInput: the scores of not even one tile fit; says how much they need.

    >>> queries_per_block(6000, 512 * 2**20)
    2560
    """
    least = least_budget(corpus_size)
    if memory_budget < least:
        raise BadInput(
            f"a memory budget of {memory_budget} bytes does not hold the scores of {QUERY_TILE} queries "
            f"against {corpus_size} images",
            field="memory_budget",
            remedy=f"It takes at least {least} bytes",
        )
    return max(1, memory_budget // (QUERY_TILE * corpus_size * BYTES_PER_PAIR)) * QUERY_TILE


def ranked_at_once(corpus_size: int, memory_budget: int, scored: int) -> int:
    """How many of the queries that are scored together are ranked together.

    >>> ranked_at_once(6000, 512 * 2**20, 2560), ranked_at_once(100_000, 512 * 2**20, 256)
    (2560, 155)
    """
    left = memory_budget - scored * corpus_size * SCORE_BYTES
    return min(scored, left // (corpus_size * (BYTES_PER_PAIR - SCORE_BYTES)))


def _relevance(queries: Tensor, candidates: Tensor, tiles: Tiles) -> Tensor:
    scores = queries.new_empty((len(queries), len(candidates)), dtype=torch.float32)
    products = queries.new_empty((2, tiles.queries * min(tiles.images, len(candidates))), dtype=torch.float32)
    # Autocast would run these products in half precision, where close scores tie and ranks turn arbitrary.
    with torch.autocast(queries.device.type, enabled=False):
        left = 0
        for part in _parts(candidates, tiles):
            images = len(part)
            part = part.float()  # (up to images, T, D)
            if not tiles.tokens_at_once:
                part = part.transpose(0, 1)  # (T, up to images, D)
                if len(queries) > tiles.queries:  # several products read rows that lie side by side, for one copy
                    part = part.contiguous()
            for first in range(0, len(queries), tiles.queries):
                tile = queries[first : first + tiles.queries].float()
                filled = len(tile)
                tile = torch.nn.functional.pad(tile, (0, 0, 0, tiles.queries - filled))  # (queries, D)
                if tiles.tokens_at_once:
                    best = relevance(tile, part)
                else:
                    best, product = products[:, : tiles.queries * images].view(2, tiles.queries, images)
                    _best_so_far(tile, part, best, product)
                scores[first : first + filled, left : left + images] = best[:filled]
            left += images
    return scores


def _parts(candidates: Tensor, tiles: Tiles) -> Sequence[Tensor]:
    """At most as many images as a tile has. On a CPU parts are as equal as can be: a product of one or two images left
    over would sum in an order of its own."""
    if tiles.tokens_at_once:
        return candidates.split(tiles.images)
    return candidates.tensor_split(-(-len(candidates) // tiles.images))


def _best_so_far(tile: Tensor, tokens: Tensor, best: Tensor, product: Tensor) -> None:
    """`relevance` of a tile to images (T, n, D), token by token: the (queries, images, T) products are never held.

    Both results lie in memory that every tile uses again: pages that are new each time cost a tenth of the products.
    """
    torch.mm(tile, tokens[0].T, out=best)  # (queries, images)
    for own in tokens[1:]:
        torch.mm(tile, own.T, out=product)
        torch.maximum(best, product, out=best)


def _check_shapes(queries: Tensor, candidates: Tensor) -> None:
    if queries.ndim != 2 or candidates.ndim != 3 or queries.shape[1] != candidates.shape[2] or not candidates.shape[1]:
        raise ValueError(
            f"queries must be (Q, D) and candidates (N, T, D), not {tuple(queries.shape)} and {tuple(candidates.shape)}"
        )


def _refuse_non_finite(embeddings: Tensor, what: str) -> None:
    step = CANDIDATE_TILE if embeddings.device.type == "cpu" else max(len(embeddings), 1)
    for first in range(0, len(embeddings), step):
        part = embeddings[first : first + step]
        # One NaN or infinity makes the sum NaN or infinite, and a sum costs a tenth of looking at every number.
        if math.isfinite(part.sum(dtype=torch.float32)):
            continue
        finite = torch.isfinite(part).flatten(1).all(1)
        if not bool(finite.all()):
            row = first + int((~finite).nonzero()[0])
            raise BadInput(
                f"the {what} embedding is not finite (NaN or infinite)",
                row=row,
                remedy="The model has diverged: lower the learning rate, or train in bf16 or fp32",
            )

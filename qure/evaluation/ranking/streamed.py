"""Exact search of a gallery that stays on disk: one pass for many queries, in little memory whatever its size."""

import torch
from torch import Tensor

from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.flat_index import FlatIndex
from qure.progress import track

#: Bytes of candidates, in fp32, that are held at once.
BLOCK_BYTES = 64 << 20


def search_stored(queries: Tensor, gallery: Embeddings, count: int, *, title: str = "") -> tuple[Tensor, Tensor]:
    """The best candidates of each query, in the order and with the scores of `FlatIndex` and of evaluation.

    Args:
        queries: (Q, D).
        gallery: N candidates.
        count: how many each query gets; all, when there are fewer.
        title: what the progress bar says.

    Returns:
        columns (Q, min(count, N)) int64 and their scores, fp32, best first; equal scores in the gallery's order.

    Raises:
        BadInput: a row of the gallery cannot be ranked by (NaN, infinity).
    """
    columns = torch.empty(len(queries), 0, dtype=torch.int64)
    scores = torch.empty(len(queries), 0)
    size = max(1, BLOCK_BYTES // (4 * gallery.tokens * gallery.dimension))
    blocks = track(gallery.blocks(gallery.ids, size), title or f"searching {gallery.name}", -(-len(gallery) // size))
    for positions, vectors in blocks:
        found = FlatIndex(torch.from_numpy(vectors)).search(queries, [count] * len(queries), [None] * len(queries))
        columns = torch.cat([columns, torch.stack([own for own, _ in found]) + int(positions[0])], dim=1)
        scores = torch.cat([scores, torch.stack([values for _, values in found])], dim=1)
        # Stable, and earlier candidates stand first: of equal scores theirs stay first.
        scores, order = scores.sort(dim=1, descending=True, stable=True)
        columns, scores = columns.gather(1, order)[:, :count], scores[:, :count]
    return columns, scores

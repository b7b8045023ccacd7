"""What a mining saw of every query, kept to be looked at later: the curve of relevance, its drops, what lies in H.

Kept are not whole rankings (CIRR's would take gigabytes) but relevance at the first ranks and, further down, at ranks
that grow by a quarter octave; the best images; and the first images of H. About 1.5 kB a query.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from qure.config import NegativeSettings
from qure.errors import BadInput
from qure.files import atomic_file
from qure.negatives.relevance import RankedBlock
from qure.negatives.selection import Selection
from qure.negatives.sets import Columns, Integers
from qure.negatives.statistics import Observations
from qure.negatives.steep_drops import steep_drops

#: Ranks at which relevance is kept without gaps; best images, and images of H, that are kept.
DENSE, BEST, HARD = 200, 50, 24
_FORMAT = "qure-mining-1"


@dataclass(frozen=True, eq=False)
class Record:
    """What was seen of Q queries.

    Attributes:
        positions: (K,) 0-based ranks at which relevance is kept, ascending.
        scores: (Q, K) float32; NaN behind the end of a shorter corpus.
        best: (Q, BEST) int32 corpus columns of the best images, best first; -1 behind the end.
        hard, hard_ranks: (Q, HARD) int32 columns and ranks of the first images of H, best first; -1 behind the end.
        edges: (Q, 4) float32: relevance at either side of the two drops, which may lie where ranks are kept sparsely;
            NaN where there are none.
        target_rank, start, end, first, last, size, corpus_size: (Q,) int64: 0-based rank of the target, ranks that the
            two steep drops follow (-1: none; also told where another strategy chose H), ranks of the first and the
            last image of H, size of H, images ranked.
    """

    positions: Integers
    scores: NDArray[np.float32]
    best: Columns
    hard: Columns
    hard_ranks: Columns
    edges: NDArray[np.float32]
    target_rank: Integers
    start: Integers
    end: Integers
    first: Integers
    last: Integers
    size: Integers
    corpus_size: Integers


@dataclass(frozen=True, eq=False)
class Kept:
    """A record with the names of its queries and images."""

    record: Record
    queries: tuple[str, ...]
    images: tuple[str, ...]

    def named(self, columns: Sequence[int]) -> list[str]:
        """Images by their columns; padding is left out."""
        return [self.images[column] for column in columns if column >= 0]


def positions_in(size: int) -> Integers:
    """The ranks at which relevance is kept, of a corpus of that size.

    >>> positions_in(3).tolist()
    [0, 1, 2]
    >>> positions_in(1000)[-3:].tolist()
    [672, 800, 951]
    """
    if size <= DENSE:
        return np.arange(size, dtype=np.int64)
    octaves = np.arange(1, 4 * int(np.log2(size / DENSE) + 1) + 1) / 4
    further = np.floor(DENSE * 2.0**octaves).astype(np.int64)
    return np.concatenate([np.arange(DENSE, dtype=np.int64), further[further < size]])


def record_block(block: RankedBlock, chosen: Selection, observed: Observations, settings: NegativeSettings) -> Record:
    """What is kept of a block of queries."""
    ranking, order = block.ranked.scores, block.ranked.order  # (q, N) each
    queries, size = ranking.shape
    device = ranking.device
    positions = positions_in(size)
    ranked = chosen.members.gather(1, order)  # (q, N) by rank
    start, end = _drops(block, chosen, settings)
    ranks = torch.arange(size, device=device).expand(queries, size)
    first = torch.where(ranked, ranks, size).topk(min(HARD, size), dim=1, largest=False, sorted=True).values
    there = first < size
    columns = order.gather(1, first.clamp(max=size - 1))

    def host(values: torch.Tensor, width: int) -> Columns:
        filled = np.full((queries, width), -1, dtype=np.int32)
        filled[:, : values.shape[1]] = values.cpu().numpy()
        return filled

    return Record(
        positions=positions,
        scores=ranking[:, torch.from_numpy(positions).to(device)].float().cpu().numpy(),
        best=host(order[:, :BEST], BEST),
        hard=host(torch.where(there, columns, -1), HARD),
        hard_ranks=host(torch.where(there, first, -1), HARD),
        edges=_edges(block, start, end),
        target_rank=observed.target_rank,
        start=start.cpu().numpy(),
        end=end.cpu().numpy(),
        first=observed.first,
        last=observed.last,
        size=observed.size,
        corpus_size=observed.corpus_size,
    )


def _drops(block: RankedBlock, chosen: Selection, settings: NegativeSettings) -> tuple[torch.Tensor, torch.Tensor]:
    """The strategy's two drops; where it has none, those that the published strategy would have taken."""
    if bool((chosen.start >= 0).any()):
        return chosen.start, chosen.end
    return steep_drops(
        block.ranked.scores,
        chosen.target_ranks,
        rule=settings.rule,
        consecutive_threshold=settings.consecutive_threshold,
        search_window=settings.search_window,
    )


def _edges(block: RankedBlock, start: torch.Tensor, end: torch.Tensor) -> NDArray[np.float32]:
    ranks = torch.stack([start, start + 1, end, end + 1], dim=1)
    values = block.ranked.scores.gather(1, ranks.clamp(min=0)).float()
    return values.masked_fill(start[:, None] < 0, float("nan")).cpu().numpy()


def join(
    parts: Sequence[Record], corpus_offsets: Sequence[int] | None = None, query_rows: Sequence[ArrayLike] | None = None
) -> Record:
    """Records of blocks or of several corpora as one; arguments as `qure.negatives.sets.combine` takes them."""
    offsets = list(corpus_offsets) if corpus_offsets is not None else [0] * len(parts)
    # The ranks of a larger corpus begin with those of a smaller one.
    positions = max((part.positions for part in parts), key=len)

    def columns(name: str) -> Columns:
        values = [(getattr(part, name), shift) for part, shift in zip(parts, offsets, strict=True)]
        return np.concatenate([np.where(one >= 0, one + shift, -1).astype(np.int32) for one, shift in values])

    def numbers(name: str) -> Integers:
        return np.concatenate([getattr(part, name) for part in parts])

    scores = np.full((sum(len(part.scores) for part in parts), len(positions)), np.nan, dtype=np.float32)
    start = 0
    for part in parts:
        scores[start : start + len(part.scores), : part.scores.shape[1]] = part.scores
        start += len(part.scores)
    order = np.arange(len(scores))
    if query_rows is not None:
        order = np.argsort(np.concatenate([np.asarray(rows, dtype=np.int64) for rows in query_rows]))
    return Record(
        positions=positions,
        scores=scores[order],
        best=columns("best")[order],
        hard=columns("hard")[order],
        hard_ranks=numbers("hard_ranks")[order].astype(np.int32),
        edges=np.concatenate([part.edges for part in parts])[order],
        target_rank=numbers("target_rank")[order],
        start=numbers("start")[order],
        end=numbers("end")[order],
        first=numbers("first")[order],
        last=numbers("last")[order],
        size=numbers("size")[order],
        corpus_size=numbers("corpus_size")[order],
    )


def save(path: Path, record: Record, *, queries: Sequence[str], images: Sequence[str]) -> None:
    """Writes a record with the names of its queries and of its corpus's images, whole or not at all."""
    arrays = {name: np.ascontiguousarray(getattr(record, name)) for name in Record.__dataclass_fields__}
    # One entry: safetensors writes several in an order that changes from process to process.
    names = json.dumps({"queries": list(queries), "images": list(images)})
    with atomic_file(path) as temporary:
        save_file(arrays, temporary, metadata={_FORMAT: names})


def load(path: Path) -> Kept:
    """Reads what `save` wrote.

    Raises:
        BadInput: no such file, or damaged.
    """
    if not path.is_file():
        raise BadInput("the file does not exist", file=path, remedy="Train the model again")
    try:
        with safe_open(path, framework="numpy") as stream:
            metadata = stream.metadata() or {}
            arrays = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118
        if _FORMAT not in metadata:
            raise BadInput(f"is no record of a mining of format {_FORMAT}", file=path, remedy="Train the model again")
        names = json.loads(metadata[_FORMAT])
        return Kept(Record(**arrays), tuple(names["queries"]), tuple(names["images"]))
    except (SafetensorError, KeyError, TypeError, ValueError) as error:
        raise BadInput(f"not a whole record of a mining: {error}", file=path, remedy="Train the model again") from None

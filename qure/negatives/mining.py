"""Mining: the hard negatives of every query under the current model, and what can be seen of them."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from qure.config import NegativeSettings
from qure.errors import BadInput
from qure.negatives import sets
from qure.negatives.listing import Listing
from qure.negatives.record import Record, record_block
from qure.negatives.record import join as join_records
from qure.negatives.relevance import RankedBlock, Tiles, rank, ranked_blocks
from qure.negatives.selection import Copies, Selection, copies_of, select
from qure.negatives.sets import HardNegatives, Integers, WholeCorpus, whole_corpus
from qure.negatives.statistics import Observations, observe, statistics_of
from qure.progress import counted
from qure.strategies import find

logger = logging.getLogger(__name__)

#: What a query whose ranking holds no range takes instead, in words.
FALLBACKS = {"after_target": "all images after the target", "whole_corpus": "all images but the target"}


@dataclass(frozen=True)
class CurveExample:
    """One query's ranking, for the eye.

    Attributes:
        query: row of the query.
        scores: (N,) float32, descending.
        target_rank: 0-based.
        start, end: ranks of the two steep drops, -1 where there are none.
        first, last: ranks of the first and the last hard negative.
        negatives: int64 corpus columns of the hard negatives, ascending.
    """

    query: int
    scores: NDArray[np.float32]
    target_rank: int
    start: int
    end: int
    first: int
    last: int
    negatives: Integers


@dataclass(frozen=True)
class Mining:
    """What one mining found.

    Attributes:
        hard: the set of every query.
        observations: ranks and sizes per query.
        settings: how it was mined.
        examples: a few queries' rankings.
        record: of every query, where it was asked for.
    """

    hard: HardNegatives | WholeCorpus
    observations: Observations
    settings: NegativeSettings
    examples: list[CurveExample] = field(default_factory=list)
    record: Record | None = None

    @cached_property
    def statistics(self) -> dict[str, Any]:
        """Sizes, places and fallbacks, JSON-able (see `qure.negatives.statistics`)."""
        return {"settings": self.settings.model_dump(), **statistics_of(self.observations)}


@torch.no_grad()
def mine(
    queries: Tensor,
    candidates: Tensor,
    targets: ArrayLike | Tensor,
    settings: NegativeSettings,
    *,
    device: torch.device | str | None = None,
    memory_budget: int | None = None,
    curve_examples: int = 8,
    images: ArrayLike | Tensor | None = None,
    exclude: ArrayLike | Tensor | None = None,
    tiles: Tiles | None = None,
    recorded: bool = False,
) -> Mining:
    """Ranks one corpus for every query and takes the hard negatives of the settings' strategy.

    Args:
        queries: (Q, D) embeddings, unit length.
        candidates: (N, T, D) embeddings of the corpus, each token of unit length.
        targets: (Q,) corpus column of each query's target.
        device: where to compute; default: where the candidates are.
        memory_budget: bytes of working memory, on top of embeddings and result; default: 512 MiB, on a GPU as much as
            half of its free memory. Never changes a result.
        curve_examples: how many evenly spaced queries' rankings to keep.
        images: (N,) integer identity of the image each column shows, where a corpus lists images more than once.
        exclude: (Q, E) columns that are never negatives of a query, padded with -1. As released nothing but the
            target is excluded: the query's own reference image can be a negative.
        tiles: shape of the matrix products; default: that of the device.
        recorded: keep of every query what can be looked at later (`qure.negatives.record`).

    Raises:
        BadInput: no queries, a target or excluded column outside the corpus, NaN or infinite embeddings, a corpus
            of one image, a memory budget too small for one block, or a user's strategy that fails: names file and line.
    """
    size = len(candidates)
    target_columns = checked_targets(targets, len(queries), size)
    exclude_columns = _checked_exclude(exclude, len(queries), size)
    device = torch.device(device) if device is not None else candidates.device
    copies = None if images is None else copies_of(torch.as_tensor(images).to(device))
    wanted = set(np.linspace(0, len(queries) - 1, min(curve_examples, len(queries))).round().astype(int).tolist())
    observations: list[Observations] = []
    examples: list[CurveExample] = []
    records: list[Record] = []
    described = find(settings).whole_corpus and copies is None
    with Listing(len(queries), device) as listing:
        for block in ranked_blocks(queries, candidates, device=device, memory_budget=memory_budget, tiles=tiles):
            chosen = _select_block(block, target_columns, settings, copies, exclude_columns)
            observations.append(observe(chosen))
            examples.extend(_examples(block, chosen, observations[-1], wanted))
            if recorded:
                records.append(record_block(block, chosen, observations[-1], settings))
            if not described:
                listing.add(chosen.members)
        also = None if exclude_columns is None else exclude_columns.numpy()
        hard = whole_corpus(target_columns.numpy(), size, also) if described else listing.hard()
    seen = join_records(records) if records else None
    mining = Mining(hard, Observations.concatenate(observations), settings, examples, seen)
    _log(mining)
    return mining


def negatives_from_scores(
    scores: Tensor,
    targets: Tensor,
    settings: NegativeSettings,
    *,
    images: Tensor | None = None,
    exclude: Tensor | None = None,
) -> tuple[HardNegatives, Selection]:
    """The hard negatives of queries whose (q, N) scores are at hand.

    Raises:
        BadInput: a score is NaN or infinite; names its row.

    >>> scores = torch.tensor([[1.0, 0.9, 0.85, 0.5, 0.48, 0.47, 0.1, 0.09]])
    >>> negatives_from_scores(scores, torch.tensor([0]), NegativeSettings())[0].of(0).tolist()
    [3, 4, 5]
    """
    finite = torch.isfinite(scores).all(1)
    if not bool(finite.all()):
        raise BadInput("a score is not finite (NaN or infinite)", row=int((~finite).nonzero()[0]))
    columns = checked_targets(targets, *scores.shape)
    ranked, order = rank(scores)
    copies = None if images is None else copies_of(images)
    chosen = select(ranked, order, columns.to(scores.device), settings, copies=copies, exclude=exclude)
    with Listing(len(scores), scores.device) as listing:
        listing.add(chosen.members)
        return listing.hard(), chosen


def concatenate(
    minings: Sequence[Mining], corpus_offsets: Sequence[int], query_rows: Sequence[ArrayLike] | None = None
) -> Mining:
    """Minings of several corpora (FashionIQ's categories) as one over all queries and a joint corpus.

    Args:
        minings: made with the same settings.
        corpus_offsets: where each corpus begins in the joint one.
        query_rows: which joint rows each mining's queries take; together every row once. Default: one mining
            after the other.
    """
    lengths = [len(mining.hard) for mining in minings]
    starts = sets.offsets_of(lengths)[:-1]
    rows = query_rows or [np.arange(length) + start for length, start in zip(lengths, starts, strict=True)]
    joint = np.concatenate([np.asarray(part, dtype=np.int64) for part in rows])
    hard = sets.combine([mining.hard for mining in minings], corpus_offsets, rows)
    observations = Observations.concatenate([mining.observations for mining in minings])
    examples = [
        replace(example, query=int(np.asarray(part)[example.query]), negatives=example.negatives + offset)
        for mining, part, offset in zip(minings, rows, corpus_offsets, strict=True)
        for example in mining.examples
    ]
    records = [mining.record for mining in minings if mining.record is not None]
    seen = join_records(records, corpus_offsets, rows) if len(records) == len(minings) else None
    return Mining(hard, observations.take(np.argsort(joint)), minings[0].settings, examples, seen)


def checked_targets(targets: ArrayLike | Tensor, queries: int, corpus_size: int) -> Tensor:
    """(Q,) int64 target columns on the CPU.

    Raises:
        BadInput: no queries, a corpus of fewer than two images, or a target outside it; names its row.
    """
    columns = torch.as_tensor(targets).cpu()
    if columns.shape != (queries,) or columns.is_floating_point():
        raise ValueError(f"targets must be ({queries},) integers, not {columns.dtype} {tuple(columns.shape)}")
    if not queries:
        raise BadInput("there are no queries to mine for")
    if corpus_size < 2:
        raise BadInput(f"a corpus of {corpus_size} images has no negatives: a query needs one besides its target")
    outside = (columns < 0) | (columns >= corpus_size)
    if bool(outside.any()):
        row = int(outside.nonzero()[0])
        raise BadInput(
            f"the target column {int(columns[row])} is not in the corpus 0 .. {corpus_size - 1}",
            row=row,
            field="targets",
        )
    return columns.long()


def _checked_exclude(exclude: ArrayLike | Tensor | None, queries: int, corpus_size: int) -> Tensor | None:
    if exclude is None:
        return None
    columns = torch.as_tensor(exclude).cpu().long()
    if columns.ndim != 2 or len(columns) != queries:
        raise ValueError(f"exclude must be ({queries}, E), not {tuple(columns.shape)}")
    outside = ((columns < -1) | (columns >= corpus_size)).any(1)
    if bool(outside.any()):
        raise BadInput("an excluded column is not in the corpus", row=int(outside.nonzero()[0]), field="exclude")
    return columns


def _select_block(
    block: RankedBlock, targets: Tensor, settings: NegativeSettings, copies: Copies | None, exclude: Tensor | None
) -> Selection:
    device = block.scores.device
    try:
        return select(
            block.scores,
            block.order,
            targets[block.rows].to(device),
            settings,
            copies=copies,
            exclude=None if exclude is None else exclude[block.rows].to(device),
        )
    except BadInput as error:
        row = block.rows.start + error.row if isinstance(error.row, int) else error.row
        raise BadInput(error.problem, file=error.file, row=row, field=error.field, remedy=error.remedy) from None


def _examples(block: RankedBlock, chosen: Selection, observed: Observations, wanted: set[int]) -> list[CurveExample]:
    examples = []
    for query in sorted(wanted & set(range(block.rows.start, block.rows.stop))):
        row = query - block.rows.start
        examples.append(
            CurveExample(
                query=query,
                # A copy: a view would keep the whole block in memory.
                scores=block.scores[row].clone().cpu().numpy(),
                target_rank=int(chosen.target_ranks[row]),
                start=int(chosen.start[row]),
                end=int(chosen.end[row]),
                first=int(observed.first[row]),
                last=int(observed.last[row]),
                negatives=chosen.members[row].nonzero()[:, 0].cpu().numpy(),
            )
        )
    return examples


def _log(mining: Mining) -> None:
    statistics = mining.statistics
    first, fallback = round(statistics["first_after_target"]["q50"]), statistics["fallback"]
    logger.info(
        "a query has %.0f hard negatives (mean; median %.0f), the first of them %s %s the target (median)%s",
        statistics["size"]["mean"],
        statistics["size"]["q50"],
        counted(abs(first), "rank"),
        "below" if first > 0 else "above",
        "".join(
            f"; for {counted(fallback[kind], 'query', 'queries')} no range was found, and {instead} are taken"
            for kind, instead in FALLBACKS.items()
            if fallback[kind]
        ),
    )

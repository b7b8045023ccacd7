"""Mining during training: encode with the current model, mine per category, keep what was found."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from qure.config import NegativeSettings, TrainingSettings
from qure.errors import BadInput
from qure.files import atomic_folder, file_digest, read_json, write_json
from qure.negatives import record
from qure.negatives.mining import CurveExample, Mining, concatenate, mine
from qure.negatives.plots import draw_ranks, draw_sorted_scores
from qure.negatives.sets import HardNegatives, WholeCorpus, load
from qure.progress import counted
from qure.training.data import TrainingData
from qure.training.distributed import Processes
from qure.training.encoding import TrainingEncoder

logger = logging.getLogger(__name__)

SETS, STATISTICS, SCORES_PLOT, RANKS_PLOT = "negatives.safetensors", "statistics.json", "scores.png", "ranks.png"
#: One typical query with some of its negatives, by number, and its sorted scores.
EXAMPLE, EXAMPLE_PLOT = "example.json", "example.png"
#: What was seen of every query, for people to look at (`qure.negatives.record`).
RECORD = "record.safetensors"

#: Queries per category whose sorted scores are drawn.
EXAMPLES = 4
#: Negatives of the typical query that are kept, spread over its set.
KEPT = 8

Sets = HardNegatives | WholeCorpus

_FIELDS: dict[str, tuple[type[HardNegatives] | type[WholeCorpus], tuple[str, ...]]] = {
    "listed": (HardNegatives, ("offsets", "indices")),
    "whole_corpus": (WholeCorpus, ("first", "stop", "targets", "also")),
}


@dataclass(frozen=True)
class Mined:
    """The sets in force and, but for the warm-up, the statistics of the mining that made them."""

    sets: Sets
    statistics: dict[str, Any] | None


def warm_up(data: TrainingData) -> Mined:
    """Before the first mining: the whole corpus of a query's category except its target and what else is right."""
    starts, stops = data.corpus_starts[:-1], data.corpus_starts[1:]
    sets = WholeCorpus(starts[data.categories], stops[data.categories], data.targets, data.also_right)
    return Mined(sets, None)


def mine_all(
    encoder: TrainingEncoder,
    data: TrainingData,
    settings: TrainingSettings,
    group: Processes,
    folder: Path,
    title: str | None,
) -> Mined:
    """Mines every category with the model as it is and keeps sets, statistics, plots and a record in `folder`.

    `title` stands above the plots; None draws none, and keeps no record.

    All processes encode; rank 0 mines, writes, and hands the sets to the others. Call it inside `evaluating`.
    """
    candidates, queries = encoder.corpus(data), encoder.queries(data)
    if group.main:
        shown = title is not None
        mining = mine_categories(queries, candidates, data, settings.negatives, group.device, recorded=shown)
        _keep(mining, folder, title, data.query_ids, encoder.images(data))
    return _shared(group, Mined(mining.hard, mining.statistics) if group.main else None)


def read_mining(group: Processes, folder: Path, digest: str) -> Mined:
    """What `mine_all` kept in `folder`, on every process.

    Raises:
        BadInput: it is missing or is not what was written; names the file.
    """
    found = None
    if group.main:
        remedy = f"Remove {folder.parents[1]} to start the training afresh"
        if not (folder / SETS).is_file() or file_digest(folder / SETS) != digest:
            raise BadInput("the hard negatives of the interrupted training are damaged", file=folder, remedy=remedy)
        found = Mined(load(folder / SETS), read_json(folder / STATISTICS, remedy=remedy))
    return _shared(group, found)


def mining_digest(folder: Path) -> str:
    """Tells whether a kept mining is whole."""
    return file_digest(folder / SETS)


def mine_categories(
    queries: Tensor,
    candidates: Tensor,
    data: TrainingData,
    settings: NegativeSettings,
    device: torch.device,
    *,
    recorded: bool = False,
) -> Mining:
    """The hard negatives of all queries, each in its category's corpus, as one mining over the joint corpus.

    Args:
        queries: (N, D) of `data`'s triplets.
        candidates: (C, T, D) of its joint corpus.
        recorded: as `qure.negatives.mining.mine` takes it.
    """
    minings, offsets, query_rows = [], [], []
    for category, name in enumerate(data.names):
        rows = np.flatnonzero(data.categories == category)
        if not len(rows):
            continue
        corpus = data.corpus_of(category)
        targets = data.targets[rows] - corpus.start
        exclude = np.where(data.also_right[rows] >= 0, data.also_right[rows] - corpus.start, -1)
        logger.info(
            "mining hard negatives%s of %s",
            f" of {name}" if len(data.names) > 1 else "",
            counted(len(rows), "query", "queries"),
        )
        found = mine(
            queries[rows],
            candidates[corpus],
            targets,
            settings,
            device=device,
            curve_examples=EXAMPLES,
            exclude=exclude if exclude.shape[1] else None,
            recorded=recorded,
        )
        minings.append(found)
        offsets.append(corpus.start)
        query_rows.append(rows)
    return concatenate(minings, offsets, query_rows)


def _keep(mining: Mining, folder: Path, title: str | None, queries: Sequence[str], images: Sequence[str]) -> None:
    with atomic_folder(folder) as temporary:
        mining.hard.save(temporary / SETS)
        write_json(temporary / STATISTICS, mining.statistics)
        typical = _typical(mining)
        write_json(temporary / EXAMPLE, _example_facts(typical))
        if mining.record is not None:
            record.save(temporary / RECORD, mining.record, queries=queries, images=images)
        if title is not None:
            draw_sorted_scores([typical], temporary / EXAMPLE_PLOT)
            draw_sorted_scores(mining.examples, temporary / SCORES_PLOT, title)
            draw_ranks(mining.statistics, temporary / RANKS_PLOT, title)


def _typical(mining: Mining) -> CurveExample:
    """Of the examples the one whose set is nearest the mean size, of those with two drops where there are any."""
    mean = mining.statistics["size"]["mean"]
    return min(mining.examples, key=lambda one: (one.start < 0, abs(len(one.negatives) - mean), one.query))


def _example_facts(example: CurveExample) -> dict[str, Any]:
    places = np.unique(
        np.linspace(0, len(example.negatives) - 1, min(KEPT, len(example.negatives))).round().astype(int)
    )
    return {
        "query": example.query,
        "corpus_size": len(example.scores),
        "target_rank": example.target_rank,
        "start": example.start,
        "end": example.end,
        "first": example.first,
        "last": example.last,
        "size": len(example.negatives),
        "negatives": example.negatives[places].tolist(),
    }


def _shared(group: Processes, mined: Mined | None) -> Mined:
    if group.world == 1:
        assert mined is not None
        return mined
    kind = next((name for name, (made, _) in _FIELDS.items() if mined and isinstance(mined.sets, made)), "")
    facts = group.share([kind, mined.statistics if mined else None])
    made, fields = _FIELDS[facts[0]]
    tensors = {name: torch.from_numpy(np.asarray(getattr(mined.sets, name))) for name in fields} if mined else None
    arrays = {name: tensor.numpy() for name, tensor in group.share_tensors(tensors).items()}
    return Mined(made(**arrays), facts[1])

"""From triplet numbers to a `Batch` on the device."""

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from qure.config import TrainingSettings
from qure.features.store import FeatureStore
from qure.models.text import longest_text
from qure.negatives.sampling import draw, shared_mask
from qure.negatives.schedule import mining_and_age
from qure.negatives.sets import NegativeSets
from qure.training.data import Integers, TrainingData
from qure.training.distributed import Processes
from qure.training.order import part_of
from qure.training.step import Batch

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class EpochNegatives:
    """The negatives of one epoch.

    Attributes:
        sets: hard negatives of every triplet; None for the contrastive loss, which needs none.
        drawn: (N, K) corpus columns, this epoch's draws.
    """

    sets: NegativeSets | None
    drawn: Integers


def epoch_negatives(sets: NegativeSets | None, settings: TrainingSettings, epoch: int, count: int) -> EpochNegatives:
    """Draws an epoch's negatives: a function of the sets, the seed and the epoch alone."""
    if sets is None:
        return EpochNegatives(None, np.zeros((count, 0), dtype=np.int64))
    mining, age = mining_and_age(epoch, settings.epochs, settings.negatives.definitions)
    per_query = settings.negatives.negatives_per_query
    return EpochNegatives(sets, draw(sets, seed=settings.seed, mining=mining, epoch=age, per_query=per_query))


@dataclass(frozen=True)
class BatchNumbers:
    """What a `Batch` is made of before its features are read: tensors on the CPU.

    Attributes:
        references: (b,) int64 feature rows of the reference images.
        candidates: ((1 + K) * b,) int64 feature rows of the targets, then of each round of negatives.
        input_ids, attention_mask, weights, rows, size, shared: as in `Batch`.
    """

    references: Tensor
    candidates: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    weights: Tensor
    rows: Tensor
    size: int
    shared: Tensor | None


def batch_numbers(
    rows: Integers,
    data: TrainingData,
    negatives: EpochNegatives,
    settings: TrainingSettings,
    group: Processes,
    *,
    length: int | None = None,
) -> BatchNumbers:
    """One process's share of the batch that holds the triplets `rows`, filled to `length` rows with weight 0.

    Texts end with the longest of the whole batch, so that dropout masks do not depend on who computes which row. With
    `length` every batch has the same shapes, padding included.
    """
    own, weights = part_of(rows, rank=group.rank, world=group.world, length=length)
    places, _ = part_of(np.arange(len(rows)), rank=group.rank, world=group.world, length=length)
    columns = _candidate_columns(own, data, negatives)
    tokens = data.input_ids.shape[1] if length is not None else longest_text(data.attention_mask[rows])
    shared = candidate_mask(rows, data, negatives, group, length=length) if settings.shares_candidates else None
    return BatchNumbers(
        references=torch.from_numpy(data.references[own]),
        candidates=torch.from_numpy(data.corpus[columns]),
        input_ids=data.input_ids[own, :tokens],
        attention_mask=data.attention_mask[own, :tokens],
        weights=torch.from_numpy(weights),
        rows=torch.from_numpy(places),
        size=len(rows) if length is None else length * group.world,
        shared=None if shared is None else torch.from_numpy(shared),
    )


def read_batch(numbers: BatchNumbers, features: FeatureStore, device: torch.device) -> Batch:
    """The batch with its features, on the device."""
    return Batch(
        references=features.read(numbers.references).to(device, non_blocking=True),
        input_ids=numbers.input_ids.to(device),
        attention_mask=numbers.attention_mask.to(device),
        candidates=features.read(numbers.candidates).to(device, non_blocking=True),
        weights=numbers.weights.to(device),
        rows=numbers.rows.to(device),
        size=numbers.size,
        shared=None if numbers.shared is None else numbers.shared.to(device),
    )


def candidate_mask(
    rows: Integers, data: TrainingData, negatives: EpochNegatives, group: Processes, *, length: int | None = None
) -> NDArray[np.bool_]:
    """Which candidates of the whole batch are negatives of which of this process's queries.

    Bradley-Terry: those in the query's set of hard negatives. Contrastive: every image that is no right answer. An
    image that the batch has encoded several times counts once, and always in the same encoding however many
    processes share the batch.

    Returns:
        (b, processes * (1 + K) * b) bool; candidates in the order of `Processes.gather`.
    """
    own, _ = part_of(rows, rank=group.rank, world=group.world, length=length)
    columns, place = [], []
    for rank in range(group.world):
        part, weights = part_of(rows, rank=rank, world=group.world, length=length)
        positions, _ = part_of(np.arange(len(rows)), rank=rank, world=group.world, length=length)
        candidates = _candidate_columns(part, data, negatives)
        rounds = np.arange(len(candidates)) // len(part)
        columns.append(candidates)
        # Where one process would have put this candidate; rows that only fill up come last and never count.
        filling = np.tile(weights == 0, len(candidates) // len(part))
        place.append(np.where(filling, np.iinfo(np.int64).max, rounds * len(rows) + np.tile(positions, rounds[-1] + 1)))
    joint = np.concatenate(columns)  # (processes * (1 + K) * b,) corpus columns
    images = data.corpus[joint]  # and their feature rows
    if negatives.sets is None:
        mask = images[None, :] != data.corpus[data.targets[own]][:, None]
        for also in data.also_right[own].T:
            mask &= (images[None, :] != data.corpus[also][:, None]) | (also[:, None] < 0)
    else:
        mask = shared_mask(negatives.sets, own, joint)
    return mask & _first_of_each(images, np.concatenate(place))[None, :]


def ahead(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """Maps `function` over `items` in a thread that stays one result ahead: reading overlaps computing.

    >>> list(ahead(lambda item: item + 1, [1, 2, 3]))
    [2, 3, 4]
    """
    source = iter(items)
    with ThreadPoolExecutor(max_workers=1, thread_name_prefix="read-ahead") as pool:
        waiting = [pool.submit(function, item) for item in islice(source, 2)]
        while waiting:
            result = waiting.pop(0).result()
            waiting += [pool.submit(function, item) for item in islice(source, 1)]
            yield result


def _candidate_columns(rows: Integers, data: TrainingData, negatives: EpochNegatives) -> Integers:
    """Corpus columns of the targets, then of each round of negatives."""
    return np.concatenate([data.targets[rows], negatives.drawn[rows].T.ravel()])


def _first_of_each(images: Integers, place: Integers) -> NDArray[np.bool_]:
    """Marks, of every image, the candidate with the lowest place."""
    order = np.argsort(place, kind="stable")
    _, first = np.unique(images[order], return_index=True)
    marked = np.zeros(len(images), dtype=bool)
    marked[order[first]] = True
    return marked

"""Draws of an epoch, what a batch holds, and reading ahead."""

import threading
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from qure.config import NegativeSettings, TrainingSettings
from qure.datasets.benchmarks import read_training
from qure.features.store import FeatureStore
from qure.models.text import CaptionTokenizer
from qure.training.batches import EpochNegatives, ahead, batch_numbers, candidate_mask, epoch_negatives, read_batch
from qure.training.data import TrainingData, training_data
from qure.training.distributed import Processes
from qure.training.mining import mine_categories, warm_up


@pytest.fixture(scope="module")
def store(world: Any) -> FeatureStore:
    return FeatureStore.open(world.root / "features" / "fashioniq")


@pytest.fixture(scope="module")
def data(world: Any, store: FeatureStore) -> TrainingData:
    root = world.root / "data"
    tokenizer = CaptionTokenizer.load(world.root / "backbone")
    return training_data(*read_training("fashioniq", root), store, tokenizer)


def test_warm_up_draws_from_the_own_category_without_repetition(data: TrainingData) -> None:
    settings = TrainingSettings(epochs=60, negatives={"definitions": 3})
    sets = warm_up(data).sets
    drawn = np.stack([epoch_negatives(sets, settings, epoch, len(data)).drawn[:, 0] for epoch in range(14)])
    for row in range(len(data)):
        corpus = data.corpus_of(int(data.categories[row]))
        others = set(range(corpus.start, corpus.stop)) - {int(data.targets[row])}
        assert set(drawn[:, row].tolist()) == others, "14 epochs use up the 14 other images of a category"


def test_draws_follow_seed_mining_and_age(data: TrainingData) -> None:
    sets = warm_up(data).sets

    def drawn(epoch: int, **changes: Any) -> bytes:
        settings = TrainingSettings.model_validate({"epochs": 6, "negatives": {"definitions": 3}, **changes})
        return epoch_negatives(sets, settings, epoch, len(data)).drawn.tobytes()

    assert drawn(0) == drawn(0)
    assert len({drawn(0), drawn(1), drawn(2), drawn(0, seed=1)}) == 4


def test_contrast_needs_no_negatives(data: TrainingData) -> None:
    negatives = epoch_negatives(None, TrainingSettings(loss="contrastive"), 0, len(data))
    assert negatives.sets is None
    assert negatives.drawn.shape == (len(data), 0)


def test_a_batch_holds_what_its_triplets_name(data: TrainingData, store: FeatureStore) -> None:
    settings = TrainingSettings(negatives={"negatives_per_query": 2})
    negatives = epoch_negatives(warm_up(data).sets, settings, 0, len(data))
    rows = np.array([30, 2, 17])
    alone = Processes(0, 1, torch.device("cpu"))
    batch = read_batch(batch_numbers(rows, data, negatives, settings, alone), store, alone.device)
    assert torch.equal(batch.references, store.read(data.references[rows]))
    assert torch.equal(batch.candidates[:3], store.read(data.corpus[data.targets[rows]]))
    assert torch.equal(batch.candidates[3:6], store.read(data.corpus[negatives.drawn[rows, 0]]))
    assert torch.equal(batch.candidates[6:], store.read(data.corpus[negatives.drawn[rows, 1]]))
    lengths = data.attention_mask[rows].sum(dim=1)
    assert batch.input_ids.shape[1] == batch.attention_mask.shape[1] == lengths.max() < data.input_ids.shape[1]
    for read, row, length in zip(batch.input_ids, rows, lengths.tolist(), strict=True):
        assert torch.equal(read[:length], data.input_ids[row, :length])
        assert not data.input_ids[row, length:].any(), "what was cut off is padding"
    assert batch.attention_mask.sum(dim=1).tolist() == lengths.tolist()
    assert (batch.size, batch.shared, batch.weights.tolist()) == (3, None, [1, 1, 1])


def test_processes_share_a_batch(data: TrainingData, store: FeatureStore) -> None:
    settings = TrainingSettings()
    negatives = epoch_negatives(warm_up(data).sets, settings, 0, len(data))
    rows = np.array([30, 2, 17])
    first, second = (
        read_batch(batch_numbers(rows, data, negatives, settings, group), store, group.device)
        for group in (Processes(rank, 2, torch.device("cpu")) for rank in (0, 1))
    )
    assert (first.rows.tolist(), second.rows.tolist()) == ([0, 1], [2, 2])
    assert (first.weights.tolist(), second.weights.tolist()) == ([1, 1], [1, 0])
    assert (first.size, second.size) == (3, 3)
    assert torch.equal(second.references[0], store.read(data.references[[17]])[0])
    longest = int(data.attention_mask[rows].sum(dim=1).max())
    assert first.input_ids.shape[1] == second.input_ids.shape[1] == longest, "the whole batch's, not one's own"


def test_an_image_that_a_batch_has_twice_counts_where_one_process_has_it_first(data: TrainingData) -> None:
    """Rows 0 to 2 of dresses, targets 0 to 2. Row 0 draws the target of row 2, the others draw one image, 5."""
    drawn = np.full((len(data), 1), 7, dtype=np.int64)
    drawn[:3, 0] = [2, 5, 5]
    assert data.targets[:3].tolist() == [0, 1, 2]
    negatives, rows = EpochNegatives(warm_up(data).sets, drawn), np.arange(3)

    def marked(rank: int, world: int) -> list[list[int]]:
        mask = candidate_mask(rows, data, negatives, Processes(rank, world, torch.device("cpu")))
        return [np.flatnonzero(line).tolist() for line in mask]

    # One process has encoded 0 1 2 | 2 5 5.
    assert marked(0, 1) == [[1, 2, 4], [0, 2, 4], [0, 1, 4]]
    # Of two, the first has 0 1 | 2 5 and the second, whose last row only fills up, 2 (2) | 5 (5): the second's own
    # target comes before what row 0 has drawn, and row 1's draw before row 2's.
    assert marked(0, 2) == [[1, 3, 4], [0, 3, 4]]
    assert marked(1, 2)[0] == [0, 1, 3]


def test_the_contrast_takes_the_first_of_equal_targets(data: TrainingData) -> None:
    nothing = EpochNegatives(None, np.zeros((len(data), 0), dtype=np.int64))
    mask = candidate_mask(np.array([5, 4, 4, 6]), data, nothing, Processes(0, 1, torch.device("cpu")))
    assert [np.flatnonzero(line).tolist() for line in mask] == [[1, 3], [0, 3], [0, 3], [0, 1]]


def test_reads_one_ahead_in_another_thread_and_in_order() -> None:
    begun: list[int] = []
    threads = set()

    def read(item: int) -> int:
        begun.append(item)
        threads.add(threading.current_thread().name)
        return item * 10

    results = ahead(read, range(5))
    assert next(results) == 0
    assert len(begun) <= 3
    assert list(results) == [10, 20, 30, 40]
    assert begun == [0, 1, 2, 3, 4]
    assert all(name.startswith("read-ahead") for name in threads)


def test_reading_ahead_passes_errors_on() -> None:
    def read(item: int) -> float:
        return 1 / item

    results = ahead(read, [1, 0, 1])
    assert next(results) == 1
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_further_right_answers_are_never_negatives(world: Any, store: FeatureStore) -> None:
    """In the warm-up, after a mining, among a batch's shared candidates, and with the contrastive loss."""
    root = world.root / "data"
    tokenizer = CaptionTokenizer.load(world.root / "backbone")
    triplets, corpora = read_training("fashioniq", root)
    marked = [
        replace(one, answers=(str(one.target), *[i for i in corpora[str(one.category)] if i != one.target][:5]))
        if number % 2
        else one
        for number, one in enumerate(triplets)
    ]
    data = training_data(marked, corpora, store, tokenizer)
    also = [set(row[row >= 0].tolist()) for row in data.also_right]
    assert [len(own) for own in also] == [5 * (number % 2) for number in range(len(marked))]
    sets = warm_up(data).sets
    settings = TrainingSettings(epochs=60, negatives={"definitions": 3})
    for epoch in range(20):
        drawn = epoch_negatives(sets, settings, epoch, len(data)).drawn[:, 0]
        assert not [row for row, column in enumerate(drawn.tolist()) if column in also[row]]
    random = torch.nn.functional.normalize(torch.randn(len(data.corpus), 2, 8), dim=-1)
    queries = torch.nn.functional.normalize(torch.randn(len(data), 8), dim=-1)
    for strategy in ("between_steep_drops", "all_corpus"):
        rule = NegativeSettings.model_validate({"strategy": strategy})
        mined = mine_categories(queries, random, data, rule, torch.device("cpu")).hard
        assert not [row for row in range(len(data)) if also[row] & set(mined.of(row).tolist())]
    alone = Processes(0, 1, torch.device("cpu"))
    rows = np.arange(len(data))
    negatives = EpochNegatives(None, np.zeros((len(data), 0), dtype=np.int64))
    mask = candidate_mask(rows, data, negatives, alone)
    for row, columns in enumerate(also):
        images = {int(data.corpus[column]) for column in columns}
        assert not [place for place in np.flatnonzero(mask[row]) if int(data.corpus[data.targets[place]]) in images]

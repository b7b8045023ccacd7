"""Draws of an epoch, what a batch holds, and reading ahead."""

import threading
from typing import Any

import numpy as np
import pytest
import torch

from qure.config import TrainingSettings
from qure.datasets.benchmarks import training_corpus, training_triplets
from qure.features.store import FeatureStore
from qure.models.text import CaptionTokenizer
from qure.training.batches import ahead, epoch_negatives, make_batch
from qure.training.data import TrainingData, training_data
from qure.training.distributed import Processes
from qure.training.mining import warm_up


@pytest.fixture(scope="module")
def store(world: Any) -> FeatureStore:
    return FeatureStore.open(world.root / "features" / "fashioniq")


@pytest.fixture(scope="module")
def data(world: Any, store: FeatureStore) -> TrainingData:
    root = world.root / "data"
    tokenizer = CaptionTokenizer.load(world.root / "backbone")
    return training_data(training_triplets("fashioniq", root), training_corpus("fashioniq", root), store, tokenizer)


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
    batch = make_batch(rows, data, store, negatives, settings, Processes(0, 1, torch.device("cpu")))
    assert torch.equal(batch.references, store.read(data.references[rows]))
    assert torch.equal(batch.candidates[:3], store.read(data.corpus[data.targets[rows]]))
    assert torch.equal(batch.candidates[3:6], store.read(data.corpus[negatives.drawn[rows, 0]]))
    assert torch.equal(batch.candidates[6:], store.read(data.corpus[negatives.drawn[rows, 1]]))
    assert torch.equal(batch.input_ids, data.input_ids[rows])
    assert (batch.size, batch.shared, batch.weights.tolist()) == (3, None, [1, 1, 1])


def test_processes_share_a_batch(data: TrainingData, store: FeatureStore) -> None:
    settings = TrainingSettings()
    negatives = epoch_negatives(warm_up(data).sets, settings, 0, len(data))
    rows = np.array([30, 2, 17])
    first, second = (
        make_batch(rows, data, store, negatives, settings, Processes(rank, 2, torch.device("cpu"))) for rank in (0, 1)
    )
    assert (first.rows.tolist(), second.rows.tolist()) == ([0, 1], [2, 2])
    assert (first.weights.tolist(), second.weights.tolist()) == ([1, 1], [1, 0])
    assert (first.size, second.size) == (3, 3)
    assert torch.equal(second.references[0], store.read(data.references[[17]])[0])


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

"""Embeddings of queries and corpus in blocks, and recall of held-out queries."""

from typing import Any

import pytest
import torch

from qure.datasets.benchmarks import read_training
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.models.relevance import relevance
from qure.training import encoding
from qure.training.data import TrainingData, training_data
from qure.training.distributed import Processes
from qure.training.encoding import TrainingEncoder, evaluating, recall

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def store(world: Any) -> FeatureStore:
    return FeatureStore.open(world.root / "features" / "fashioniq")


@pytest.fixture(scope="module")
def model(world: Any) -> QureModel:
    return QureModel.load(world.root / "backbone", vision=False)


@pytest.fixture(scope="module")
def data(world: Any, store: FeatureStore, model: QureModel) -> TrainingData:
    root = world.root / "data"
    assert model.tokenizer is not None
    return training_data(*read_training("fashioniq", root), store, model.tokenizer)


@pytest.fixture
def encoder(model: QureModel, store: FeatureStore) -> TrainingEncoder:
    return TrainingEncoder(model, store, PrecisionPolicy.of("fp32", CPU), Processes(0, 1, CPU))


def test_blocks_are_put_together(
    encoder: TrainingEncoder, model: QureModel, store: FeatureStore, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "BLOCK", 7)
    with evaluating(model):
        corpus, queries = encoder.corpus(data), encoder.queries(data)
        assert torch.allclose(corpus, model.encode_images(store.read(data.corpus)), atol=1e-6)
        expected = model.encode_queries(store.read(data.references), data.input_ids, data.attention_mask)
    assert torch.allclose(queries, expected, atol=1e-6)
    assert corpus.dtype == queries.dtype == torch.float32
    assert not corpus.requires_grad


def test_processes_share_the_blocks_and_one_shows_how_far_they_are(
    model: QureModel, store: FeatureStore, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "BLOCK", 7)
    shown: list[tuple[int, str]] = []
    monkeypatch.setattr(encoding, "track", lambda blocks, title: shown.append((len(blocks), title)) or blocks)
    monkeypatch.setattr(Processes, "sum", lambda group, tensor: tensor)
    policy = PrecisionPolicy.of("fp32", CPU)
    with evaluating(model):
        parts = [TrainingEncoder(model, store, policy, Processes(rank, 2, CPU)).queries(data) for rank in (0, 1)]
        whole = TrainingEncoder(model, store, policy, Processes(0, 1, CPU)).queries(data)
    assert torch.equal(parts[0] + parts[1], whole)
    for rank, part in enumerate(parts):
        blocks = [bool(part[start : start + 7].any()) for start in range(0, len(data), 7)]
        assert blocks == [number % 2 == rank for number in range(7)], "45 triplets are seven blocks"
    assert shown == [(4, "encode queries"), (7, "encode queries")]


def test_the_joint_corpus_by_its_ids(encoder: TrainingEncoder, store: FeatureStore, data: TrainingData) -> None:
    images = encoder.images(data)
    assert images == [f"{name}{number:02d}" for name in data.names for number in range(15)]
    assert store.rows(images).tolist() == data.corpus.tolist()


def test_evaluating_is_without_dropout_and_goes_back_to_training(
    encoder: TrainingEncoder, model: QureModel, data: TrainingData
) -> None:
    model.train()
    with evaluating(model):
        assert not model.training
        assert torch.equal(encoder.queries(data), encoder.queries(data))
    assert model.training
    with pytest.raises(RuntimeError), evaluating(model):
        raise RuntimeError
    assert model.training
    model.eval()


def test_recall_counts_targets_near_the_top_of_their_category(
    encoder: TrainingEncoder, model: QureModel, data: TrainingData
) -> None:
    with evaluating(model):
        measured = {rank: recall(encoder, data, rank) for rank in (1, 9, 10, 11, 15)}
        assert recall(encoder, data) == measured[10], "it is reported as recall at 10"
        scores = relevance(encoder.queries(data), encoder.corpus(data))
    found = 0
    for query in range(len(data)):
        corpus = data.corpus_of(int(data.categories[query]))
        target = scores[query, data.targets[query]]
        found += int((scores[query, corpus] >= target).sum() <= 10)
    assert measured[10] == found / len(data)
    assert measured[1] < measured[9] < measured[10] < measured[11] < measured[15] == 1.0


def test_ties_count_against_the_target(
    encoder: TrainingEncoder, model: QureModel, data: TrainingData, monkeypatch: pytest.MonkeyPatch
) -> None:
    with evaluating(model):
        corpus = encoder.corpus(data)
        monkeypatch.setattr(encoder, "corpus", lambda data: corpus[:1].expand_as(corpus))
        assert recall(encoder, data, 10) == 0.0

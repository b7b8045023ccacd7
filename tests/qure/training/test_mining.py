"""Mining inside a training: per category over the joint corpus, kept on disk and read back."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qure.config import TrainingSettings
from qure.datasets.benchmarks import read_training
from qure.errors import BadInput
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.negatives.mining import mine
from qure.training.data import TrainingData, training_data
from qure.training.distributed import Processes
from qure.training.encoding import TrainingEncoder, evaluating
from qure.training.mining import Mined, mine_all, mining_digest, read_mining, warm_up

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)
SETTINGS = TrainingSettings(negatives={"search_window": 12})


@pytest.fixture(scope="module")
def model(world: Any) -> QureModel:
    return QureModel.load(world.root / "backbone", vision=False)


@pytest.fixture(scope="module")
def encoder(world: Any, model: QureModel) -> TrainingEncoder:
    store = FeatureStore.open(world.root / "features" / "fashioniq")
    return TrainingEncoder(model, store, PrecisionPolicy.of("fp32", CPU), ALONE)


@pytest.fixture(scope="module")
def data(world: Any, model: QureModel) -> TrainingData:
    root = world.root / "data"
    store = FeatureStore.open(world.root / "features" / "fashioniq")
    assert model.tokenizer is not None
    whole = training_data(*read_training("fashioniq", root), store, model.tokenizer)
    # Queries of mixed categories, so that the sets' rows are not simply one category after the other.
    mixed = np.zeros(len(whole), dtype=bool)
    mixed[[0, 3, 5, 16, 20, 31, 44]] = True
    return whole.take(mixed)


@pytest.fixture(scope="module")
def mined(
    data: TrainingData, model: QureModel, encoder: TrainingEncoder, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Mined, Path]:
    folder = tmp_path_factory.mktemp("run") / "minings" / "0002"
    with evaluating(model):
        return mine_all(encoder, data, SETTINGS, ALONE, folder, "before epoch 3"), folder


def test_sets_are_those_of_each_category_alone(
    mined: tuple[Mined, Path], data: TrainingData, model: QureModel, encoder: TrainingEncoder
) -> None:
    with evaluating(model):
        queries, candidates = encoder.queries(data), encoder.corpus(data)
    for category in range(3):
        rows = np.flatnonzero(data.categories == category)
        corpus = data.corpus_of(category)
        alone = mine(queries[rows], candidates[corpus], data.targets[rows] - corpus.start, SETTINGS.negatives)
        for place, row in enumerate(rows):
            assert mined[0].sets.of(int(row)).tolist() == (alone.hard.of(place) + corpus.start).tolist()


def test_no_set_holds_the_target_or_another_category(mined: tuple[Mined, Path], data: TrainingData) -> None:
    for row in range(len(data)):
        corpus = data.corpus_of(int(data.categories[row]))
        negatives = mined[0].sets.of(row)
        assert len(negatives)
        assert data.targets[row] not in negatives
        assert corpus.start <= negatives.min()
        assert negatives.max() < corpus.stop


def test_what_was_mined_is_kept_and_read_back(mined: tuple[Mined, Path]) -> None:
    found, folder = mined
    assert {path.name for path in folder.iterdir()} == {
        "negatives.safetensors",
        "record.safetensors",
        "statistics.json",
        "example.json",
        "example.png",
        "scores.png",
        "ranks.png",
    }
    again = read_mining(ALONE, folder, mining_digest(folder))
    assert again.statistics == found.statistics == json.loads((folder / "statistics.json").read_text())
    assert [again.sets.of(row).tolist() for row in range(7)] == [found.sets.of(row).tolist() for row in range(7)]


def test_another_mining_than_the_checkpoints_is_refused(mined: tuple[Mined, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="damaged"):
        read_mining(ALONE, mined[1], "0" * 64)
    with pytest.raises(BadInput, match="damaged"):
        read_mining(ALONE, tmp_path / "minings" / "0001", "0" * 64)


def test_warm_up_is_the_whole_category_but_the_target(data: TrainingData) -> None:
    start = warm_up(data)
    assert start.statistics is None
    for row in range(len(data)):
        corpus = data.corpus_of(int(data.categories[row]))
        assert start.sets.of(row).tolist() == [
            column for column in range(corpus.start, corpus.stop) if column != data.targets[row]
        ]


def test_a_category_without_queries_is_passed_over(
    data: TrainingData, model: QureModel, encoder: TrainingEncoder, tmp_path: Path
) -> None:
    part = data.take(data.categories != 1)
    with evaluating(model):
        found = mine_all(encoder, part, SETTINGS, ALONE, tmp_path / "minings" / "0000", "")
    assert len(found.sets) == len(part)

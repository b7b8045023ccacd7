"""Mining inside a training: per category over the joint corpus, kept on disk and read back."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from qure.config import NegativeSettings, TrainingSettings
from qure.datasets.benchmarks import read_training
from qure.errors import BadInput
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.negatives.mining import CurveExample, mine
from qure.negatives.sets import HardNegatives, WholeCorpus
from qure.training import mining
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
def whole(world: Any, model: QureModel) -> TrainingData:
    root = world.root / "data"
    store = FeatureStore.open(world.root / "features" / "fashioniq")
    assert model.tokenizer is not None
    return training_data(*read_training("fashioniq", root), store, model.tokenizer)


@pytest.fixture(scope="module")
def data(whole: TrainingData) -> TrainingData:
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


def example(query: int, negatives: list[int], *, start: int = 2, end: int = 9) -> CurveExample:
    scores = np.linspace(1, 0, 40, dtype=np.float32)
    return CurveExample(query, scores, 1, start, end, 3, 12, np.array(negatives, dtype=np.int64))


@pytest.mark.parametrize(
    ("negatives", "kept"),
    [
        ([7], [7]),
        ([1, 2, 3], [1, 2, 3]),
        (list(range(8)), list(range(8))),
        (list(range(100, 115)), [100, 102, 104, 106, 108, 110, 112, 114]),
        (list(range(36)), [0, 5, 10, 15, 20, 25, 30, 35]),
    ],
)
def test_of_the_typical_query_eight_negatives_are_kept_from_end_to_end(negatives: list[int], kept: list[int]) -> None:
    facts = mining._example_facts(example(4, negatives))
    assert facts == {
        "query": 4,
        "corpus_size": 40,
        "target_rank": 1,
        "start": 2,
        "end": 9,
        "first": 3,
        "last": 12,
        "size": len(negatives),
        "negatives": kept,
    }
    assert json.loads(json.dumps(facts)) == facts


def test_the_typical_query_has_drops_and_a_set_of_about_the_mean_size() -> None:
    def typical(*examples: CurveExample) -> int:
        return mining._typical(SimpleNamespace(examples=examples, statistics={"size": {"mean": 4.0}})).query  # type: ignore[arg-type]

    small, near, large = example(0, [1]), example(1, [1, 2, 3]), example(2, list(range(9)))
    assert typical(small, near, large) == 1
    assert typical(large, near, small) == 1
    fallen = example(3, [1, 2, 3, 4], start=-1, end=-1)
    assert typical(small, fallen) == 0, "one with two drops, however far"
    assert typical(fallen) == 3
    assert typical(example(0, [1], start=0), fallen) == 0, "a drop behind the very first image is one"
    assert typical(example(9, [1, 2, 3]), near) == 1, "of equals the first query"


class Told:
    """A process of several: what the main one shares, the others are told."""

    world = 2

    def __init__(self, line: list[Any], *, main: bool) -> None:
        self.line, self.main = line, main

    def share(self, value: Any) -> Any:
        if self.main:
            self.line.append(json.dumps(value))
            return json.loads(self.line[-1])
        return json.loads(self.line.pop(0))

    def share_tensors(self, tensors: dict[str, torch.Tensor] | None) -> dict[str, torch.Tensor]:
        if self.main:
            assert tensors is not None
            self.line.append({name: one.clone() for name, one in tensors.items()})
            return dict(self.line[-1])
        assert tensors is None
        return dict(self.line.pop(0))


def test_every_process_has_the_sets_that_the_main_one_found() -> None:
    for found in (
        Mined(HardNegatives([0, 2, 5], [3, 7, 0, 1, 9]), {"size": {"mean": 2.5}}),
        Mined(WholeCorpus([0, 4], [4, 9], [1, 8], [[2, -1], [5, 6]]), None),
    ):
        line: list[Any] = []
        main: Any = Told(line, main=True)
        other: Any = Told(line, main=False)
        for told in (mining._shared(main, found), mining._shared(other, None)):
            assert type(told.sets) is type(found.sets)
            assert [told.sets.of(row).tolist() for row in (0, 1)] == [found.sets.of(row).tolist() for row in (0, 1)]
            assert told.statistics == found.statistics
        assert line == []


def test_what_else_is_right_is_in_no_set(data: TrainingData, model: QureModel, encoder: TrainingEncoder) -> None:
    also = np.full((len(data), 2), -1, dtype=np.int64)
    for row in (1, 4, 6):
        corpus = data.corpus_of(int(data.categories[row]))
        also[row, 0] = next(column for column in range(corpus.start, corpus.stop) if column != data.targets[row])
    several = replace(data, also_right=also)
    settings = NegativeSettings(strategy="all_corpus")
    with evaluating(model):
        queries, candidates = encoder.queries(data), encoder.corpus(data)
    found = mining.mine_categories(queries, candidates, several, settings, CPU)
    for row in range(len(data)):
        corpus = data.corpus_of(int(data.categories[row]))
        right = {int(data.targets[row]), *also[row].tolist()}
        assert found.hard.of(row).tolist() == [one for one in range(corpus.start, corpus.stop) if one not in right]
    assert found.record is None
    assert len(found.examples) == 7


def test_of_every_category_a_few_queries_are_drawn(whole: TrainingData) -> None:
    draw = torch.Generator().manual_seed(0)
    queries = torch.nn.functional.normalize(torch.randn(len(whole), 8, generator=draw), dim=-1)
    candidates = torch.nn.functional.normalize(torch.randn(len(whole.corpus), 2, 8, generator=draw), dim=-1)
    found = mining.mine_categories(queries, candidates, whole, SETTINGS.negatives, CPU, recorded=True)
    assert np.bincount(whole.categories).tolist() == [15, 15, 15]
    assert len(found.examples) == 3 * 4
    assert found.record is not None
    assert len(found.record.size) == 45

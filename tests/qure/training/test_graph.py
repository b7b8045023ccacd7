"""Steps from buffers that never move: the same losses and weights as plain steps. Capturing itself needs a GPU."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from qure.config import TrainingSettings
from qure.datasets.benchmarks import read_training
from qure.errors import BadInput
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.training.batches import batch_numbers, epoch_negatives
from qure.training.checkpoint import Checkpoints, Identity
from qure.training.data import TrainingData, training_data
from qure.training.distributed import Processes
from qure.training.graph import GraphStep, uses_graph
from qure.training.loop import Trainer
from qure.training.mining import warm_up

CPU, GPU = torch.device("cpu"), torch.device("cuda")
ALONE = Processes(0, 1, CPU)


@pytest.fixture(scope="module")
def store(world: Any) -> FeatureStore:
    return FeatureStore.open(world.root / "features" / "fashioniq").hold("memory")


def data_of(world: Any, store: FeatureStore, model: QureModel) -> TrainingData:
    root = world.root / "data"
    assert model.tokenizer is not None
    return training_data(*read_training("fashioniq", root), store, model.tokenizer)


@pytest.mark.parametrize(
    ("changes", "gathered"),
    [
        ({}, False),
        ({}, True),
        ({"accumulation_steps": 3}, False),
        ({"negatives": {"shared_negatives": True, "negatives_per_query": 2, "definitions": 1}}, False),
        ({"loss": "contrastive", "gradient_clipping": 0.1}, False),
    ],
)
def test_steps_from_fixed_buffers_are_plain_steps(
    changes: dict[str, Any],
    gathered: bool,
    world: Any,
    store: FeatureStore,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """45 triplets in batches of 8: the last one is short. Dropout is torch's own, from one seed a step.

    Gathered: features lie in a table, as on a GPU that has room for them, and a step is told their rows alone.
    """
    if gathered:
        monkeypatch.setattr(FeatureStore, "table", property(lambda features: features._held))
    found = []
    for fixed in (False, True):
        model = QureModel.load(world.root / "backbone", vision=False)
        settings = TrainingSettings.model_validate(
            {"epochs": 2, "batch_size": 8, "learning_rate": 1e-2, "precision": "fp32", "negatives": {"definitions": 1}}
            | changes
        )
        trainer = Trainer(
            model=model,
            data=data_of(world, store, model),
            held_out=None,
            features=store,
            settings=settings,
            group=ALONE,
            checkpoints=Checkpoints(tmp_path / str(fixed), Identity("settings", "inputs")),
            plots=False,
            batch_dropout=False,
        )
        if fixed:
            trainer._graph = GraphStep(trainer._optimise, store, CPU)
        learner = trainer.run()
        found.append((learner.state.losses, learner.weights()))
    assert len(found[0][0]) == 12
    assert found[0][0] == found[1][0]
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_rows_that_fill_a_batch_count_nothing(world: Any, store: FeatureStore) -> None:
    model = QureModel.load(world.root / "backbone", vision=False)
    data = data_of(world, store, model)
    settings = TrainingSettings(negatives={"shared_negatives": True})
    negatives = epoch_negatives(warm_up(data).sets, settings, 0, len(data))
    rows = np.array([0, 1, 2])
    plain = batch_numbers(rows, data, negatives, settings, ALONE)
    filled = batch_numbers(rows, data, negatives, settings, ALONE, length=5)
    assert filled.weights.tolist() == [1, 1, 1, 0, 0]
    assert filled.references.tolist() == [*plain.references.tolist(), *[plain.references[2].item()] * 2]
    assert plain.shared is not None
    assert filled.shared is not None
    targets_and_negatives = [*range(3), *range(5, 8)]
    assert torch.equal(filled.shared[:3][:, targets_and_negatives], plain.shared)
    others = sorted(set(range(10)) - set(targets_and_negatives))
    assert not filled.shared[:, others].any(), "no candidate of a filling row is compared with anything"


def test_a_batch_of_another_length_is_refused(world: Any, store: FeatureStore) -> None:
    model = QureModel.load(world.root / "backbone", vision=False)
    data = data_of(world, store, model)
    settings = TrainingSettings()
    negatives = epoch_negatives(warm_up(data).sets, settings, 0, len(data))
    step = GraphStep(lambda parts, share: torch.zeros(3), store, CPU)
    step(step.prepare([batch_numbers(np.arange(4), data, negatives, settings, ALONE)]), 0.25)
    with pytest.raises(ValueError, match=r"references is \(3, .*captured step's \(4, "):
        step(step.prepare([batch_numbers(np.arange(3), data, negatives, settings, ALONE)]), 1 / 3)


@pytest.mark.parametrize(
    ("changes", "group", "expected"),
    [
        ({}, Processes(0, 1, GPU), True),
        ({"engine": "graph"}, Processes(0, 1, GPU), True),
        ({"engine": "eager"}, Processes(0, 1, GPU), False),
        ({"gradient_checkpointing": True}, Processes(0, 1, GPU), False),
        ({}, Processes(0, 2, GPU), False),
        ({}, ALONE, False),
    ],
)
def test_one_process_on_a_gpu_has_a_graph(changes: dict[str, Any], group: Processes, expected: bool) -> None:
    assert uses_graph(TrainingSettings.model_validate(changes), group) is expected


@pytest.mark.parametrize("group", [ALONE, Processes(1, 2, GPU)])
def test_insisting_on_a_graph_where_there_can_be_none(group: Processes) -> None:
    with pytest.raises(BadInput, match="'graph' needs one process on a CUDA GPU"):
        uses_graph(TrainingSettings(engine="graph"), group)
    with pytest.raises(ValidationError, match="graph cannot recompute layers"):
        TrainingSettings(engine="graph", gradient_checkpointing=True)


def test_the_engine_is_no_part_of_what_a_run_is(world: Any) -> None:
    from qure.training.stage import _identity

    plain, eager = TrainingSettings(), TrainingSettings(engine="eager")
    assert _identity(plain, {}) == _identity(eager, {})

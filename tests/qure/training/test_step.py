"""A step's loss against the plain definition, and gradients that do not depend on how a batch is cut."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from qure.config import TrainingSettings
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.training.batches import (
    EpochNegatives,
    batch_numbers,
    candidate_mask,
    epoch_negatives,
    read_batch,
)
from qure.training.data import TrainingData, training_data
from qure.training.distributed import Processes
from qure.training.losses import bradley_terry
from qure.training.mining import warm_up
from qure.training.step import Batch, TripletLoss

CPU = torch.device("cpu")
ALONE = Processes(0, 1, CPU)


@pytest.fixture(scope="module")
def store(world: Any) -> FeatureStore:
    return FeatureStore.open(world.root / "features" / "fashioniq").hold("memory")


@pytest.fixture
def model(world: Any) -> QureModel:
    return QureModel.load(world.root / "backbone", vision=False)


@pytest.fixture(scope="module")
def data(world: Any, store: FeatureStore) -> TrainingData:
    from qure.datasets.benchmarks import read_training

    tokenizer = QureModel.load(world.root / "backbone", vision=False).tokenizer
    assert tokenizer is not None
    return training_data(*read_training("fashioniq", world.root / "data"), store, tokenizer)


def recipe(**changes: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({"precision": "fp32", "epochs": 6, **changes})


def negatives_of(data: TrainingData, settings: TrainingSettings) -> EpochNegatives:
    sets = None if settings.loss == "contrastive" else warm_up(data).sets
    return epoch_negatives(sets, settings, 0, len(data))


def batch_of(
    rows: list[int], data: TrainingData, store: FeatureStore, settings: TrainingSettings, group: Processes = ALONE
) -> Batch:
    numbers = batch_numbers(np.array(rows), data, negatives_of(data, settings), settings, group)
    return read_batch(numbers, store, group.device)


def module(model: QureModel, settings: TrainingSettings, group: Processes = ALONE) -> TripletLoss:
    return TripletLoss(model, settings, PrecisionPolicy.of(settings.precision, CPU), group)


#: Every way in which a query's negatives come together.
OBJECTIVES: dict[str, dict[str, Any]] = {
    "published": {},
    "several own, mean": {"negatives": {"negatives_per_query": 3}},
    "several own, softmax": {"several_negatives": "softmax", "negatives": {"negatives_per_query": 3}},
    "shared, mean": {"negatives": {"shared_negatives": True}},
    "shared, softmax": {"several_negatives": "softmax", "negatives": {"shared_negatives": True}},
    "shared and several": {"negatives": {"shared_negatives": True, "negatives_per_query": 2}},
    "contrastive": {"loss": "contrastive"},
    "contrastive, softmax": {"loss": "contrastive", "several_negatives": "softmax"},
}

#: Of one category but for the last. Rows 0 and 3 draw the targets of 7 and 2, and 7 is there twice.
ROWS = [0, 3, 7, 2, 7, 20]


@pytest.mark.parametrize("drops", [False, True])
@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_step_is_what_plain_loops_compute(
    name: str, drops: bool, model: QureModel, data: TrainingData, store: FeatureStore, plain_step: Callable[..., Any]
) -> None:
    settings = recipe(**OBJECTIVES[name])
    negatives = negatives_of(data, settings)
    expected = plain_step(model.train(drops), data, store, negatives, settings, ROWS, seed=4 if drops else None)
    torch.manual_seed(4)
    outcome = module(model, settings)(batch_of(ROWS, data, store, settings))
    assert outcome.loss.item() == pytest.approx(sum(expected.losses), rel=1e-5)
    assert outcome.counts.tolist() == [pytest.approx(outcome.loss.item()), expected.won, expected.pairs]
    assert outcome.loss.requires_grad
    assert not outcome.counts.requires_grad


@pytest.mark.parametrize("name", OBJECTIVES)
def test_rows_that_fill_a_batch_add_no_loss_and_no_pair(
    name: str, model: QureModel, data: TrainingData, store: FeatureStore, plain_step: Callable[..., Any]
) -> None:
    settings = recipe(**OBJECTIVES[name])
    negatives = negatives_of(data, settings)
    expected = plain_step(model.eval(), data, store, negatives, settings, ROWS)
    numbers = batch_numbers(np.array(ROWS), data, negatives, settings, ALONE, length=9)
    outcome = module(model, settings)(read_batch(numbers, store, CPU))
    assert outcome.counts.tolist() == [pytest.approx(sum(expected.losses), rel=1e-5), expected.won, expected.pairs]


@pytest.mark.parametrize("world_size", [2, 3])
def test_processes_drop_what_one_process_drops(
    world_size: int, model: QureModel, data: TrainingData, store: FeatureStore
) -> None:
    settings = recipe(**OBJECTIVES["several own, mean"])
    rows = ROWS[:5]
    torch.manual_seed(7)
    whole = module(model.train(), settings)(batch_of(rows, data, store, settings)).counts
    parts = []
    for rank in range(world_size):
        group = Processes(rank, world_size, CPU)
        torch.manual_seed(7)
        parts.append(module(model, settings, group)(batch_of(rows, data, store, settings, group)).counts)
    assert torch.stack(parts).sum(dim=0).tolist() == pytest.approx(whole.tolist(), rel=1e-5)
    torch.manual_seed(8)
    other = module(model, settings)(batch_of(rows, data, store, settings)).counts
    assert other[0].item() != pytest.approx(whole[0].item(), rel=1e-3), "another seed drops other units"


def test_torchs_own_dropout_is_torchs(model: QureModel, data: TrainingData, store: FeatureStore) -> None:
    settings = recipe()
    policy = PrecisionPolicy.of(settings.precision, CPU)
    loss = TripletLoss(model.train(), settings, policy, ALONE, own_dropout=True)
    batch = batch_of(ROWS, data, store, settings)
    torch.manual_seed(3)
    found = loss(batch).loss
    torch.manual_seed(3)
    queries = model.encode_queries(batch.references, batch.input_ids, batch.attention_mask)
    targets, others = model.encode_images(batch.candidates).split(len(ROWS))
    positive, negative = ((queries[:, None] * one).sum(-1).amax(1) / model.temperature for one in (targets, others))
    assert found.item() == pytest.approx(bradley_terry(positive, negative[:, None]).sum().item(), rel=1e-6)


def test_only_the_image_tower_and_the_matching_head_stay_as_they_are(
    model: QureModel, data: TrainingData, store: FeatureStore
) -> None:
    settings = recipe()
    module(model, settings)(batch_of([0, 1, 2, 3], data, store, settings)).loss.backward()
    without = {name for name, one in model.named_parameters() if one.grad is None}
    assert without == {"itm_head.weight", "itm_head.bias"}


@pytest.mark.parametrize("changes", [{}, {"negatives": {"negatives_per_query": 3}}, {"several_negatives": "softmax"}])
def test_parts_of_a_batch_add_up(
    changes: dict[str, Any], model: QureModel, data: TrainingData, store: FeatureStore
) -> None:
    settings = recipe(**changes)
    loss = module(model.eval().double(), settings)
    rows = [1, 9, 17, 25, 33]
    gradients = []
    for parts in ([rows], [rows[:2], rows[2:]]):
        model.zero_grad()
        torch.stack([loss(batch_of(part, data, store, settings)).loss for part in parts]).sum().backward()
        gradients.append(torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None]))
    assert torch.allclose(gradients[0], gradients[1], rtol=1e-9, atol=1e-12)


def test_shared_negatives_are_every_candidate_in_the_querys_set_once(data: TrainingData) -> None:
    settings = recipe(negatives={"shared_negatives": True, "negatives_per_query": 2})
    negatives = epoch_negatives(warm_up(data).sets, settings, 0, len(data))
    rows = np.array([0, 1, 2, 3])
    mask = candidate_mask(rows, data, negatives, ALONE)
    candidates = np.concatenate([data.targets[rows], negatives.drawn[rows].T.ravel()])
    for query, row in enumerate(rows):
        counted = candidates[mask[query]]
        assert len(counted) == len(set(counted))
        assert set(counted) == set(candidates) - {data.targets[row]}


def test_contrast_leaves_out_other_queries_with_the_same_target(data: TrainingData) -> None:
    same = EpochNegatives(None, np.zeros((len(data), 0), dtype=np.int64))
    twice = np.array([4, 4, 5])
    mask = candidate_mask(twice, data, same, ALONE)
    assert mask.tolist() == [[False, False, True], [False, False, True], [True, False, False]]


@pytest.mark.parametrize(
    "changes",
    [
        {"loss": "contrastive"},
        {"negatives": {"shared_negatives": True}},
        {"negatives": {"shared_negatives": True, "negatives_per_query": 2}, "several_negatives": "softmax"},
    ],
)
@pytest.mark.parametrize("rows", [[0, 1, 2, 3], [0, 1, 2, 3, 4], [7]])
def test_masks_are_the_same_however_many_processes_share_a_batch(
    rows: list[int], changes: dict[str, Any], data: TrainingData
) -> None:
    settings = recipe(**changes)
    sets = None if settings.loss == "contrastive" else warm_up(data).sets
    negatives = epoch_negatives(sets, settings, 0, len(data))
    whole = _named(candidate_mask(np.array(rows), data, negatives, ALONE), rows, data, negatives, ALONE)
    for world in (2, 3):
        parts: dict[tuple[int, int, int], bool] = {}
        for rank in range(world):
            group = Processes(rank, world, CPU)
            mask = candidate_mask(np.array(rows), data, negatives, group)
            parts |= _named(mask, rows, data, negatives, group)
        assert {key for key, value in parts.items() if value} == {key for key, value in whole.items() if value}


def _named(
    mask: np.ndarray, rows: list[int], data: TrainingData, negatives: EpochNegatives, group: Processes
) -> dict[tuple[int, int, int], bool]:
    """(query row, row that brought the candidate, round) -> whether it counts; filling rows left out."""
    from qure.training.order import part_of

    rounds = 1 + negatives.drawn.shape[1]
    bringers: list[tuple[int, int] | None] = []
    for rank in range(group.world):
        part, weights = part_of(np.array(rows), rank=rank, world=group.world)
        bringers += [
            (int(row), number) if weight else None
            for number in range(rounds)
            for row, weight in zip(part, weights, strict=True)
        ]
    own, weights = part_of(np.array(rows), rank=group.rank, world=group.world)
    named = {}
    for query, (row, weight) in enumerate(zip(own, weights, strict=True)):
        for column, bringer in enumerate(bringers):
            if weight and bringer is not None:
                named[int(row), *bringer] = bool(mask[query, column])
            elif weight:
                assert not mask[query, column]
    return named


def test_recomputing_layers_changes_nothing_but_rounding(
    model: QureModel, data: TrainingData, store: FeatureStore
) -> None:
    gradients = []
    for recompute in (False, True):
        settings = recipe(gradient_checkpointing=recompute)
        loss = module(model.train(), settings)
        model.zero_grad()
        torch.manual_seed(0)
        loss(batch_of([0, 1, 2, 3], data, store, settings)).loss.backward()
        gradients.append(torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None]))
        assert model.qformer.is_gradient_checkpointing == recompute
    kept, recomputed = gradients
    assert (kept - recomputed).norm() <= 1e-6 * kept.norm()


def test_half_precision_encodes_but_scores_in_fp32(model: QureModel, data: TrainingData, store: FeatureStore) -> None:
    full, half = recipe(), recipe(precision="bf16")
    losses = [
        module(model.eval(), settings)(batch_of([0, 1, 2], data, store, settings)).loss for settings in (full, half)
    ]
    assert losses[1].dtype == torch.float32
    assert losses[0].item() != losses[1].item()
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.2)

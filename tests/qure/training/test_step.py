"""A step's loss against the plain definition, and gradients that do not depend on how a batch is cut."""

from typing import Any

import numpy as np
import pytest
import torch

from qure.config import TrainingSettings
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.training.batches import EpochNegatives, candidate_mask, epoch_negatives, make_batch
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
    from qure.datasets.benchmarks import training_corpus, training_triplets

    tokenizer = QureModel.load(world.root / "backbone", vision=False).tokenizer
    assert tokenizer is not None
    triplets = training_triplets("fashioniq", world.root / "data")
    return training_data(triplets, training_corpus("fashioniq", world.root / "data"), store, tokenizer)


def recipe(**changes: Any) -> TrainingSettings:
    return TrainingSettings.model_validate({"precision": "fp32", "epochs": 6, **changes})


def batch_of(
    rows: list[int], data: TrainingData, store: FeatureStore, settings: TrainingSettings, group: Processes = ALONE
) -> Batch:
    sets = None if settings.loss == "contrastive" else warm_up(data).sets
    negatives = epoch_negatives(sets, settings, 0, len(data))
    return make_batch(np.array(rows), data, store, negatives, settings, group)


def module(model: QureModel, settings: TrainingSettings, group: Processes = ALONE) -> TripletLoss:
    return TripletLoss(model, settings, PrecisionPolicy.of(settings.precision, CPU), group)


def test_published_loss_of_a_batch(model: QureModel, data: TrainingData, store: FeatureStore) -> None:
    settings = recipe()
    rows = [3, 20, 41]
    outcome = module(model.eval(), settings)(batch_of(rows, data, store, settings))
    drawn = epoch_negatives(warm_up(data).sets, settings, 0, len(data)).drawn[rows, 0]
    with torch.no_grad():
        queries = model.encode_queries(
            store.read(data.references[rows]), data.input_ids[rows], data.attention_mask[rows]
        )
        targets = model.encode_images(store.read(data.corpus[data.targets[rows]]))
        negatives = model.encode_images(store.read(data.corpus[drawn]))
        positive = (queries[:, None] * targets).sum(-1).amax(1) / model.temperature
        negative = (queries[:, None] * negatives).sum(-1).amax(1) / model.temperature
    expected = bradley_terry(positive, negative[:, None]).sum()
    assert outcome.loss.item() == pytest.approx(expected.item(), rel=1e-5)
    assert outcome.counts.tolist()[1:] == [int((positive > negative).sum()), 3]


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


def test_recomputing_layers_changes_nothing(model: QureModel, data: TrainingData, store: FeatureStore) -> None:
    gradients = []
    for recompute in (False, True):
        settings = recipe(gradient_checkpointing=recompute)
        loss = module(model.train(), settings)
        model.zero_grad()
        torch.manual_seed(0)
        loss(batch_of([0, 1, 2, 3], data, store, settings)).loss.backward()
        gradients.append(torch.cat([one.grad.flatten() for one in model.parameters() if one.grad is not None]))
        assert model.qformer.is_gradient_checkpointing == recompute
    assert torch.equal(*gradients)


def test_half_precision_encodes_but_scores_in_fp32(model: QureModel, data: TrainingData, store: FeatureStore) -> None:
    full, half = recipe(), recipe(precision="bf16")
    losses = [
        module(model.eval(), settings)(batch_of([0, 1, 2], data, store, settings)).loss for settings in (full, half)
    ]
    assert losses[1].dtype == torch.float32
    assert losses[0].item() != losses[1].item()
    assert losses[1].item() == pytest.approx(losses[0].item(), rel=0.2)

"""False negatives in the hard negatives, counted against the rendered truth by hand."""

from typing import Any

import numpy as np
import pytest

from qure.ablation.found import NegativesOfModels, share_relevant
from qure.config import TrainingSettings
from qure.datasets.benchmarks import read_training
from qure.datasets.truth import read_truth
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.negatives.sets import HardNegatives
from qure.training.data import training_data


@pytest.fixture(scope="module")
def parts(world: Any) -> Any:
    triplets, corpora = read_training("fashioniq", world.data)
    model = QureModel.load(world.layout.backbone, "cpu", vision=False)
    store = FeatureStore.open(world.layout.training_features, model.vision_fingerprint)
    assert model.tokenizer is not None
    data = training_data(triplets, corpora, store, model.tokenizer)
    return model, NegativesOfModels("fashioniq", world.data, data, corpora, store), triplets, corpora


def test_of_the_whole_corpus_they_are_what_the_truth_says(parts: Any, world: Any) -> None:
    model, negatives, triplets, corpora = parts
    truth = read_truth(world.data / "fashioniq", "train")
    assert truth is not None
    shares = []
    for one in triplets:
        others = [image for image in corpora[one.category] if image != one.target]
        shares.append((truth.relevance(one.query_id, others) == 1.0).mean())
    found = negatives.of(model, TrainingSettings(precision="fp32", loss="contrastive"))
    assert found["false_negatives"] == pytest.approx(np.mean(shares))
    assert found["false_negatives"] > 0
    assert found["size"] == pytest.approx(np.mean([len(corpora[one.category]) - 1 for one in triplets]))


def test_a_window_keeps_the_sets_near_the_target(parts: Any) -> None:
    model, negatives, _, _ = parts
    near = {"strategy": "after_target_top_k", "top_k": 5}
    found = negatives.of(model, TrainingSettings.model_validate({"precision": "fp32", "negatives": near}))
    assert (found["first_after_target"], found["last_after_target"]) == (1, 5)


def test_shares_are_averaged_over_queries_not_over_images() -> None:
    sets = HardNegatives([0, 1, 5], [2, 0, 1, 3, 4])
    assert share_relevant(sets, [np.array([2]), np.array([], dtype=np.int64)]) == 0.5

"""Triplets to numbers: joint corpus, categories, and errors that name the triplet."""

from dataclasses import fields
from typing import Any

import numpy as np
import pytest

from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.features.store import FeatureStore
from qure.models.text import CaptionTokenizer
from qure.training.data import TrainingData, training_data

CORPORA = {"dress": ["dress01", "dress00"], "shirt": ["shirt02", "shirt00", "shirt01"]}


def triplet(category: str | None, target: str | None, **changes: Any) -> Triplet:
    fields = {
        "query_id": f"{category}/0",
        "reference": "dress05",
        "text": "Is red and blue",
        "source": "cap.json, row 0",
    }
    return Triplet(**{**fields, "target": target, "category": category, **changes})


@pytest.fixture(scope="module")
def store(world: Any) -> FeatureStore:
    return FeatureStore.open(world.root / "features" / "fashioniq")


@pytest.fixture(scope="module")
def tokenizer(world: Any) -> CaptionTokenizer:
    return CaptionTokenizer.load(world.root / "backbone")


def made(store: FeatureStore, tokenizer: CaptionTokenizer, *triplets: Triplet) -> TrainingData:
    return training_data(triplets, CORPORA, store, tokenizer)


def test_targets_are_columns_of_the_joint_corpus(store: FeatureStore, tokenizer: CaptionTokenizer) -> None:
    data = made(store, tokenizer, triplet("shirt", "shirt01"), triplet("dress", "dress00"))
    assert data.names == ("dress", "shirt")
    assert data.categories.tolist() == [1, 0]
    assert data.targets.tolist() == [4, 1]
    assert [store.ids[row] for row in data.corpus] == ["dress01", "dress00", "shirt02", "shirt00", "shirt01"]
    assert [store.ids[row] for row in data.references] == ["dress05", "dress05"]
    assert (data.corpus_of(0), data.corpus_of(1)) == (slice(0, 2), slice(2, 5))
    assert data.input_ids.shape == (2, tokenizer.text_tokens)


def test_further_right_answers_are_columns_of_the_triplets_own_corpus(
    store: FeatureStore, tokenizer: CaptionTokenizer
) -> None:
    several = triplet("shirt", "shirt01", answers=("shirt01", "shirt00", "dress00", "shirt02"))
    one = triplet("dress", "dress01", answers=("dress00", "dress01"))
    assert made(store, tokenizer, several, triplet("dress", "dress00"), one).also_right.tolist() == [
        [3, 2],  # neither the target nor what lies in another corpus
        [-1, -1],
        [1, -1],
    ]
    assert made(store, tokenizer, triplet("dress", "dress00")).also_right.shape == (1, 0)


def test_taking_some_keeps_the_corpora(store: FeatureStore, tokenizer: CaptionTokenizer) -> None:
    left = triplet("shirt", "shirt01", reference="dress07", text="is longer", answers=("shirt00",))
    taken = triplet("dress", "dress00", answers=("dress01",))
    part = made(store, tokenizer, left, taken).take(np.array([False, True]))
    alone = made(store, tokenizer, taken)
    assert len(part) == 1
    for name in (field.name for field in fields(TrainingData)):
        assert np.array_equal(getattr(part, name), getattr(alone, name)), name


def test_one_corpus_serves_triplets_of_any_category(store: FeatureStore, tokenizer: CaptionTokenizer) -> None:
    triplets = [triplet(None, "dress00"), triplet("dress", "dress02")]
    data = training_data(triplets, {"all": ["dress02", "dress00"]}, store, tokenizer)
    assert (data.targets.tolist(), data.categories.tolist()) == ([1, 0], [0, 0])


def test_errors_name_the_triplet(store: FeatureStore, tokenizer: CaptionTokenizer) -> None:
    with pytest.raises(BadInput, match=r"cap\.json.*shirt/0.*target.*'dress00'.*not in the corpus"):
        made(store, tokenizer, triplet("shirt", "dress00"))
    with pytest.raises(BadInput, match="not in the corpus"):
        made(store, tokenizer, triplet("shirt", None))
    with pytest.raises(BadInput, match="'toptee' has no corpus"):
        made(store, tokenizer, triplet("toptee", "toptee00"))
    with pytest.raises(BadInput, match="no features of image 'nowhere'"):
        made(store, tokenizer, triplet("dress", "dress00", reference="nowhere"))
    with pytest.raises(BadInput, match="no triplet"):
        made(store, tokenizer)

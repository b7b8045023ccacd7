"""The truth beside the data agrees with the data."""

from pathlib import Path

import numpy as np
import pytest

from qure.benchmarks.circo import files as circo
from qure.benchmarks.cirr import files as cirr
from qure.benchmarks.fashioniq import files as fashioniq
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq
from qure.datasets.truth import Truth, read_truth
from qure.files import read_json


def truth_of(root: Path, split: str = "val") -> Truth:
    truth = read_truth(root, split)
    assert truth is not None
    return truth


@pytest.mark.parametrize("split", ["train", "val"])
def test_fashioniq_targets_are_fully_relevant_and_references_are_not(catalogue: Path, split: str) -> None:
    truth = truth_of(catalogue / "fashioniq", split)
    for triplet in fashioniq.read_triplets(catalogue / "fashioniq", split):
        target, reference = truth.relevance(triplet.query_id, [triplet.target or "", triplet.reference])
        assert target == 1
        assert 0.4 <= reference <= 0.8
        assert triplet.target in truth.relevant(triplet.query_id)


def test_fashioniq_relevance_is_zero_in_another_category(catalogue: Path) -> None:
    truth = truth_of(catalogue / "fashioniq")
    shirts = fashioniq.read_gallery(catalogue / "fashioniq", "val", "shirt").ids
    assert not truth.relevance("dress/0", shirts).any()


def test_images_share_attributes_so_that_there_are_false_negatives(catalogue: Path) -> None:
    truth = truth_of(catalogue / "fashioniq", "train")
    matching = [len(truth.relevant(t.query_id)) for t in fashioniq.read_triplets(catalogue / "fashioniq", "train")]
    assert min(matching) >= 1
    assert np.mean(matching) > 1


def test_the_truth_of_test_splits_is_known_too(catalogue: Path) -> None:
    truth = truth_of(catalogue / "fashioniq", "test")
    queries = fashioniq.read_triplets(catalogue / "fashioniq", "test")
    assert all(truth.relevant(query.query_id) for query in queries)


@pytest.mark.parametrize("split", ["train", "val"])
def test_cirr_targets_are_the_only_right_ones_of_their_set(catalogue: Path, split: str) -> None:
    truth = truth_of(catalogue / "cirr", split)
    for triplet in cirr.read_triplets(catalogue / "cirr", split):
        relevance = truth.relevance(triplet.query_id, triplet.members)
        assert [m for m, share in zip(triplet.members, relevance, strict=True) if share == 1] == [triplet.target]


@pytest.mark.parametrize("split", ["train", "val", "test1"])
def test_cirr_ranks_number_a_set_by_likeness_to_its_first_image(catalogue: Path, split: str) -> None:
    """As in the published files (`test_public_annotations.py`): an image's rank is the set's, not `members`' order."""
    root = catalogue / "cirr"
    attributes = read_json(root / "truth.json")["images"][split]
    ranks: dict[int, dict[str, int]] = {}
    for row in read_json(root / "captions" / f"cap.rc2.{split}.json"):
        image_set, own = row["img_set"], ranks.setdefault(row["img_set"]["id"], {})
        assert own.setdefault(row["reference"], image_set["reference_rank"]) == image_set["reference_rank"]
        if split != "test1":
            assert own.setdefault(row["target_hard"], image_set["target_rank"]) == image_set["target_rank"]
    firsts = 0
    for own in ranks.values():
        assert len(set(own.values())) == len(own)
        assert set(own.values()) <= set(range(6))
        ordered = sorted(own, key=own.__getitem__)
        if own[ordered[0]] == 0:
            firsts += 1
            first = attributes[ordered[0]]
            steps = [sum(a != b for a, b in zip(first, attributes[image], strict=True)) for image in ordered]
            assert steps == sorted(steps)
    assert firsts


def test_circo_answers_are_all_fully_relevant_images(catalogue: Path) -> None:
    truth = truth_of(catalogue / "circo")
    for query in circo.read_triplets(catalogue / "circo", "val"):
        assert set(query.answers) == truth.relevant(query.query_id)
        assert 2 <= len(query.answers) <= 14
        assert query.reference not in query.answers


def test_hp_people_follow_the_truth_with_noise_and_mistakes(catalogue: Path) -> None:
    truth = truth_of(catalogue / "hp_fashioniq")
    pairs = hp_fashioniq.read_pairs(catalogue / "hp_fashioniq")
    differences = np.array(
        [
            truth.relevance(pair.query_id, pair.set_1).mean() - truth.relevance(pair.query_id, pair.set_2).mean()
            for pair in pairs
        ]
    )
    preferred = np.array([pair.preferred == 1 for pair in pairs])
    decided = differences != 0
    agreement = ((differences > 0) == preferred)[decided].mean()
    assert 0.6 < agreement < 0.95
    assert 0.35 < preferred.mean() < 0.65
    assert sum(map(hp_fashioniq.is_inconsistent, pairs)) < 0.1 * len(pairs)


def test_hp_asks_about_val_triplets_with_their_captions(catalogue: Path) -> None:
    triplets = {(t.reference, t.target) for t in fashioniq.read_triplets(catalogue / "fashioniq", "val")}
    published = read_json(catalogue / "hp_fashioniq" / "hpfiq.json")
    for pair in hp_fashioniq.read_pairs(catalogue / "hp_fashioniq"):
        assert (pair.reference, pair.target) in triplets
        assert pair.reference not in (*pair.set_1, *pair.set_2)
    sentences = [s for sets in published.values() for questions in sets.values() for s in questions["sentences"]]
    assert any("dotmark" in sentence for sentence in sentences)
    assert all("  and " in sentence for sentence in sentences)


def test_pretraining_captions_cover_every_train_image_once(catalogue: Path) -> None:
    rows = read_json(catalogue / "pretraining" / "captions.json")
    images = [(row["image_set"], row["image"]) for row in rows]
    garments = [
        ("fashioniq", image)
        for category in fashioniq.CATEGORIES
        for image in fashioniq.split_ids(catalogue / "fashioniq", "train", category)
    ]
    scenes = [("cirr", image) for image in cirr.read_gallery(catalogue / "cirr", "train").ids]
    assert sorted(images) == sorted(garments + scenes)
    assert all(row["caption"].strip() for row in rows)

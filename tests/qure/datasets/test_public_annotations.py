"""Every reader on every public annotation file, with the published counts."""

from collections import Counter
from pathlib import Path

import pytest

from qure.benchmarks.circo import files as circo
from qure.benchmarks.cirr import files as cirr
from qure.benchmarks.fashioniq import files as fashioniq
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq
from qure.datasets import benchmarks


def test_fashioniq(annotations: Path) -> None:
    root = annotations / "fashioniq"
    train = fashioniq.read_triplets(root, "train")
    assert len(train) == 18_000
    assert Counter(triplet.category for triplet in train) == {"dress": 5985, "shirt": 5988, "toptee": 6027}
    assert len(fashioniq.read_triplets(root, "val")) == 2017 + 2038 + 1961
    test = fashioniq.read_triplets(root, "test")
    assert len(test) == 2024 + 2038 + 2056
    assert {triplet.target for triplet in test} == {None}
    galleries = [
        [len(fashioniq.read_gallery(root, "val", category, protocol).ids) for category in fashioniq.CATEGORIES]
        for protocol in fashioniq.PROTOCOLS
    ]
    assert galleries == [[3817, 6346, 5373], [2628, 3089, 2902]]
    assert len(benchmarks.image_ids_needed("fashioniq", root)) == 74_381


@pytest.mark.parametrize(("split", "queries", "images"), [("val", 4181, 2297), ("test1", 4148, 2315)])
def test_cirr(annotations: Path, split: str, queries: int, images: int) -> None:
    root = annotations / "cirr"
    triplets = cirr.read_triplets(root, split)
    assert (len(triplets), len(cirr.read_gallery(root, split).ids)) == (queries, images)
    assert {len(triplet.members) for triplet in triplets} == {6}
    assert all((triplet.target is None) == (split == "test1") for triplet in triplets)


def test_cirr_train_images(annotations: Path) -> None:
    assert len(cirr.image_paths(annotations / "cirr", "train")) == 16_939


def test_circo(annotations: Path) -> None:
    root = annotations / "circo"
    val = circo.read_triplets(root, "val")
    assert (len(val), len(circo.read_triplets(root, "test"))) == (220, 800)
    assert sum(len(query.answers) for query in val) == 916
    assert not circo.has_index(root)


def test_hp_fashioniq(annotations: Path) -> None:
    pairs = hp_fashioniq.read_pairs(annotations / "hp_fashioniq")
    assert len(pairs) == 3050
    assert len({pair.person for pair in pairs}) == 61
    assert sum(map(hp_fashioniq.is_inconsistent, pairs)) == 32
    assert not any("dotmark" in pair.text or "questionmark" in pair.text for pair in pairs)


def test_hp_fashioniq_asks_about_fashioniq_val(annotations: Path) -> None:
    """The text is what the same FashionIQ triplet would give, with the captions in either order."""
    told: dict[tuple[str, str], set[str]] = {}
    for triplet in fashioniq.read_triplets(annotations / "fashioniq", "val"):
        words = triplet.text.lower().split(" and ")
        told.setdefault((triplet.reference, triplet.target or ""), set()).add(" ".join(sorted(words)))
    pairs = hp_fashioniq.read_pairs(annotations / "hp_fashioniq")
    same = [
        " ".join(sorted(pair.text.lower().split(" and "))) in told.get((pair.reference, pair.target), set())
        for pair in pairs
    ]
    assert sum(same) > 0.95 * len(pairs)

"""Every reader on every public annotation file, with the published counts."""

from collections import Counter
from pathlib import Path

import pytest

from qure.benchmarks.circo import files as circo
from qure.benchmarks.cirr import files as cirr
from qure.benchmarks.fashioniq import files as fashioniq
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq
from qure.datasets import benchmarks
from qure.files import read_json


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


def test_cirr_ranks_number_a_sets_images(annotations: Path) -> None:
    """A rank is its image's in every row of the set, and no place in `members`; nine pairs of ranks are asked."""
    ranks: dict[tuple[int, str], set[int]] = {}
    pairs: Counter[tuple[int, int]] = Counter()
    places = 0
    for row in read_json(annotations / "cirr" / "captions" / "cap.rc2.val.json"):
        image_set = row["img_set"]
        pairs[image_set["reference_rank"], image_set["target_rank"]] += 1
        places += image_set["members"][image_set["reference_rank"]] == row["reference"]
        for field, rank in (("reference", "reference_rank"), ("target_hard", "target_rank")):
            ranks.setdefault((image_set["id"], row[field]), set()).add(image_set[rank])
    assert all(len(found) == 1 for found in ranks.values())
    assert len({(image_set, *found) for (image_set, _), found in ranks.items()}) == len(ranks) == 2970
    assert places == 696
    around = {(place, (place + 1) % 6) for place in range(6)}
    assert set(pairs) == around | {(0, 2), (0, 3), (0, 4)}


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

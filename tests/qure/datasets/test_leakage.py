"""Leakage across splits: counted on the public files, reported without, left out of training."""

import json
from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks.fashioniq import BENCHMARK
from qure.benchmarks.fashioniq.files import split_ids
from qure.datasets.exclusions import Exclusions
from qure.datasets.leakage import leakage, without_leaking
from qure.datasets.types import named_images
from qure.datasets.validated import ValidatedData
from qure.errors import BadInput

CATEGORIES = ("dress", "shirt", "toptee")


def test_the_public_files(annotations: Path) -> None:
    """Counted in the files of November 2026; docs/datasets.md has the table."""
    found = leakage(annotations)
    assert found["fashioniq"] == {
        "queries": 6016,
        "images_train_val": 811,
        "gallery_in_training": 400,
        "targets_seen": 143,
        "targets_seen_as_target": 100,
        "pairs_repeated": 3,
        "pairs_turned": 1,
        "training_triplets": 18000,
        "training_triplets_leaking": 1024,
    }
    assert found["hp-fashioniq"]["targets_seen"] == 119
    assert found["cirr"] == {"queries": 4181, "images_train_val": 0}
    assert found["circo"] == {"queries": 220}


def test_leaked_queries_of_the_public_files_are_of_shirt_and_toptee(annotations: Path) -> None:
    leaked = BENCHMARK.read(annotations / "fashioniq", "val").leaked
    assert leaked is not None
    assert [sum(query.startswith(f"{category}/") for query in leaked) for category in CATEGORIES] == [0, 72, 71]


def test_without_leaking_no_judging_image_is_trained_on(annotations: Path) -> None:
    root = annotations / "fashioniq"
    left_out = without_leaking("fashioniq", annotations, Exclusions())
    assert len(left_out.queries) == 1024
    kept = BENCHMARK.read_training(root, left_out)[0]
    assert len(kept) == 18000 - 1024
    judged = {
        image for split in ("val", "test") for category in CATEGORIES for image in split_ids(root, split, category)
    }
    assert judged.isdisjoint(named_images(kept))


@pytest.fixture
def leaking(catalogue: Path, tmp_path: Path) -> tuple[Path, dict[str, Any]]:
    """Rendered garments of which one toptee train triplet has the target of the first val shirt."""
    files = {name: (catalogue / "fashioniq" / name).read_text() for name in _names()}
    val = json.loads(files["captions/cap.shirt.val.json"])
    rows = json.loads(files["captions/cap.toptee.train.json"])
    rows[3]["target"] = val[0]["target"]
    listed = json.loads(files["image_splits/split.toptee.train.json"])
    files["captions/cap.toptee.train.json"] = json.dumps(rows)
    files["image_splits/split.toptee.train.json"] = json.dumps([*listed, val[0]["target"]])
    for name, text in files.items():
        path = tmp_path / "data" / "fashioniq" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return tmp_path / "data", val[0]


def _names() -> list[str]:
    return [
        name.format(category=category, split=split)
        for category in CATEGORIES
        for split in ("train", "val")
        for name in ("captions/cap.{category}.{split}.json", "image_splits/split.{category}.{split}.json")
    ]


def test_training_leaves_them_out_on_demand(leaking: tuple[Path, dict[str, Any]]) -> None:
    data, query = leaking
    whole, corpora, _ = ValidatedData(data).training("fashioniq")
    kept, kept_corpora, excluded = ValidatedData(data).training("fashioniq", exclude_leaked=True)
    assert [one.query_id for one in whole if one not in kept] == ["toptee/3"]
    assert excluded.queries == {"train/toptee/3"}
    assert query["target"] in corpora["toptee"]
    assert query["target"] not in kept_corpora["toptee"]


def test_a_split_knows_the_queries_whose_target_training_has_seen(leaking: tuple[Path, dict[str, Any]]) -> None:
    data, query = leaking
    found = BENCHMARK.read(data / "fashioniq", "val")
    assert found.leaked == {one.query_id for one in found.triplets if one.target == query["target"]}
    assert "shirt/0" in found.leaked
    for category in CATEGORIES:
        (data / "fashioniq" / "captions" / f"cap.{category}.train.json").unlink()
    assert BENCHMARK.read(data / "fashioniq", "val").leaked is None, "nothing is known of what training has seen"


def rows(*pairs: tuple[str, str]) -> list[dict[str, Any]]:
    return [
        {"candidate": reference, "target": target, "captions": ["is red", "is long"]} for reference, target in pairs
    ]


@pytest.fixture
def small(fashioniq_root: Path) -> Path:
    """FashionIQ of six train triplets that name images of val and test.

    The val queries of a category are (0, 1) and (1, 2), as numbers of images.
    """
    train = {
        "dress": [("d-train-0", "d-val-1"), ("d-train-1", "d-train-2")],  # a target that is one again
        "shirt": [("s-train-0", "s-test-3"), ("s-val-2", "s-train-2")],  # no image of val; a target as reference
        "toptee": [("t-val-0", "t-val-1"), ("t-val-2", "t-val-1")],  # a pair that is asked, and one the other way round
    }
    for category, pairs in train.items():
        write(fashioniq_root / "captions" / f"cap.{category}.train.json", rows(*pairs))
        listed = dict.fromkeys([image for pair in pairs for image in pair])
        write(fashioniq_root / "image_splits" / f"split.{category}.train.json", [*listed, f"{category[0]}-val-3"])
    return fashioniq_root.parent


def write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")


def test_what_train_and_val_have_in_common_is_counted(small: Path) -> None:
    assert leakage(small) == {
        "fashioniq": {
            "queries": 6,
            "images_train_val": 8,
            "gallery_in_training": 5,
            "targets_seen": 4,
            "targets_seen_as_target": 2,
            "pairs_repeated": 1,
            "pairs_turned": 1,
            "training_triplets": 6,
            "training_triplets_leaking": 5,
        }
    }


def test_what_missing_files_would_say_is_left_out(small: Path, cirr_root: Path, circo_root: Path) -> None:
    """CIRCO's images are no images of CIRR, whose models it judges."""
    whole = leakage(small)
    assert whole["cirr"]["images_train_val"] == whole["cirr"]["training_triplets_leaking"] == 0
    assert (whole["cirr"]["queries"], whole["cirr"]["training_triplets"]) == (2, 2)
    assert "images_train_val" not in whole["circo"]
    assert (whole["circo"]["queries"], whole["circo"]["training_triplets"]) == (2, 2)
    (cirr_root / "captions" / "cap.rc2.train.json").unlink()
    found = leakage(small)
    assert found == {
        "fashioniq": whole["fashioniq"],
        "cirr": {"queries": 2, "images_train_val": 0},
        "circo": {"queries": 2},
    }
    (cirr_root / "image_splits" / "split.rc2.train.json").unlink()
    assert leakage(small)["cirr"] == {"queries": 2}
    for path in circo_root.rglob("*.json"):
        path.unlink()
    assert leakage(small).keys() == {"fashioniq", "cirr"}


def test_people_were_asked_about_images_that_fashioniq_trains_on(small: Path, hp_root: Path) -> None:
    """Two of HP-FashionIQ's four rows ask for T0 with R0, the other two for T1 with R1; A0 and B1 are shown."""
    write(small / "fashioniq" / "captions" / "cap.shirt.train.json", rows(("R0", "T0"), ("s-val-2", "A0")))
    write(small / "fashioniq" / "image_splits" / "split.shirt.train.json", ["R0", "T0", "A0", "B1", "s-val-2"])
    assert leakage(small)["hp-fashioniq"] == {
        "queries": 4,
        "images_train_val": 2,
        "gallery_in_training": 1,
        "targets_seen": 2,
        "targets_seen_as_target": 2,
        "pairs_repeated": 1,
        "pairs_turned": 0,
        "training_triplets": 6,
        "training_triplets_leaking": 4,
    }


def test_an_image_of_another_split_is_left_out_with_what_is_left_out_anyway(small: Path) -> None:
    keys = {"train/dress/0", "train/shirt/0", "train/shirt/1", "train/toptee/0", "train/toptee/1"}
    assert without_leaking("fashioniq", small, Exclusions()).queries == keys
    given = Exclusions(images=frozenset({"x"}), queries=frozenset({"train/dress/1"}))
    found = without_leaking("fashioniq", small, given)
    assert found == Exclusions(images=given.images, queries=frozenset({*keys, "train/dress/1"}))


def test_a_folder_without_benchmarks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no benchmark's files"):
        leakage(tmp_path)

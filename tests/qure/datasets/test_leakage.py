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


def test_a_folder_without_benchmarks_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no benchmark's files"):
        leakage(tmp_path)

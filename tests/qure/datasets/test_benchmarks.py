"""What stages ask without knowing a layout."""

from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks import get_benchmark
from qure.datasets import benchmarks
from qure.datasets.exclusions import Exclusions
from qure.datasets.image_store import open_images
from qure.errors import BadInput


def test_ids_needed_of_every_benchmark(fashioniq_root: Path, cirr_root: Path, circo_root: Path, hp_root: Path) -> None:
    needed = benchmarks.image_ids_needed
    assert len(needed("fashioniq", fashioniq_root)) == 3 * 3 * 4
    assert needed("fashioniq", fashioniq_root, ["val"])[:4] == ["d-val-0", "d-val-1", "d-val-2", "d-val-3"]
    assert len(needed("cirr", cirr_root)) == 18
    assert needed("circo", circo_root) == ["11", "12", "13", "14", "15", "16"]
    assert needed("circo", circo_root, ["test"]) == ["11", "12", "13", "14", "15", "16"]
    ids = ["R0", "R1", "T0", "T1", *(f"{start}{number}" for start in "ABCD" for number in range(5))]
    assert needed("hp-fashioniq", hp_root) == sorted(ids)


def test_circo_without_index_needs_what_its_queries_name(circo_root: Path) -> None:
    (circo_root / "COCO2017_unlabeled/annotations/image_info_unlabeled2017.json").unlink()
    assert benchmarks.image_ids_needed("circo", circo_root, ["test"]) == ["14"]


def test_only_the_splits_that_are_there_count(fashioniq_root: Path) -> None:
    for folder in ("captions", "image_splits"):
        for file in (fashioniq_root / folder).glob("*.test.json"):
            file.unlink()
    assert benchmarks.present_splits("fashioniq", fashioniq_root) == ["train", "val"]
    assert len(benchmarks.image_ids_needed("fashioniq", fashioniq_root)) == 2 * 3 * 4


def test_a_split_list_without_captions_is_enough(cirr_root: Path) -> None:
    """CIRR's images can be precomputed before its captions are there."""
    (cirr_root / "captions" / "cap.rc2.train.json").unlink()
    assert len(benchmarks.image_ids_needed("cirr", cirr_root)) == 18


def test_an_empty_folder_or_an_unknown_name_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no split of cirr"):
        benchmarks.image_ids_needed("cirr", tmp_path)
    with pytest.raises(BadInput, match="Benchmarks are fashioniq"):
        benchmarks.image_ids_needed("imagenet", tmp_path)
    with pytest.raises(BadInput, match="Training sets are"):
        benchmarks.read_training("circo", tmp_path)


def test_fashioniq_corpus_is_its_targets_in_order_of_first_occurrence(fashioniq_root: Path, edit: Any) -> None:
    def change(rows: Any) -> None:
        first, second = rows
        rows[:] = [second, first, {**first, "candidate": "d-train-3"}]

    edit(fashioniq_root / "captions" / "cap.dress.train.json", change)
    triplets, corpus = benchmarks.read_training("fashioniq", fashioniq_root.parent)
    assert corpus["dress"] == ["d-train-2", "d-train-1"]
    assert list(corpus) == ["dress", "shirt", "toptee"]
    assert len(triplets) == 7


def test_cirr_corpus_is_all_train_images(cirr_root: Path) -> None:
    triplets, corpus = benchmarks.read_training("cirr", cirr_root.parent)
    assert corpus == {"all": [f"train-7-{number}-img0" for number in range(6)]}
    assert len(triplets) == 2


def test_excluded_images_leave_triplets_and_corpus(fashioniq_root: Path, cirr_root: Path) -> None:
    root = cirr_root.parent
    without = Exclusions(images=frozenset({"train-7-0-img0", "d-train-1"}))
    triplets, corpus = benchmarks.read_training("cirr", root, without)
    assert "train-7-0-img0" not in corpus["all"]
    assert [triplet.query_id for triplet in triplets] == ["1"]
    assert benchmarks.read_training("fashioniq", root, without)[1]["dress"] == []


def test_the_catalogue_holds_every_image_its_files_name(catalogue: Path) -> None:
    for benchmark in ("fashioniq", "cirr", "circo"):
        root = get_benchmark(benchmark).root(catalogue)
        assert list(open_images(root).ids) == benchmarks.image_ids_needed(benchmark, root)
    named = benchmarks.image_ids_needed("hp-fashioniq", catalogue / "hp_fashioniq")
    assert set(named) <= set(benchmarks.image_ids_needed("fashioniq", catalogue / "fashioniq", ["val"]))

"""FashionIQ's reader: what it returns, and one clear error for everything else."""

from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks.fashioniq import files as fashioniq
from qure.datasets import Triplet
from qure.datasets.exclusions import Exclusions
from qure.errors import BadInput


def test_reads_triplets_category_by_category_with_joined_captions(fashioniq_root: Path) -> None:
    triplets = fashioniq.read_triplets(fashioniq_root, "val")
    assert [triplet.query_id for triplet in triplets] == [
        "dress/0", "dress/1", "shirt/0", "shirt/1", "toptee/0", "toptee/1",
    ]  # fmt: skip
    file = fashioniq_root / "captions" / "cap.dress.val.json"
    assert triplets[0] == Triplet(
        query_id="dress/0",
        reference="d-val-0",
        text="Is red and has a v neck",
        target="d-val-1",
        category="dress",
        source=f"{file}, row 0",
        split="val",
    )
    assert triplets[1].text == " and is longer"


def test_reads_the_chosen_categories_only(fashioniq_root: Path) -> None:
    triplets = fashioniq.read_triplets(fashioniq_root, "train", ["toptee"])
    assert {triplet.category for triplet in triplets} == {"toptee"}


def test_test_split_has_no_targets(fashioniq_root: Path) -> None:
    assert all(triplet.target is None for triplet in fashioniq.read_triplets(fashioniq_root, "test"))


def test_galleries_of_both_protocols(fashioniq_root: Path) -> None:
    original = fashioniq.read_gallery(fashioniq_root, "val", "dress")
    assert original.name == "fashioniq/val/dress/original"
    assert original.ids == ("d-val-0", "d-val-1", "d-val-2", "d-val-3")
    used = fashioniq.read_gallery(fashioniq_root, "val", "dress", protocol="val")
    assert (used.name, used.ids) == ("fashioniq/val/dress/val", ("d-val-0", "d-val-1", "d-val-2"))


def _set(row: int, field: str, value: Any) -> Any:
    def change(rows: Any) -> None:
        rows[row][field] = value

    return change


def _drop(row: int, field: str) -> Any:
    def change(rows: Any) -> None:
        del rows[row][field]

    return change


@pytest.mark.parametrize(
    ("change", "row", "field", "problem"),
    [
        (_drop(1, "candidate"), 1, "candidate", "missing"),
        (_drop(0, "target"), 0, "target", "missing"),
        (_drop(0, "captions"), 0, "captions", "missing"),
        (_set(1, "candidate", 7), 1, "candidate", "must be a string, not a whole number (7)"),
        (_set(1, "target", None), 1, "target", "null"),
        (_set(0, "captions", "is red"), 0, "captions", "must be a list"),
        (_set(0, "captions", ["is red"]), 0, "captions", "must hold 2 entries, not 1"),
        (_set(0, "captions", ["is red", 3]), 0, "captions[1]", "must be a string"),
        (_set(0, "captions", ["is red", "\ud800"]), 0, "captions[1]", "not valid Unicode"),
        (_set(0, "target", "../../etc/passwd"), 0, "target", "contains '/'"),
        (_set(0, "candidate", "..\\x"), 0, "candidate", "'\\\\'"),
        (_set(0, "candidate", ".hidden"), 0, "candidate", "starts with '.'"),
        (_set(0, "candidate", "a..b"), 0, "candidate", "contains '..'"),
        (_set(0, "candidate", "a\x00b"), 0, "candidate", "control character"),
        (_set(0, "candidate", ""), 0, "candidate", "is empty"),
        (_set(1, "candidate", "B000UNKNOWN"), 1, "candidate", "'B000UNKNOWN' is not in the split's list"),
        (_set(1, "target", "d-val-1"), 1, "target", "same image 'd-val-1'"),
        (_set(1, "captions", [" .", ""]), 1, "captions", "text is empty"),
        (lambda rows: rows + rows[:1], 2, "captions", "the same triplet as"),
        (lambda rows: [rows[0], 5], 1, None, "must be an object"),
        (lambda rows: {"rows": rows}, None, None, "must hold a list of rows, not an object"),
    ],
)
def test_names_file_row_and_field(
    fashioniq_root: Path, edit: Any, change: Any, row: int | None, field: str | None, problem: str
) -> None:
    file = fashioniq_root / "captions" / "cap.dress.val.json"
    edit(file, change)
    with pytest.raises(BadInput) as caught:
        fashioniq.read_triplets(fashioniq_root, "val")
    assert str(caught.value.file) == str(file)
    assert (caught.value.row, caught.value.field) == (row, field)
    assert problem in str(caught.value)


def test_content_findings_can_be_left_to_validation(fashioniq_root: Path, edit: Any) -> None:
    edit(fashioniq_root / "captions" / "cap.dress.val.json", _set(1, "target", "d-val-1"))
    assert len(fashioniq.read_triplets(fashioniq_root, "val", checked=False)) == 6


def test_excluded_rows_are_not_refused(fashioniq_root: Path, edit: Any) -> None:
    edit(fashioniq_root / "captions" / "cap.dress.val.json", _set(1, "target", "d-val-1"))
    kept = fashioniq.read_triplets(
        fashioniq_root, "val", exclusions=Exclusions(queries=frozenset({"val/dress/1", "train/dress/0"}))
    )
    assert [triplet.query_id for triplet in kept][:2] == ["dress/0", "shirt/0"]


@pytest.mark.parametrize(
    ("ids", "row", "problem"),
    [
        (["a", "b", "a"], 2, "named twice"),
        (["a", "/etc/passwd"], 1, "contains '/'"),
        (["a", 3], 1, "must be a string"),
        ({"a": 1}, None, "must hold a list of image ids"),
    ],
)
def test_split_files_are_strict(fashioniq_root: Path, edit: Any, ids: Any, row: int | None, problem: str) -> None:
    file = fashioniq_root / "image_splits" / "split.shirt.val.json"
    edit(file, lambda _: ids)
    with pytest.raises(BadInput, match=problem) as caught:
        fashioniq.read_gallery(fashioniq_root, "val", "shirt")
    assert (caught.value.file, caught.value.row) == (file, row)


def test_missing_file_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"cap\.dress\.val\.json: the file does not exist.*qure catalogue"):
        fashioniq.read_triplets(tmp_path, "val")


@pytest.mark.parametrize("call", [
    lambda root: fashioniq.read_triplets(root, "test1"),
    lambda root: fashioniq.read_triplets(root, "val", ["trousers"]),
    lambda root: fashioniq.read_gallery(root, "../val", "dress"),
    lambda root: fashioniq.read_gallery(root, "val", "../dress"),
    lambda root: fashioniq.read_gallery(root, "val", "dress", "VAL"),
])  # fmt: skip
def test_unknown_names_list_the_known_ones(fashioniq_root: Path, call: Any) -> None:
    with pytest.raises(BadInput, match="are "):
        call(fashioniq_root)

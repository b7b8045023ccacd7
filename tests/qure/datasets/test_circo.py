"""CIRCO's reader."""

from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks import get_benchmark
from qure.benchmarks.circo import files as circo
from qure.errors import BadInput


def test_reads_queries_with_all_answers_target_first(circo_root: Path) -> None:
    first, second = circo.read_triplets(circo_root, "val")
    assert first.text == "a photo of $ that shows two people"
    assert (first.query_id, first.reference, first.target) == ("0", "11", "12")
    assert first.answers == ("12", "13", "14")
    assert second.answers == ("15", "16")
    assert second.split == "val"


def test_test_split_has_no_answers(circo_root: Path) -> None:
    (query,) = circo.read_triplets(circo_root, "test")
    assert (query.target, query.answers) == (None, ())


def test_gallery_is_cocos_index(circo_root: Path) -> None:
    assert circo.has_index(circo_root)
    assert circo.read_gallery(circo_root).ids == ("11", "12", "13", "14", "15", "16")


def test_without_an_index_ids_cannot_be_checked_and_the_gallery_is_an_error(circo_root: Path, edit: Any) -> None:
    (circo_root / circo.INDEX).unlink()
    edit(circo_root / "annotations" / "val.json", lambda rows: rows[0].update(reference_img_id=99))
    assert circo.read_triplets(circo_root, "val")[0].reference == "99"
    assert not circo.has_index(circo_root)
    with pytest.raises(BadInput, match=r"image_info_unlabeled2017\.json: the file does not exist"):
        circo.read_gallery(circo_root)
    with pytest.raises(BadInput, match=r"image_info_unlabeled2017\.json: COCO's index is missing.*Download"):
        get_benchmark("circo").read(circo_root, "val")


def _row(**changes: Any) -> Any:
    return lambda rows: rows[1].update(changes)


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (_row(reference_img_id="12"), "reference_img_id", "must be a whole number, not a string"),
        (_row(reference_img_id=-12), "reference_img_id", "at least 0"),
        (_row(reference_img_id=10**12), "reference_img_id", "at most twelve digits"),
        (_row(reference_img_id=99), "reference_img_id", "'99' is not in the split's list"),
        (_row(target_img_id=None), "target_img_id", "null"),
        (_row(target_img_id=12), "gt_img_ids", "target 12 is not among the right answers"),
        (_row(target_img_id=12, gt_img_ids=[12]), "target_img_id", "same image '12'"),
        (_row(gt_img_ids=[15, 12]), "gt_img_ids", "reference 12 is among the right answers"),
        (_row(gt_img_ids=[15, 15]), "gt_img_ids", "occurs twice"),
        (_row(gt_img_ids=[15, "16"]), "gt_img_ids[1]", "whole number"),
        (_row(gt_img_ids=[15, True]), "gt_img_ids[1]", "whole number"),
        (_row(gt_img_ids={}), "gt_img_ids", "must be a list"),
        (_row(relative_caption=" "), "relative_caption", "text is empty"),
        (_row(relative_caption=None), "relative_caption", "null"),
        (_row(id=0), "id", "query id 0 occurs twice"),
        (_row(id="1"), "id", "whole number"),
    ],
)
def test_names_file_row_and_field(circo_root: Path, edit: Any, change: Any, field: str, problem: str) -> None:
    file = circo_root / "annotations" / "val.json"
    edit(file, change)
    with pytest.raises(BadInput) as caught:
        circo.read_triplets(circo_root, "val")
    assert (str(caught.value.file), caught.value.row, caught.value.field) == (str(file), 1, field)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("change", "row", "field"),
    [
        (lambda index: index.pop("images") and None, None, "images"),
        (lambda index: index["images"][2].update(id="13"), "images[2]", "id"),
        (lambda index: index["images"][2].update(file_name="../../x.jpg"), "images[2]", "file_name"),
        (lambda index: index["images"].append(index["images"][0]), None, "images"),
        (lambda index: index["images"].append(3), "images[6]", None),
        (lambda index: [index], None, None),
    ],
)
def test_index_is_strict(circo_root: Path, edit: Any, change: Any, row: str | None, field: str | None) -> None:
    edit(circo_root / circo.INDEX, change)
    with pytest.raises(BadInput) as caught:
        circo.read_gallery(circo_root)
    assert (caught.value.file, caught.value.row, caught.value.field) == (circo_root / circo.INDEX, row, field)

"""CIRR's reader."""

from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks.cirr import files as cirr
from qure.datasets import Triplet
from qure.errors import BadInput


def test_reads_pairs_with_their_image_set(cirr_root: Path) -> None:
    triplets = cirr.read_triplets(cirr_root, "val")
    members = tuple(f"dev-7-{number}-img0" for number in range(6))
    assert triplets[1] == Triplet(
        query_id="11",
        reference="dev-7-1-img0",
        text="Fewer paper towels",
        target="dev-7-2-img0",
        members=members,
        source=f"{cirr_root / 'captions' / 'cap.rc2.val.json'}, row 1",
        split="val",
    )
    assert cirr.read_gallery(cirr_root, "val").ids == members


def test_test1_has_no_targets(cirr_root: Path) -> None:
    assert [triplet.target for triplet in cirr.read_triplets(cirr_root, "test1")] == [None, None]


def test_paths_lose_their_dot(cirr_root: Path) -> None:
    assert cirr.image_paths(cirr_root, "train")["train-7-0-img0"] == "train/34/train-7-0-img0.png"


def _row(**changes: Any) -> Any:
    return lambda rows: rows[1].update(changes)


def _set(**changes: Any) -> Any:
    return lambda rows: rows[1]["img_set"].update(changes)


MEMBERS = [f"dev-7-{number}-img0" for number in range(6)]


@pytest.mark.parametrize(
    ("change", "field", "problem"),
    [
        (_row(pairid="11"), "pairid", "whole number"),
        (_row(pairid=True), "pairid", "truth value"),
        (_row(pairid=-1), "pairid", "at least 0"),
        (_row(pairid=1.5), "pairid", "a number (1.5)"),
        (_row(pairid=10), "pairid", "is also that of"),
        (_row(reference="dev-7-0-img0/.."), "reference", "contains '/'"),
        (_row(reference="dev-9-9-img0"), "img_set.members", "is not one of the six members"),
        (_row(target_hard=None), "target_hard", "null"),
        (_row(target_hard="dev-9-9-img0"), "target_hard", "not in the split's list"),
        (_row(caption=["a"]), "caption", "must be a string"),
        (_row(img_set=[]), "img_set", "must be an object, not a list"),
        (_set(members=MEMBERS[:5]), "img_set.members", "must hold 6 entries, not 5"),
        (_set(members=[*MEMBERS[:5], MEMBERS[0]]), "img_set.members", "named twice"),
        (_set(members=[*MEMBERS[:5], "x"]), "img_set.members[5]", "'x' is not in the split's list"),
        (_set(members=[*MEMBERS[:5], "../x"]), "img_set.members[5]", "contains '/'"),
    ],
)
def test_names_file_row_and_field(cirr_root: Path, edit: Any, change: Any, field: str, problem: str) -> None:
    file = cirr_root / "captions" / "cap.rc2.val.json"
    edit(file, change)
    with pytest.raises(BadInput) as caught:
        cirr.read_triplets(cirr_root, "val")
    assert (str(caught.value.file), caught.value.row, caught.value.field) == (str(file), 1, field)
    assert problem in str(caught.value)


def test_published_oddities_are_not_the_readers_to_refuse(cirr_root: Path, edit: Any) -> None:
    file = cirr_root / "captions" / "cap.rc2.test1.json"
    edit(file, _row(caption="", reference="test1-7-0-img0"))
    assert len(cirr.read_triplets(cirr_root, "test1")) == 2


@pytest.mark.parametrize(
    "path",
    ["../../etc/passwd.png", "/etc/x.png", "./dev/../../x.png", "dev\\x.png", "./dev/\x00.png", "./dev/.x.png",
     "./dev/x.txt", ".", "", 7, None],
)  # fmt: skip
def test_paths_cannot_leave_the_data_folder(cirr_root: Path, edit: Any, path: Any) -> None:
    file = cirr_root / "image_splits" / "split.rc2.val.json"
    edit(file, lambda paths: paths.update({"dev-7-0-img0": path}))
    with pytest.raises(BadInput) as caught:
        cirr.image_paths(cirr_root, "val")
    assert caught.value.file == file
    assert caught.value.row == "'dev-7-0-img0'"


def test_two_ids_cannot_share_a_file(cirr_root: Path, edit: Any) -> None:
    file = cirr_root / "image_splits" / "split.rc2.val.json"
    edit(file, lambda paths: paths.update({"dev-7-0-img0": "dev/dev-7-1-img0.png"}))
    with pytest.raises(BadInput, match="is also that of"):
        cirr.image_paths(cirr_root, "val")


def test_unsafe_ids_in_the_split_file(cirr_root: Path, edit: Any) -> None:
    edit(cirr_root / "image_splits" / "split.rc2.val.json", lambda paths: paths.update({"../x": "./dev/x.png"}))
    with pytest.raises(BadInput, match=r"'\.\./x' contains '/'"):
        cirr.read_gallery(cirr_root, "val")


def test_an_id_listed_twice_is_not_silently_lost(cirr_root: Path) -> None:
    file = cirr_root / "image_splits" / "split.rc2.val.json"
    file.write_text('{"a": "./dev/a.png", "b": "./dev/b.png", "a": "./dev/c.png"}', encoding="utf-8")
    with pytest.raises(BadInput, match="key 'a' occurs twice"):
        cirr.read_gallery(cirr_root, "val")


def test_unknown_split(cirr_root: Path) -> None:
    with pytest.raises(BadInput, match="train, val, test1"):
        cirr.read_triplets(cirr_root, "test")

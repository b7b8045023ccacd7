"""What lies among the images and cannot be taken: unlisted it only warns, listed it is an error by name."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks.fashioniq import files as fashioniq
from qure.datasets.validated import ValidatedData
from qure.errors import BadInput, StageFailed


def _file_and_its_twin(path: Path) -> None:
    path.write_bytes(b"first")
    path.with_suffix(".png").write_bytes(b"second")


def _folder_behind_a_link(path: Path) -> None:
    path.symlink_to(path.parents[1] / "captions")


#: Kind -> what the reason says, and what makes it at a path below images/.
KINDS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "link to itself": ("a link that leads nowhere", lambda path: path.symlink_to(path.name)),
    "link out": (
        "a link that leaves the data folder (to /etc/hostname)",
        lambda path: path.symlink_to("/etc/hostname"),
    ),
    "link to nothing": ("a link to nothing: no file is at gone.jpg", lambda path: path.symlink_to("gone.jpg")),
    "link to a folder": ("a folder, not a file", _folder_behind_a_link),
    "folder": ("a folder, not a file", lambda path: path.mkdir()),
    "pipe": ("a pipe, a socket or a device, not a file", lambda path: os.mkfifo(path)),
    "two files": ("two files for image", _file_and_its_twin),
}


@pytest.fixture(scope="module")
def strayed(new_workplace: Any) -> Any:
    """Validated with one stray of every kind and one whose name gives no id; nothing lists any of them."""
    place = new_workplace()
    images = place.data / "fashioniq" / "images"
    for kind, (_, make) in KINDS.items():
        make(images / f"{kind}.jpg")
    (images / "not..an id.jpg").write_bytes(b"stray")
    place.validate("fashioniq")
    return place


def _strays(place: Any) -> list[dict[str, str]]:
    return [row for row in place.bad_rows() if row["rule"] == "stray_file"]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stray_warns_and_the_rest_passes(strayed: Any, kind: str) -> None:
    suffix = "png" if kind == "two files" else "jpg"
    (row,) = (row for row in _strays(strayed) if row["file"] == f"fashioniq/images/{kind}.{suffix}")
    assert row["severity"] == "warning"
    assert KINDS[kind][0] in row["reason"]
    assert "Remove it" in row["remedy"]


def test_only_strays_are_named_and_nothing_is_left_out(strayed: Any) -> None:
    strays = [row["file"] for row in _strays(strayed)]
    assert len(strays) == len(KINDS) + 1
    assert "fashioniq/images/not..an id.jpg" in strays
    result = strayed.result()
    assert result["success"] is True
    (rule,) = (rule for rule in result["rules"] if rule["rule"] == "stray_file")
    assert (rule["rows"], rule["outcome"]) == (len(strays), "warned")
    assert result["excluded"]["fashioniq"]["images"] == []
    ValidatedData(strayed.data, strayed.output).require_unchanged()


@pytest.fixture(scope="module")
def listed(new_workplace: Any) -> tuple[Any, dict[str, str], StageFailed]:
    """The same in the place of listed images: kind -> the image's id."""
    place = new_workplace()
    images = place.data / "fashioniq" / "images"
    ids = fashioniq.split_ids(place.data / "fashioniq", "val", "dress")
    planted = dict(zip(KINDS, ids, strict=False))
    for kind, image in planted.items():
        (images / f"{image}.jpg").unlink()
        KINDS[kind][1](images / f"{image}.jpg")
    with pytest.raises(StageFailed, match="image_unreadable") as caught:
        place.validate("fashioniq")
    return place, planted, caught.value


@pytest.mark.parametrize("kind", KINDS)
def test_in_a_listed_images_place_it_is_an_error(listed: tuple[Any, dict[str, str], StageFailed], kind: str) -> None:
    place, planted, _ = listed
    (row,) = (row for row in place.bad_rows() if row["value"] == repr(planted[kind]))
    assert (row["rule"], row["severity"]) == ("image_unreadable", "error")
    assert KINDS[kind][0] in row["reason"]
    assert row["file"].startswith(f"fashioniq/images/{planted[kind]}.")
    assert row["row"].startswith("fashioniq/image_splits/split.dress.val.json row ")


def test_tolerated_it_is_left_out_and_never_followed(listed: tuple[Any, dict[str, str], StageFailed]) -> None:
    place, planted, _ = listed
    assert not _strays(place)
    result = place.validate("fashioniq", tolerate={"image_unreadable": len(KINDS)})
    assert result["excluded"]["fashioniq"]["images"] == sorted(planted.values())
    data = ValidatedData(place.data, place.output)
    data.require_unchanged()
    with pytest.raises(BadInput, match="a link that leaves the data folder"):
        data.images("fashioniq").read(planted["link out"])


def test_a_picture_replaced_by_a_link_out_is_not_taken_from_the_cache(new_workplace: Any) -> None:
    """The copy outside has the file's size and time: by these alone it would be the file that passed."""
    place = new_workplace()
    image = fashioniq.split_ids(place.data / "fashioniq", "val", "dress")[0]
    assert place.validate("fashioniq")["success"] is True
    file = place.data / "fashioniq" / "images" / f"{image}.jpg"
    file.rename(place.root / "outside.jpg")
    file.symlink_to(place.root / "outside.jpg")
    with pytest.raises(StageFailed, match=f"{image}.*leaves the data folder"):
        place.validate("fashioniq")
    with pytest.raises(BadInput, match="did not pass"):
        ValidatedData(place.data, place.output).require_unchanged()


@pytest.mark.parametrize("file", ["captions/cap.dress.test.json", "truth.json"])
def test_a_pipe_in_the_place_of_an_optional_file_is_not_taken_for_none(workplace: Any, file: str) -> None:
    path = workplace.data / "fashioniq" / file
    path.unlink(missing_ok=True)
    os.mkfifo(path)
    with pytest.raises(BadInput, match=rf"{path.name}: this is a named pipe, not a file\. Put the file there, or"):
        workplace.validate()

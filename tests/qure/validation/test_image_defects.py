"""Every defect that is planted into images is listed by name; tolerated, the image is dropped everywhere."""

import io
import json
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from qure.benchmarks.fashioniq import files as fashioniq
from qure.datasets.image_store import pack_images
from qure.datasets.validated import ValidatedData
from qure.errors import BadInput, StageFailed
from qure.validation import rules


def encoded(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def bomb() -> bytes:
    """A PNG of a few hundred bytes whose header promises 3.6 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    pixels = zlib.compress(bytes(100_000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", pixels) + chunk(b"IEND", b"")


def texture(mode: str, size: tuple[int, int], seed: int) -> Image.Image:
    """A picture that is like no other: coarse noise, which JPEG keeps."""
    noise = np.random.default_rng(seed).integers(0, 256, size=(8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC).convert(mode)


def whole_scan() -> bytes:
    return encoded(texture("RGB", (160, 160), 5), "JPEG", quality=95)


def sixteen_bit() -> Image.Image:
    return Image.fromarray(np.arange(40 * 42, dtype=np.uint16).reshape(42, 40) * 39)


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(texture("RGB", (40, 30), 1), "JPEG", exif=exif)


UNUSUAL: dict[str, Callable[[], bytes]] = {
    "CMYK": lambda: encoded(texture("CMYK", (40, 40), 2), "JPEG"),
    "palette": lambda: encoded(texture("P", (40, 41), 3), "PNG"),
    "16 bit": lambda: encoded(sixteen_bit(), "PNG"),
    "grey": lambda: encoded(texture("L", (40, 43), 4), "PNG"),
    "alpha": lambda: encoded(texture("RGBA", (40, 44), 6), "PNG"),
    "rotated": rotated,
}

#: Defect -> rule, what the reason says, and the file's content made of the good content; None removes the file.
BROKEN: dict[str, tuple[str, str, Callable[[bytes], bytes] | None]] = {
    "missing": ("image_missing", "no image file has this id", None),
    "truncated": ("image_unreadable", "truncated", lambda good: good[: len(good) // 2]),
    "empty": ("image_unreadable", "the file is empty", lambda good: b""),
    "wrong type": ("image_unreadable", "not an image", lambda good: b"<html>404</html>" * 9),
    "bomb": ("image_too_large", "pixels", lambda good: bomb()),
    "tiny": ("image_size", "8", lambda good: encoded(texture("RGB", (8, 9), 7), "PNG")),
    "elongated": ("image_aspect", "20", lambda good: encoded(texture("RGB", (20, 400), 8), "PNG")),
}

#: Pictures that are looked at, not refused.
DOUBTFUL: dict[str, tuple[str, str, Callable[[], bytes]]] = {
    "one colour": (
        "image_blank",
        "every pixel is #0a141e",
        lambda: encoded(Image.new("RGB", (40, 40), (10, 20, 30)), "PNG"),
    ),
    "one colour, JPEG": (
        "image_blank",
        "every pixel is #",
        lambda: encoded(Image.new("RGB", (40, 40), (9, 90, 200)), "JPEG"),
    ),
    "transparent": (
        "image_blank",
        "every pixel is transparent",
        lambda: encoded(Image.new("RGBA", (40, 45), (10, 20, 30, 0)), "PNG"),
    ),
    "PNG without end": (
        "image_damaged",
        "the PNG ends before its last chunk",
        lambda: encoded(texture("RGB", (40, 40), 9), "PNG")[:-12],
    ),
    "GIF without end": (
        "image_damaged",
        "the GIF ends before its last block",
        lambda: encoded(texture("P", (40, 40), 10), "GIF").rstrip(b";"),
    ),
    "damaged scan": (
        "image_damaged",
        "Corrupt JPEG data",
        lambda: whole_scan()[:3000] + bytes(400) + whole_scan()[3400:],
    ),
}
ERRORS = sorted({rule for rule, *_ in BROKEN.values()} | {"image_duplicate"})
WARNINGS = sorted({rule for rule, *_ in DOUBTFUL.values()} | {"image_near_duplicate"})
RULES = sorted({*ERRORS, *WARNINGS})


@pytest.fixture(scope="module")
def broken(new_workplace: Any) -> tuple[Any, dict[str, str], StageFailed]:
    """One training image of every broken and doubtful kind, copies of a val image, and one of every unusual kind."""
    place = new_workplace()
    images = place.data / "fashioniq" / "images"
    train = iter(fashioniq.split_ids(place.data / "fashioniq", "train", "shirt"))
    val = fashioniq.split_ids(place.data / "fashioniq", "val", "shirt")
    planted = {}
    for defect, (_, _, change) in BROKEN.items():
        planted[defect] = next(train)
        path = images / f"{planted[defect]}.jpg"
        good = path.read_bytes()
        path.unlink()
        if change is not None:
            path.write_bytes(change(good))
    for defect, (_, _, make) in DOUBTFUL.items():
        planted[defect] = next(train)
        (images / f"{planted[defect]}.jpg").write_bytes(make())
    copies = {
        "duplicate": lambda picture: (images / f"{val[0]}.jpg").read_bytes(),
        "saved as PNG": lambda picture: encoded(picture, "PNG"),
        "with a comment": lambda picture: with_comment((images / f"{val[0]}.jpg").read_bytes()),
        "saved again": lambda picture: encoded(picture, "JPEG", quality=75),
    }
    for defect, copy in copies.items():
        planted[defect] = next(train)
        with Image.open(images / f"{val[0]}.jpg") as picture:
            (images / f"{planted[defect]}.jpg").write_bytes(copy(picture))
    for make in UNUSUAL.values():
        (images / f"{next(train)}.jpg").write_bytes(make())
    with pytest.raises(StageFailed) as caught:
        place.validate("fashioniq")
    return place, planted, caught.value


def with_comment(jpeg: bytes) -> bytes:
    return jpeg[:2] + b"\xff\xfe\x00\x08hello!" + jpeg[2:]


COPIES = {
    "duplicate": ("image_duplicate", "pixel for pixel"),
    "saved as PNG": ("image_duplicate", "pixel for pixel"),
    "with a comment": ("image_duplicate", "pixel for pixel"),
    "saved again": ("image_near_duplicate", "looks like one of"),
}


@pytest.mark.parametrize("defect", COPIES)
def test_a_copy_of_a_judging_image_names_both_and_shows_both(
    broken: tuple[Any, dict[str, str], StageFailed], defect: str
) -> None:
    place, planted, _ = broken
    (row,) = (row for row in place.bad_rows() if row["value"] == repr(planted[defect]))
    original = fashioniq.split_ids(place.data / "fashioniq", "val", "shirt")[0]
    rule, reason = COPIES[defect]
    assert row["rule"] == rule
    assert reason in row["reason"]
    assert f"{original} of val (fashioniq/images/{original}.jpg)" in row["reason"]
    page = (place.output / "data_docs" / "index.html").read_text()
    for image in (planted[defect], original):
        assert f'" alt="{image}">' in page
    assert '<img src="data:image/jpeg;base64,' in page


@pytest.mark.parametrize("defect", DOUBTFUL)
def test_a_doubtful_picture_warns(broken: tuple[Any, dict[str, str], StageFailed], defect: str) -> None:
    place, planted, _ = broken
    rule, reason = DOUBTFUL[defect][:2]
    (row,) = (row for row in place.bad_rows() if row["value"] == repr(planted[defect]))
    assert (row["rule"], row["severity"]) == (rule, "warning")
    assert reason in row["reason"]


@pytest.mark.parametrize("defect", BROKEN)
def test_broken_image_is_listed(broken: tuple[Any, dict[str, str], StageFailed], defect: str) -> None:
    place, planted, _ = broken
    rule, reason = BROKEN[defect][:2]
    rows = [row for row in place.bad_rows() if row["value"] == repr(planted[defect])]
    assert [row["rule"] for row in rows] == [rule]
    assert reason in rows[0]["reason"]
    assert planted[defect] in rows[0]["file"] or defect == "missing"
    assert rows[0]["row"]


def test_every_rule_about_images_has_a_defect_that_breaks_it() -> None:
    planted_elsewhere = ["image_not_as_packed", "stray_file"]
    found = sorted(rule.name for rule in rules.RULES.values() if rule.about == "image")
    assert found == sorted([*RULES, *planted_elsewhere])


def test_unusual_images_are_no_defects(broken: tuple[Any, dict[str, str], StageFailed]) -> None:
    place, planted, _ = broken
    named = {row["value"] for row in place.bad_rows() if row["severity"] == "error"}
    doubtful = {planted[name] for name in (*DOUBTFUL, "saved again")}
    assert named == {repr(image) for image in planted.values() if image not in doubtful}
    warned = {row["value"] for row in place.bad_rows() if row["rule"] in WARNINGS}
    assert warned == {repr(image) for image in doubtful}


def test_the_stage_fails_with_a_written_result(broken: tuple[Any, dict[str, str], StageFailed]) -> None:
    place, planted, error = broken
    assert error.exit_code == 1
    assert place.result()["success"] is False
    assert "3 x image_unreadable" in str(error)
    assert planted["bomb"] in str(error)
    assert str(place.output / "bad_rows.csv") in str(error)


def test_tolerated_images_are_dropped_everywhere_and_counted(
    broken: tuple[Any, dict[str, str], StageFailed],
) -> None:
    place, planted, _ = broken
    result = place.validate("fashioniq", tolerate=dict.fromkeys(RULES, 3))
    assert result["success"] is True
    assert result["excluded"]["fashioniq"]["images"] == sorted(planted.values())
    assert result["excluded"]["hp-fashioniq"]["images"] == sorted(planted.values())
    counted = {rule["rule"]: rule for rule in result["rules"] if rule["outcome"] == "tolerated"}
    assert sorted(counted) == RULES
    assert counted["image_unreadable"]["rows"] == 3

    left_out = ValidatedData(place.data, place.output).exclusions("fashioniq")
    kept = fashioniq.read_triplets(place.data / "fashioniq", "train", exclusions=left_out)
    named = {image for triplet in kept for image in (triplet.reference, triplet.target)}
    assert named.isdisjoint(planted.values())
    assert result["queries"]["fashioniq/train"] == {"rows": 450, "kept": len(kept)}
    assert len(kept) < 450


def test_one_row_more_than_tolerated_fails(broken: tuple[Any, dict[str, str], StageFailed]) -> None:
    place, _, _ = broken
    with pytest.raises(StageFailed, match="3 x image_unreadable, 2 tolerated"):
        place.validate("fashioniq", tolerate={**dict.fromkeys(RULES, 3), "image_unreadable": 2})
    assert place.result()["excluded"]["fashioniq"]["images"], "what is tolerated is still left out"


def test_shards_are_checked_like_files(new_workplace: Any) -> None:
    place = new_workplace()
    images = place.data / "fashioniq" / "images"
    broken = fashioniq.split_ids(place.data / "fashioniq", "val", "dress")[3]
    (images / f"{broken}.jpg").write_bytes(b"no image")
    pack_images(place.data / "fashioniq", place.root / "packed")
    shutil.rmtree(images)
    (place.root / "packed").rename(place.data / "fashioniq" / "image_shards")
    with pytest.raises(StageFailed, match=broken):
        place.validate("fashioniq")
    (row,) = (row for row in place.bad_rows() if row["severity"] == "error")
    assert row["file"] == f"fashioniq/image_shards/shard-00000.tar: {broken}"
    shard: Path = place.data / "fashioniq" / "image_shards" / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(BadInput, match="the shard has"):
        place.validate("fashioniq")
    assert not place.output.exists()


def _packed(place: Any) -> Path:
    """The place's garments packed into shards, the files removed; returns the folder of shards."""
    root = place.data / "fashioniq"
    pack_images(root, place.root / "packed")
    (place.root / "packed").rename(root / "image_shards")
    shutil.rmtree(root / "images")
    return Path(root / "image_shards")


def test_what_is_not_as_packed_is_named(new_workplace: Any) -> None:
    place = new_workplace()
    first, second = fashioniq.split_ids(place.data / "fashioniq", "val", "dress")[:2]
    beside = place.data / "fashioniq" / "images" / f"{second}.jpg"
    original = beside.read_bytes()
    shards = _packed(place)
    assert place.validate("fashioniq")["success"] is True

    def named() -> dict[str, str]:
        with pytest.raises(StageFailed, match="image_not_as_packed"):
            place.validate("fashioniq")
        return {row["value"]: row["reason"] for row in place.bad_rows() if row["rule"] == "image_not_as_packed"}

    index = json.loads((shards / "index.json").read_text())
    shard, offset, size = index["images"][first]
    file = shards / index["shards"][shard]["file"]
    whole, end = file.read_bytes(), offset + size
    file.write_bytes(whole[: end - 2] + b"XX" + whole[end:])
    beside.parent.mkdir()
    beside.write_bytes(original + b"edited")
    found = named()
    assert found.keys() == {repr(first), repr(second)}
    assert "SHA-256" in found[repr(first)]
    assert "edited since" in found[repr(second)]

    file.write_bytes(whole)
    shutil.rmtree(beside.parent)
    index["images"][first] = index["images"][second]
    del index["packed"]  # as an index of before digests were kept
    (shards / "index.json").write_text(json.dumps(index))
    found = named()
    assert found.keys() == {repr(first)}
    assert f"points at 'images/{second}" in found[repr(first)]


@pytest.mark.parametrize("layout", ["a folder deeper", "a folder flatter"])
def test_files_in_the_wrong_place_are_hinted_at(new_workplace: Any, layout: str) -> None:
    place = new_workplace()
    if layout == "a folder deeper":
        images = place.data / "fashioniq" / "images"
        moved = fashioniq.split_ids(place.data / "fashioniq", "val", "dress")[0]
        (images / "dress").mkdir()
        (images / f"{moved}.jpg").rename(images / "dress" / f"{moved}.jpg")
        expected, training_set = f"fashioniq/images/dress/{moved}.jpg", "fashioniq"
    else:
        (path,) = (place.data / "cirr" / "train" / "3").glob("*-0-img0.png")
        path.rename(path.parents[1] / path.name)
        expected, training_set = f"cirr/train/{path.name}", "cirr"
    with pytest.raises(StageFailed, match="image_missing"):
        place.validate(training_set)
    (row,) = (row for row in place.bad_rows() if row["rule"] == "image_missing")
    assert f"a file of its name lies at {expected}" in row["reason"]


def test_a_link_to_nothing_and_a_stray_file(new_workplace: Any) -> None:
    place = new_workplace()
    images = place.data / "fashioniq" / "images"
    dangling = fashioniq.split_ids(place.data / "fashioniq", "val", "dress")[0]
    (images / f"{dangling}.jpg").unlink()
    (images / f"{dangling}.jpg").symlink_to("gone.jpg")
    (images / "not..an id.jpg").write_bytes(b"stray")
    with pytest.raises(StageFailed, match="image_unreadable"):
        place.validate("fashioniq")
    (row,) = (row for row in place.bad_rows() if row["severity"] == "error")
    assert row["value"] == repr(dangling)
    assert "a link to nothing: no file is at gone.jpg" in row["reason"]
    tolerated = place.validate("fashioniq", tolerate={"image_unreadable": 1})
    assert tolerated["excluded"]["fashioniq"]["images"] == [dangling]
    ValidatedData(place.data, place.output).require_unchanged()

"""Every defect that is planted into images is listed by name; tolerated, the image is dropped everywhere."""

import io
import shutil
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

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


def rotated() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(Image.new("RGB", (40, 30), "red"), "JPEG", exif=exif)


UNUSUAL: dict[str, Callable[[], bytes]] = {
    "CMYK": lambda: encoded(Image.new("CMYK", (40, 40)), "JPEG"),
    "palette": lambda: encoded(Image.new("P", (40, 41)), "PNG"),
    "16 bit": lambda: encoded(Image.new("I;16", (40, 42)), "PNG"),
    "grey": lambda: encoded(Image.new("L", (40, 43)), "PNG"),
    "alpha": lambda: encoded(Image.new("RGBA", (40, 44)), "PNG"),
    "rotated": rotated,
}

#: Defect -> rule, what the reason says, and the file's content made of the good content; None removes the file.
BROKEN: dict[str, tuple[str, str, Callable[[bytes], bytes] | None]] = {
    "missing": ("image_missing", "no image file has this id", None),
    "truncated": ("image_unreadable", "truncated", lambda good: good[: len(good) // 2]),
    "empty": ("image_unreadable", "the file is empty", lambda good: b""),
    "wrong type": ("image_unreadable", "not an image", lambda good: b"<html>404</html>" * 9),
    "bomb": ("image_too_large", "pixels", lambda good: bomb()),
    "tiny": ("image_size", "8", lambda good: encoded(Image.new("RGB", (8, 9)), "PNG")),
    "elongated": ("image_aspect", "20", lambda good: encoded(Image.new("RGB", (20, 400)), "PNG")),
}
RULES = sorted({rule for rule, *_ in BROKEN.values()} | {"image_duplicate"})


@pytest.fixture(scope="module")
def broken(new_workplace: Any) -> tuple[Any, dict[str, str], StageFailed]:
    """One training image of every broken kind, one duplicate, and one image of every unusual but good kind."""
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
    planted["duplicate"] = next(train)
    shutil.copy(images / f"{val[0]}.jpg", images / f"{planted['duplicate']}.jpg")
    for make in UNUSUAL.values():
        (images / f"{next(train)}.jpg").write_bytes(make())
    with pytest.raises(StageFailed) as caught:
        place.validate("fashioniq")
    return place, planted, caught.value


@pytest.mark.parametrize("defect", [*BROKEN, "duplicate"])
def test_broken_image_is_listed(broken: tuple[Any, dict[str, str], StageFailed], defect: str) -> None:
    place, planted, _ = broken
    rule, reason = BROKEN[defect][:2] if defect != "duplicate" else ("image_duplicate", "byte for byte")
    rows = [row for row in place.bad_rows() if row["value"] == repr(planted[defect])]
    assert [row["rule"] for row in rows] == [rule]
    assert reason in rows[0]["reason"]
    assert planted[defect] in rows[0]["file"] or defect == "missing"
    assert rows[0]["row"]


def test_every_rule_about_images_has_a_defect_that_breaks_it() -> None:
    assert sorted(rule.name for rule in rules.RULES.values() if rule.about == "image") == RULES


def test_unusual_images_are_no_defects(broken: tuple[Any, dict[str, str], StageFailed]) -> None:
    place, planted, _ = broken
    named = {row["value"] for row in place.bad_rows() if row["severity"] == "error"}
    assert named == {repr(image) for image in planted.values()}


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

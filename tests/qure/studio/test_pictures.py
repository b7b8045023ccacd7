"""What visitors bring: pictures are kept anew, everything else gets a sentence."""

import errno
import io
import os
import struct
import zlib
from typing import Any

import pytest
from PIL import Image

from qure.studio.pictures import KEPT, MOST_BYTES


def _file(size: tuple[int, int] = (64, 48), form: str = "PNG", **options: Any) -> bytes:
    content = io.BytesIO()
    Image.new("RGB", size, "red").save(content, form, **options)
    return content.getvalue()


def _bomb() -> bytes:
    """A PNG of a few bytes that claims 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b"\0" * 1000))
        + chunk(b"IEND", b"")
    )


def test_a_picture_is_kept_smaller_and_can_be_searched_with(visitor: Any, project: Any) -> None:
    answer = visitor.post("/uploads", _file((3000, 1500), "JPEG"))
    assert answer.status_code == 201
    reference = answer.json()["reference"]
    kept = visitor.get(f"/uploads/{reference.removeprefix('upload:')}")
    assert kept.headers["content-type"] == "image/png"
    assert Image.open(io.BytesIO(kept.content)).size == (KEPT, KEPT // 2)
    found = visitor.client.get("/", params={"r": reference, "t": "is blue", "group": "dress"})
    assert "Answers of" in found.text
    again = visitor.post("/uploads", _file((3000, 1500), "JPEG"))
    assert again.json()["reference"] == reference


def test_what_hides_in_a_picture_is_not_kept(visitor: Any) -> None:
    hiding = _file() + b"<script>window.ran = 1</script>"
    answer = visitor.post("/uploads", hiding)
    kept = visitor.get(f"/uploads/{answer.json()['reference'].removeprefix('upload:')}")
    assert b"script" not in kept.content


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "the file is empty"),
        (b"<html><script>alert(1)</script>", "not an image of a known type"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "not an image of a known type"),
        (_file()[:60], "cannot be"),
        (_bomb(), "pixels"),
    ],
    ids=["empty", "html", "svg", "cut", "bomb"],
)
def test_what_is_no_picture_gets_a_sentence(visitor: Any, studio: Any, content: bytes, words: str) -> None:
    answer = visitor.post("/uploads", content)
    assert answer.status_code == 400
    assert words in answer.json()["error"]
    assert not any(studio.uploads._folder.glob("*"))


def test_a_full_disk_gets_a_sentence(visitor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(path: Any) -> Any:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr("qure.studio.pictures.atomic_file", full)
    answer = visitor.post("/uploads", _file())
    assert answer.status_code == 503
    assert answer.json()["error"] == "the picture cannot be kept: No space left on device"


def test_a_hundred_megabytes_get_a_sentence(visitor: Any) -> None:
    answer = visitor.post("/uploads", _file() + b"\0" * 100_000_000)
    assert answer.status_code == 400
    assert f"larger than {MOST_BYTES // 1_000_000} MB" in answer.json()["error"]

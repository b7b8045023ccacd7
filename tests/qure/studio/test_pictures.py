"""What visitors bring: pictures are kept anew, everything else gets a sentence."""

import asyncio
import errno
import io
import os
import struct
import zlib
from typing import Any

import pytest
from PIL import Image
from starlette.requests import Request

from qure.errors import BadInput
from qure.studio import pictures
from qure.studio.pages import pictures as page
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


def test_what_does_not_end_is_not_heard_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "MOST_BYTES", 1000)
    monkeypatch.setattr(page, "_HEARD_OUT", 3000)
    sent = []

    async def endless() -> dict[str, Any]:
        sent.append(100)
        assert sum(sent) < 10_000, "it is still listened to"
        return {"type": "http.request", "body": b"x" * 100, "more_body": True}

    with pytest.raises(BadInput, match="larger than"):
        asyncio.run(page._body(Request({"type": "http"}, endless)))
    assert sum(sent) > 3000, "else browsers show a broken connection"


def test_too_many_pictures_get_a_sentence(visitor: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_PICTURES", 1)
    first = visitor.post("/uploads", _file())
    assert visitor.post("/uploads", _file()).json() == first.json(), "the same picture is there already"
    answer = visitor.post("/uploads", _file((32, 32)))
    assert answer.status_code == 400
    assert "1 pictures were brought already. Remove some of them" in answer.json()["error"]


@pytest.mark.parametrize(
    ("place", "words"),
    [
        (f"/uploads/{'0' * 64}", "There is no such picture."),
        ("/uploads/..%2fanswers.db", "no such"),
        ("/uploads/answers.db", "There is no such picture."),
        ("/static/studio.py", "There is no such file."),
    ],
)
def test_what_is_not_there_is_said(visitor: Any, place: str, words: str) -> None:
    answer = visitor.get(place)
    assert (answer.status_code, words in answer.text) == (404, True)


def test_a_browser_that_asks_for_an_icon_gets_none(visitor: Any) -> None:
    answer = visitor.get("/favicon.ico")
    assert (answer.status_code, answer.content) == (204, b"")

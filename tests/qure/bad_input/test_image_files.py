"""Bad input, first row: images. Listed by name and reason; they fail the stage unless tolerated, or are read right."""

import io
import json
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Validate = Callable[[], tuple[int, str]]
Qure = Callable[..., tuple[int, str]]


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-200])


def _web_page(path: Path) -> None:
    path.write_text("<html>404 not found</html>")


def _bomb(path: Path) -> None:
    """A small PNG whose header promises 3.6 billion pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99))))


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "missing": (Path.unlink, "no image file has this id"),
    "truncated": (_truncate, "cannot be decoded"),
    "empty": (_empty, "the file is empty"),
    "wrong type": (_web_page, "not an image of a known type"),
    "bomb": (_bomb, "refused before it is decoded"),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_image(project: Any, validate: Validate, qure: Qure, kind: str) -> None:
    break_it, reason = BAD[kind]
    image = project.image()
    break_it(image)
    code, said = validate()
    assert code == 1
    assert image.stem in said
    assert reason in said
    assert "artifacts/fashioniq/validation/bad_rows.csv" in said
    assert json.loads((project.output / "result.json").read_text())["success"] is False
    code, said = qure("train", "--training-set", "fashioniq")
    assert (code, "did not pass validation" in said) == (2, True)
    assert {path.name for path in (project.artifacts / "fashioniq").iterdir()} == {"validation"}


def _saved(image: Image.Image, kind: str, **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def test_unusual_images_are_decoded_right(project: Any, validate: Validate) -> None:
    """CMYK, palette, 16 bit, grey, alpha and EXIF: they pass, and every one shows the colour it was made with."""
    from qure.images import prepare_image

    exif = Image.Exif()
    exif[0x0112] = 8
    palette = Image.new("P", (40, 41), 1)
    palette.putpalette([0, 0, 0, 250, 0, 0])
    unusual = {
        "CMYK": (_saved(Image.new("CMYK", (40, 40), (0, 255, 255, 0)), "JPEG", quality=95), (255, 0, 0)),
        "palette": (_saved(palette, "PNG"), (250, 0, 0)),
        "16 bit": (_saved(Image.new("I;16", (40, 42), 65535), "PNG"), (255, 255, 255)),
        "grey": (_saved(Image.new("L", (40, 43), 128), "PNG"), (128, 128, 128)),
        "alpha": (_saved(Image.new("RGBA", (40, 44), (0, 0, 250, 255)), "PNG"), (0, 0, 250)),
        "EXIF": (_saved(Image.new("RGB", (40, 45), (0, 250, 0)), "JPEG", exif=exif, quality=95), (0, 250, 0)),
    }
    for place, (content, _) in enumerate(unusual.values()):
        project.image(place=place).write_bytes(content)
    assert validate()[0] == 0
    for place, (kind, (_, colour)) in enumerate(unusual.items()):
        centre = prepare_image(project.image(place=place).read_bytes(), 32, name=kind)[16, 16]
        assert centre.tolist() == pytest.approx(colour, abs=6), kind


def test_one_more_than_tolerated_is_too_many(project: Any, validate: Validate) -> None:
    for place in (0, 1):
        project.image(place=place).unlink()
    project.settings(validation={"tolerate": {"image_missing": 1}})
    code, said = validate()
    assert code == 1
    assert "2 x image_missing, 1 tolerated" in said

"""Every image mode becomes the RGB that a person would see, the rest is refused by name; preparation as published."""

import io
import json
import struct
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from qure import images
from qure.images import ImageError, decode_image, normalise, pad_to_ratio, prepare_image, prepare_pixels


def encoded(image: Image.Image, kind: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def pixel(image: Image.Image, x: int = 1, y: int = 1) -> tuple[int, ...]:
    assert image.mode == "RGB"
    return image.getpixel((x, y))


def close(found: tuple[int, ...], expected: tuple[int, ...], tolerance: int = 3) -> bool:
    return all(abs(a - b) <= tolerance for a, b in zip(found, expected, strict=True))


@pytest.mark.parametrize(
    ("mode", "colour", "kind", "expected"),
    [
        ("RGB", (200, 30, 90), "PNG", (200, 30, 90)),
        ("RGB", (200, 30, 90), "JPEG", (200, 30, 90)),
        ("RGB", (200, 30, 90), "WEBP", (200, 30, 90)),
        ("RGB", (200, 30, 90), "BMP", (200, 30, 90)),
        ("L", 77, "PNG", (77, 77, 77)),
        ("L", 77, "JPEG", (77, 77, 77)),
        ("1", 1, "PNG", (255, 255, 255)),
        ("LA", (77, 255), "PNG", (77, 77, 77)),
        ("LA", (77, 0), "PNG", (255, 255, 255)),
        ("RGBA", (200, 30, 90, 255), "PNG", (200, 30, 90)),
        ("RGBA", (200, 30, 90, 0), "PNG", (255, 255, 255)),
        ("RGBA", (0, 0, 0, 51), "PNG", (204, 204, 204)),
        ("CMYK", (0, 255, 255, 0), "TIFF", (255, 0, 0)),
        ("CMYK", (0, 255, 255, 0), "JPEG", (254, 0, 0)),
        ("YCbCr", (150, 44, 21), "JPEG", (0, 255, 0)),
        ("I;16", 65535, "PNG", (255, 255, 255)),
        ("I;16", 257 * 40, "PNG", (40, 40, 40)),
        ("I;16", 257 * 40, "TIFF", (40, 40, 40)),
        ("I;16B", 257 * 40, "TIFF", (40, 40, 40)),
    ],
)
def test_mode_becomes_rgb(mode, colour, kind, expected):
    options = {"quality": 100} if kind in ("JPEG", "WEBP") else {}
    image = decode_image(encoded(Image.new(mode, (8, 6), colour), kind, **options), "x")
    assert image.size == (8, 6)
    assert close(pixel(image), expected, tolerance=4)


def test_palette_without_transparency():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    for kind in ("PNG", "GIF"):
        assert pixel(decode_image(encoded(image, kind), "x")) == (10, 200, 30)


def test_palette_with_transparency_lies_on_white():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 30])
    image.putpixel((0, 0), 0)
    for kind in ("PNG", "GIF"):
        found = decode_image(encoded(image, kind, transparency=1), "x")
        assert pixel(found) == (255, 255, 255)
        assert pixel(found, 0, 0) == (0, 0, 0)


def test_grey_with_a_transparent_value_lies_on_white():
    assert pixel(decode_image(encoded(Image.new("L", (4, 4), 9), "PNG", transparency=9), "x")) == (255, 255, 255)


def test_sixteen_bit_rgb_png():
    rows = (b"\x00" + struct.pack(">3H", 65535, 257 * 40, 0) * 2) * 2
    chunks = [(b"IHDR", struct.pack(">2I5B", 2, 2, 16, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    assert pixel(decode_image(png(chunks), "x")) == (255, 40, 0)


def png(chunks: list[tuple[bytes, bytes]]) -> bytes:
    parts = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body)) for kind, body in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    upright = Image.new("RGB", (6, 4), "black")
    upright.paste("white", (0, 0, 3, 2))  # the upper left quarter
    undo = {
        1: None,
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }[orientation]
    stored = upright.transpose(undo) if undo is not None else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    for kind in ("PNG", "TIFF"):
        found = decode_image(encoded(stored, kind, exif=exif), "x")
        assert found.size == (6, 4)
        assert np.array_equal(np.asarray(found), np.asarray(upright))


def test_exif_orientation_of_converted_images_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(Image.new("CMYK", (6, 4)), "JPEG", exif=exif), "x").size == (4, 6)


def test_damaged_exif_data_is_ignored():
    data = encoded(Image.new("RGB", (6, 4), "red"), "JPEG", exif=b"Exif\x00\x00MM\x00\x2a\xff\xff\xff\xff")
    assert decode_image(data, "x").size == (6, 4)


@pytest.mark.parametrize("exif", [b"XX\x00\x2a\x00\x00\x00\x08", b"II\x2a\x00\x08\x00\x00"])
@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_exif_data_that_pillow_cannot_read_is_ignored(kind, exif):
    data = encoded(Image.new("RGB", (6, 4), "red"), kind, exif=b"Exif\x00\x00" + exif)
    with pytest.raises((SyntaxError, struct.error)), Image.open(io.BytesIO(data)) as opened:
        opened.getexif()
    assert decode_image(data, "x").size == (6, 4)


def test_only_the_first_frame_counts():
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert pixel(decode_image(data, "x")) == (255, 0, 0)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"<!DOCTYPE html><title>404</title>", "not an image of a known type, it begins with b'<!DOCTYP'"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "not an image|cannot be read"),
        (encoded(Image.effect_noise((64, 64), 50), "JPEG")[:900], "truncated"),
        (encoded(Image.effect_noise((64, 64), 50), "PNG")[:900], "truncated"),
        (encoded(Image.new("F", (4, 4), 0.5), "TIFF"), "mode 'F'"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 4\n", "not an image of a known type"),
    ],
    ids=["empty", "web page", "header only", "cut JPEG", "cut PNG", "floating point", "PostScript"],
)
def test_unusable_file_is_refused_by_name_and_reason(data, reason):
    with pytest.raises(ImageError, match=reason) as caught:
        decode_image(data, "data/images/B00X.jpg")
    assert caught.value.name == "data/images/B00X.jpg"
    assert str(caught.value).startswith("data/images/B00X.jpg: ")
    assert caught.value.exit_code == 2


def test_bomb_is_refused_before_it_is_decoded():
    header = struct.pack(">2I5B", 40_000, 4_000, 8, 2, 0, 0, 0)
    bomb = png([(b"IHDR", header), (b"IDAT", zlib.compress(b"\x00" * 100_000)), (b"IEND", b"")])
    with pytest.raises(ImageError, match="40000 x 4000 pixels"):
        decode_image(bomb, "x")


def test_image_of_the_largest_size_is_taken(monkeypatch):
    monkeypatch.setattr(images, "MAX_PIXELS", 24)
    assert decode_image(encoded(Image.new("RGB", (6, 4)), "PNG"), "x").size == (6, 4)
    with pytest.raises(ImageError, match="more than 24"):
        decode_image(encoded(Image.new("RGB", (5, 5)), "PNG"), "x")


def test_image_that_padding_would_blow_up_is_refused():
    thin = encoded(Image.new("RGB", (60_000, 1)), "PNG")
    with pytest.raises(ImageError, match="60000 x 1 pixels are too elongated"):
        prepare_image(thin, 64, name="x")


# --- preparation as published ---


@pytest.mark.parametrize(
    ("size", "padded"),
    [
        ((100, 100), (100, 100)),
        ((124, 100), (124, 100)),
        ((125, 100), (125, 100)),  # not below 1.25, but nothing is missing
        ((130, 100), (130, 104)),
        ((100, 130), (104, 130)),
        ((131, 100), (131, 104)),  # 4.8 missing pixels: two on each side
        ((1000, 10), (1000, 800)),
    ],
)
def test_padding_size(size, padded):
    assert pad_to_ratio(Image.new("RGB", size, "red")).size == padded


def test_padding_is_black_and_centred():
    padded = np.asarray(pad_to_ratio(Image.new("RGB", (250, 100), "red")))
    assert padded.shape == (200, 250, 3)
    assert not padded[:50].any()
    assert not padded[150:].any()
    assert (padded[50:150] == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("size", "scaled", "corner"),
    [
        ((100, 100), (64, 64), (0, 0)),
        ((120, 100), (76, 64), (6, 0)),  # 76.8 cut to 76, half the rest on each side
        ((110, 100), (70, 64), (3, 0)),
        ((107, 100), (68, 64), (2, 0)),
        ((105, 100), (67, 64), (2, 0)),  # half of 3 rounds to the even 2
        ((102, 100), (65, 64), (0, 0)),  # half of 1 rounds to the even 0
        ((100, 120), (64, 76), (0, 6)),
        ((64, 70), (64, 70), (0, 3)),  # the short side fits: nothing is resampled
    ],
)
def test_resize_and_crop(size, scaled, corner):
    noise = Image.effect_noise(size, 80).convert("RGB")
    expected = noise.resize(scaled, Image.Resampling.BICUBIC) if size != scaled else noise
    left, top = corner
    found = prepare_pixels(noise, 64)
    assert np.array_equal(found, np.asarray(expected)[top : top + 64, left : left + 64])


def test_elongated_image_keeps_its_middle():
    image = Image.new("RGB", (400, 100), "black")
    image.paste("red", (150, 0, 250, 100))
    found = prepare_image(encoded(image, "PNG"), 32, name="x")
    # padded to 400 x 320, scaled to 40 x 32, cropped to 32 x 32: the red square is 10 x 10 in the middle
    assert (found[16, 16] == (255, 0, 0)).all()
    assert found[:8].max() == 0
    assert found[:, :8].max() == 0
    assert found.dtype == np.uint8


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 300), st.integers(1, 300), st.sampled_from([16, 64, 224]))
def test_any_size_becomes_a_square(width, height, size):
    assert prepare_pixels(Image.new("RGB", (width, height), "red"), size).shape == (size, size, 3)


def test_every_size_is_prepared_as_torchvision_does_for_the_published_code(helper):
    published = helper("published_images")
    recorded = json.loads(published.RECORDING.read_text())
    found = {}
    for size in published.sizes():
        for mode in published.MODES:
            data = encoded(published.picture(size, mode), "PNG", compress_level=1)
            for edge in published.EDGES:
                (values,) = normalise(prepare_image(data, edge, name="x")[None]).numpy()
                found[f"{size[0]}x{size[1]} {mode} {edge}"] = published.digest(values)
    assert len(recorded) > 900
    assert {name for name in recorded if found[name] != recorded[name]} == set()


def test_normalisation_is_clips():
    pixels = np.zeros((2, 4, 4, 3), dtype=np.uint8)
    pixels[1] = (255, 128, 0)
    found = normalise(pixels)
    assert found.shape == (2, 3, 4, 4)
    assert found.is_contiguous()
    expected = [(1 - 0.48145466) / 0.26862954, (128 / 255 - 0.4578275) / 0.26130258, -0.40821073 / 0.27577711]
    assert found[1, :, 2, 3].tolist() == pytest.approx(expected, abs=1e-6)

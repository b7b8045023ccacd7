"""What a picture shows: the same in another file, near when saved again, blank or damaged."""

import io

import imagehash
import numpy as np
import pytest
from PIL import Image

from qure.images import MAX_PIXELS
from qure.validation.decode import decoded_facts
from qure.validation.pixels import NEAR_BITS, as_words, damage_of, look_of, near_pairs, perceptual_hashes, whole_jpeg


def picture(seed: int, size: tuple[int, int] = (120, 160)) -> Image.Image:
    noise = np.random.default_rng(seed).integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(size, Image.Resampling.BICUBIC)


def saved(image: Image.Image, kind: str = "JPEG", **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def opened(data: bytes) -> Image.Image:
    return Image.open(io.BytesIO(data)).convert("RGB")


def hashes(images: list[Image.Image]) -> tuple[np.ndarray, np.ndarray]:
    looks = [look_of(image) for image in images]
    colours = np.stack([np.frombuffer(bytes.fromhex(look.colours), dtype=np.uint8) for look in looks])
    return as_words(perceptual_hashes([look.grey for look in looks])), colours


def test_equal_pixels_are_equal_and_one_pixel_makes_another_picture() -> None:
    image = picture(1)
    assert look_of(image) == look_of(opened(saved(image, "PNG")))
    changed = image.copy()
    changed.putpixel((3, 3), (0, 0, 0) if image.getpixel((3, 3)) != (0, 0, 0) else (9, 9, 9))
    assert look_of(changed).pixels != look_of(image).pixels
    assert look_of(image.resize((160, 120))).pixels != look_of(image).pixels


def test_hashes_of_many_are_those_of_the_library_one_by_one() -> None:
    images = [picture(seed, size) for seed in range(30) for size in ((64, 64), (120, 160), (500, 40), (5, 7))]
    found = perceptual_hashes([look_of(image).grey for image in images])
    small = [image.resize((32, 32), Image.Resampling.BOX, reducing_gap=1.0) for image in images]
    assert found == [np.packbits(imagehash.phash(one).hash).tobytes().hex() for one in small]
    assert len(set(found)) > 25
    assert perceptual_hashes([]) == []


@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_jpegs_pixels_are_those_that_pillow_decodes(mode: str) -> None:
    taken = 0
    for seed, size in enumerate([(64, 64), (1, 1), (17, 33), (200, 7), (121, 160)]):
        for quality in (20, 75, 100):
            for options in ({}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}):
                data = saved(picture(seed, size).convert(mode), quality=quality, **options)
                image = whole_jpeg(data, Image.open(io.BytesIO(data)))
                assert image is not None
                assert image.tobytes() == opened(data).tobytes()
                taken += 1
    assert taken == 60


def test_other_files_are_left_to_pillow() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, whole = io.BytesIO(), saved(picture(1))
    picture(1).save(turned, "JPEG", exif=exif)
    files = [turned.getvalue(), saved(picture(1).convert("CMYK")), saved(picture(1), "PNG"), whole[:-100]]
    assert [whole_jpeg(data, Image.open(io.BytesIO(data))) for data in files] == [None] * 4


@pytest.mark.parametrize("quality", [50, 75, 90])
def test_saved_again_is_near_and_nothing_else_is(quality: int) -> None:
    images = [picture(seed) for seed in range(40)]
    again = [opened(saved(image, quality=quality)) for image in reversed(images)]
    assert near_pairs(*hashes(images), *hashes(again)) == [(row, 39 - row) for row in range(40)]


def test_the_same_garment_in_another_colour_is_another_picture() -> None:
    image = picture(2)
    red, green, blue = image.split()
    recoloured = Image.merge("RGB", (blue, green, red))
    assert near_pairs(*hashes([image]), *hashes([recoloured])) == []


def test_near_pairs_are_those_of_a_plain_loop() -> None:
    generator = np.random.default_rng(3)
    ours = generator.integers(0, 2**63, size=(700, 4), dtype=np.uint64)
    others = generator.integers(0, 2**63, size=(50, 4), dtype=np.uint64)
    for row in range(0, 700, 7):
        others_row = others[row % 50].copy()
        for bit in generator.choice(250, size=row % 16, replace=False):
            others_row[bit // 64] ^= np.uint64(1 << int(bit % 64))
        ours[row] = others_row
    colours = np.zeros((700, 192), dtype=np.uint8)
    expected = []
    for row in range(700):
        apart = [sum(int(a ^ b).bit_count() for a, b in zip(ours[row], other, strict=True)) for other in others]
        if min(apart) <= NEAR_BITS:
            expected.append((row, int(np.argmin(apart))))
    assert len(expected) > 40
    assert near_pairs(ours, colours, others, colours[:50]) == expected


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP"])
def test_whole_files_are_not_damaged(kind: str) -> None:
    assert damage_of(saved(picture(4), kind)) is None
    assert damage_of(saved(picture(4).convert("L"), kind)) is None


def test_progressive_and_trailing_bytes_are_whole() -> None:
    assert damage_of(saved(picture(4), quality=90, progressive=True)) is None
    assert damage_of(saved(picture(4)) + b"added by a camera") is None


@pytest.mark.parametrize("progressive", [False, True])
def test_a_hole_in_the_scan_is_damage(progressive: bool) -> None:
    whole = saved(picture(5, (400, 400)), quality=95, progressive=progressive)
    middle = len(whole) // 2
    hole = whole[:middle] + bytes(600) + whole[middle + 600 :]
    opened(hole)  # Pillow says nothing
    assert "Corrupt JPEG data" in str(damage_of(hole))


def test_a_png_without_its_end_is_damage_and_is_decoded_all_the_same() -> None:
    cut = saved(picture(6), "PNG")[:-12]
    opened(cut)
    assert damage_of(cut) == "the PNG ends before its last chunk (IEND)"


@pytest.mark.parametrize(
    ("kind", "last"), [("PNG", "the PNG ends before its last chunk (IEND)"), ("WEBP", "the WebP ends before its last")]
)
def test_a_file_that_ends_inside_a_chunk_is_damage(kind: str, last: str) -> None:
    whole = saved(picture(6), kind)
    for kept in (len(whole) // 2, len(whole) - 1):
        assert str(damage_of(whole[:kept])).startswith(last)


@pytest.mark.parametrize("size", [(1, 12_000), (12_000, 1)])
def test_a_picture_that_padding_would_make_too_large_is_refused(size: tuple[int, int]) -> None:
    facts = decoded_facts(saved(Image.new("L", size), "PNG"))
    assert facts.refused == f"{size[0]} x {size[1]} pixels, padded more than {MAX_PIXELS}"
    assert (facts.width, facts.unreadable) == (0, None)


def test_a_bit_of_a_png_that_has_turned_is_damage_or_cannot_be_decoded() -> None:
    """Stored as they are, so that a turned bit is a turned bit of one pixel. Pillow compares no chunk's checksum."""
    whole = saved(picture(7), "PNG", compress_level=0)
    facts = decoded_facts(whole)
    assert (facts.unreadable, facts.damaged) == (None, None)
    for place in np.linspace(8, len(whole) - 1, 60, dtype=int):
        turned = bytearray(whole)
        turned[place] ^= 1
        facts = decoded_facts(bytes(turned))
        assert facts.unreadable or facts.damaged, place
    checksum = bytearray(whole)
    checksum[-13] ^= 1  # of the last chunk of pixels
    opened(bytes(checksum))
    assert damage_of(bytes(checksum)) == "the PNG's chunk IDAT is not what its checksum says"


def test_a_gif_cut_inside_its_picture_is_damage_whatever_its_last_byte_is() -> None:
    whole = saved(picture(8).convert("P"), "GIF")
    assert damage_of(whole) is None
    assert damage_of(whole + b"\0\0 and more") is None
    assert damage_of(whole[:-1] + b"\x07;") == "the GIF ends before its last block", "a block of no known kind"
    for kept in (len(whole) // 2, len(whole) - 1):
        for last in (b"", b";"):
            if whole[:kept] + last != whole:
                assert damage_of(whole[:kept] + last) == "the GIF ends before its last block"


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "GIF", "WEBP", "BMP", "TIFF", "PPM"])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_a_file_cut_anywhere_is_damaged_or_cannot_be_decoded(kind: str, mode: str) -> None:
    whole = saved(picture(9).convert(mode), kind)
    facts = decoded_facts(whole)
    assert (facts.unreadable, facts.damaged) == (None, None)
    for kept in np.linspace(1, len(whole) - 1, 40, dtype=int):
        facts = decoded_facts(whole[:kept])
        assert facts.unreadable or facts.damaged, f"{kept} of {len(whole)} bytes"


def test_a_hole_in_the_scan_of_a_cmyk_jpeg_is_damage() -> None:
    whole = saved(picture(5, (400, 400)).convert("CMYK"), quality=95)
    assert damage_of(whole) is None
    middle = len(whole) // 2
    assert "Corrupt JPEG data" in str(damage_of(whole[:middle] + bytes(600) + whole[middle + 600 :]))


def faint(opacity: int, seen: int = 0) -> Image.Image:
    """A picture of 100 x 100 pixels of that opacity, of which the first `seen` are fully opaque."""
    alpha = np.full(10_000, opacity, dtype=np.uint8)
    alpha[:seen] = 255
    image = picture(11, (100, 100)).convert("RGBA")
    image.putalpha(Image.fromarray(alpha.reshape(100, 100)))
    return image


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
@pytest.mark.parametrize(
    ("opacity", "seen", "blank"),
    [
        (0, 0, "every pixel is transparent"),
        (16, 0, "every pixel is transparent"),
        (1, 9, "nearly every pixel is transparent"),
        (0, 10, None),
        (60, 0, None),
    ],
)
def test_a_picture_of_which_hardly_anything_is_seen_is_blank(
    kind: str, opacity: int, seen: int, blank: str | None
) -> None:
    options = {"lossless": True, "exact": True} if kind == "WEBP" else {}
    assert decoded_facts(saved(faint(opacity, seen), kind, **options)).blank == blank


@pytest.mark.parametrize("frames", [1, 3])
@pytest.mark.parametrize("lossless", [False, True])
def test_a_webp_cut_by_any_number_of_bytes_is_damaged_or_cannot_be_decoded(frames: int, lossless: bool) -> None:
    stream = io.BytesIO()
    pictures = [picture(seed, (64, 64)) for seed in range(frames)]
    pictures[0].save(stream, "WEBP", lossless=lossless, save_all=True, append_images=pictures[1:], quality=40)
    whole = stream.getvalue()
    facts = decoded_facts(whole)
    assert (facts.unreadable, facts.damaged) == (None, None)
    for kept in (*range(1, len(whole) - 12, max(len(whole) // 50, 1)), *range(len(whole) - 12, len(whole))):
        facts = decoded_facts(whole[:kept])
        assert facts.unreadable or facts.damaged, f"{kept} of {len(whole)} bytes"

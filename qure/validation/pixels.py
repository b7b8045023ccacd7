"""What a decoded image shows, and whether its file is whole. Light to import, because worker processes do."""

import hashlib
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import simplejpeg
from PIL import Image
from scipy.fft import dct

#: Edge of the perceptual hash: two pictures are compared by 64 bits of their lowest frequencies. Higher ones are
#: noise in a smooth picture.
HASH_EDGE = 8

#: What may tell that an image lies on its side.
_TURNING = frozenset(("exif", "xmp"))

#: Edge of the thumbnail that the hash is made of: four pixels per bit and direction, `imagehash.phash`'s own choice.
_THUMBNAIL = 4 * HASH_EDGE

#: Edge of the grid of mean colours, without which a garment in two colours would be one picture to the hash.
COLOUR_EDGE = 8

#: Channels that differ by no more show one colour: what JPEG makes of it.
_ONE_COLOUR = 4

#: libjpeg's words for a scan that is not what the header promises; it decodes such a file all the same, and Pillow
#: says nothing.
_DAMAGED = ("Corrupt JPEG data", "Premature end of JPEG file", "Inconsistent progression sequence")

_PNG = b"\x89PNG\r\n\x1a\n"
_GIF_EXTENSION, _GIF_IMAGE, _GIF_TRAILER = 0x21, 0x2C, 0x3B


@dataclass(frozen=True, slots=True)
class Look:
    """What a decoded image shows.

    Attributes:
        pixels: digest of width, height and the upright RGB pixels: equal for the same picture in another file.
        grey: the thumbnail that the perceptual hash is made of (`perceptual_hashes`).
        colours: mean colours on a grid, hexadecimal.
        blank: why it shows nothing, else None.
    """

    pixels: str
    grey: bytes
    colours: str
    blank: str | None


def look_of(image: Image.Image) -> Look:
    """What an upright RGB image shows."""
    pixels = hashlib.blake2b(image.tobytes(), digest_size=16, key=struct.pack(">II", *image.size)).hexdigest()
    small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX, reducing_gap=1.0)
    colours = small.resize((COLOUR_EDGE, COLOUR_EDGE), Image.Resampling.BOX).tobytes().hex()
    return Look(pixels, small.convert("L").tobytes(), colours, _blank(image, small))


def perceptual_hashes(greys: Sequence[bytes]) -> list[str]:
    """`imagehash.phash` of many thumbnails at once, hexadecimal: near for pictures that look alike.

    One at a time, most of its processor time is numpy's and Pillow's overhead.
    """
    if not greys:
        return []
    pixels = np.frombuffer(b"".join(greys), dtype=np.uint8).reshape(-1, _THUMBNAIL, _THUMBNAIL)
    lowest = dct(dct(pixels, axis=1), axis=2)[:, :HASH_EDGE, :HASH_EDGE].reshape(len(greys), -1)
    bits = lowest > np.median(lowest, axis=1, keepdims=True)
    return [line.tobytes().hex() for line in np.packbits(bits, axis=1)]


def whole_jpeg(data: bytes, opened: Image.Image) -> Image.Image | None:
    """A JPEG's pixels where the file is whole and of the plain kind: one decoding tells both.

    libjpeg is asked without Pillow between, which keeps its warnings to itself; the pixels are the same.

    Args:
        data: the file's bytes.
        opened: what `qure.images.open_image` made of them.

    Returns:
        the image as RGB; None for another kind of file, one that may have to be turned, and a damaged one.
    """
    if opened.format != "JPEG" or opened.mode not in ("RGB", "L") or not _TURNING.isdisjoint(opened.info):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)
    except ValueError:
        return None
    return Image.fromarray(pixels) if pixels.shape[1::-1] == opened.size else None


def near_pairs(
    hashes: np.ndarray, colours: np.ndarray, others: np.ndarray, other_colours: np.ndarray
) -> list[tuple[int, int]]:
    """Pairs that look alike: (row of the first, row of its nearest other).

    Args:
        hashes, others: perceptual hashes, uint64 (N, W) and (M, W).
        colours, other_colours: grids of mean colours, uint8 (N, 192) and (M, 192).
    """
    found: list[tuple[int, int, int]] = []
    parts, other_parts = _parts(colours), _parts(other_colours)
    order = np.argsort(other_parts.sum(axis=1), kind="stable")
    sums, other_sums = parts.sum(axis=1), other_parts.sum(axis=1)[order]
    apart = int(NEAR_COLOUR * colours.shape[1])
    ascending = np.argsort(sums, kind="stable")
    for start in range(0, len(hashes), _BLOCK):
        block = ascending[start : start + _BLOCK]
        # A sum is never nearer than its parts: pictures that are much lighter or darker are not looked at.
        first, last = np.searchsorted(other_sums, [sums[block[0]] - apart, sums[block[-1]] + apart + 1])
        near = order[first:last]
        # The first word rules out most of the others: a part is never further apart than the whole.
        lines, columns = np.nonzero(np.bitwise_count(hashes[block, 0, None] ^ others[None, near, 0]) <= NEAR_BITS)
        rows, columns = block[lines], near[columns]
        kept = np.abs(parts[rows] - other_parts[columns]).sum(axis=1) <= apart
        rows, columns = rows[kept], columns[kept]
        distances = np.bitwise_count(hashes[rows] ^ others[columns]).sum(axis=1, dtype=np.int64)
        difference = np.abs(colours[rows].astype(np.int16) - other_colours[columns]).mean(axis=1)
        alike = (distances <= NEAR_BITS) & (difference <= NEAR_COLOUR)
        found += zip(distances[alike].tolist(), rows[alike].tolist(), columns[alike].tolist(), strict=True)
    nearest: dict[int, int] = {}
    for _, row, other in sorted(found):
        nearest.setdefault(row, other)
    return sorted(nearest.items())


def _parts(colours: np.ndarray) -> np.ndarray:
    """Sums of mean colours over parts of the grid, int32 (N, 12): a first look at what differs."""
    grid = colours.reshape(len(colours), 2, -1, 2, colours.shape[1] // (6 * COLOUR_EDGE), 3)
    return grid.sum(axis=(2, 4), dtype=np.int32).reshape(len(colours), 12)


def as_words(hashes: list[str]) -> np.ndarray:
    """Hexadecimal hashes as uint64 (N, words).

    >>> as_words(["0" * 15 + "3"]).tolist()
    [[3]]
    """
    joined = bytes.fromhex("".join(hashes))
    return np.frombuffer(joined, dtype=">u8").reshape(len(hashes), -1).astype(np.uint64)


#: Two pictures look alike when so many of the hash's 64 bits differ at most, and so many of 255 steps of mean colour:
#: JPEG at quality 75 stays within even at 64 x 64 pixels, and no two of the rendered garments do across splits.
NEAR_BITS, NEAR_COLOUR = 10, 4.0

#: Rows compared at once: 512 x 20,000 distances are 20 MB.
_BLOCK = 512


def damage_of(data: bytes) -> str | None:
    """What is missing or broken of an image file that can be decoded all the same; None for a whole one."""
    if data.startswith(_PNG):
        return _png_damage(data)
    if data.startswith(b"\xff\xd8"):
        return _jpeg_damage(data)
    if data.startswith(b"GIF8") and not _gif_is_whole(data):
        return "the GIF ends before its last block"
    if data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data):
        return "the WebP ends before its last chunk"
    return None


def _jpeg_damage(data: bytes) -> str | None:
    for colours in ("GRAY", "CMYK"):  # libjpeg makes no grey of CMYK
        try:
            # An eighth of the size: every bit of the scan is read all the same, and little is computed of it.
            simplejpeg.decode_jpeg(data, colours, min_height=1, min_width=1, min_factor=1, strict=True)
        except ValueError as error:
            if str(error).startswith(_DAMAGED):
                return str(error)
        else:
            break
    return None


def _png_damage(data: bytes) -> str | None:
    """Pillow compares no checksum of the pixels, and stops reading before the end."""
    place = len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, place)
        end = place + 12 + length
        if end > len(data):
            break
        if zlib.crc32(data[place + 4 : end - 4]) != int.from_bytes(data[end - 4 : end]):
            return f"the PNG's chunk {kind.decode('ascii', 'replace')} is not what its checksum says"
        if kind == b"IEND":
            return None
        place = end
    return "the PNG ends before its last chunk (IEND)"


def _gif_is_whole(data: bytes) -> bool:
    """Whether a GIF's blocks follow each other up to its trailer."""

    def after_table(place: int, flags: int) -> int:
        return place + (3 << ((flags & 7) + 1) if flags & 0x80 else 0)

    def after_parts(place: int) -> int:
        while data[place]:
            place += 1 + data[place]
        return place + 1

    try:
        place = after_table(13, data[10])
        while data[place] != _GIF_TRAILER:
            if data[place] == _GIF_EXTENSION:
                place = after_parts(place + 2)
            elif data[place] == _GIF_IMAGE:
                place = after_parts(after_table(place + 10, data[place + 9]) + 1)
            else:
                return False
    except IndexError:
        return False
    return True


def _blank(image: Image.Image, small: Image.Image) -> str | None:
    """The small image first: it tells most pictures from a blank one without looking at every pixel."""
    for looked_at in (small, image):
        channels = looked_at.getextrema()
        if any(high - low > _ONE_COLOUR for low, high in channels):  # type: ignore[misc]
            return None
    return "every pixel is #" + "".join(f"{low:02x}" for low, _ in channels)  # type: ignore[misc]

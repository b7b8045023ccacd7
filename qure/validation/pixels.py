"""What a decoded image shows, and whether its file is whole. Light to import, because worker processes do."""

import hashlib
import struct
from dataclasses import dataclass

import imagehash
import numpy as np
import simplejpeg
from PIL import Image

#: Edge of the perceptual hash: two pictures are compared by 64 bits of their lowest frequencies. Higher ones are
#: noise in a smooth picture.
HASH_EDGE = 8

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


@dataclass(frozen=True, slots=True)
class Look:
    """What a decoded image shows.

    Attributes:
        pixels: digest of width, height and the upright RGB pixels: equal for the same picture in another file.
        phash: perceptual hash, hexadecimal; near for pictures that look alike.
        colours: mean colours on a grid, hexadecimal.
        blank: why it shows nothing, else None.
    """

    pixels: str
    phash: str
    colours: str
    blank: str | None


def look_of(image: Image.Image) -> Look:
    """What an upright RGB image shows."""
    pixels = hashlib.blake2b(image.tobytes(), digest_size=16, key=struct.pack(">II", *image.size)).hexdigest()
    small = image.resize((_THUMBNAIL, _THUMBNAIL), Image.Resampling.BOX, reducing_gap=1.0)
    colours = small.resize((COLOUR_EDGE, COLOUR_EDGE), Image.Resampling.BOX).tobytes().hex()
    return Look(
        pixels,
        np.packbits(imagehash.phash(small, hash_size=HASH_EDGE).hash).tobytes().hex(),
        colours,
        _blank(image, small),
    )


def near_pairs(
    hashes: np.ndarray, colours: np.ndarray, others: np.ndarray, other_colours: np.ndarray
) -> list[tuple[int, int]]:
    """Pairs that look alike: (row of the first, row of its nearest other).

    Args:
        hashes, others: perceptual hashes, uint64 (N, W) and (M, W).
        colours, other_colours: grids of mean colours, uint8 (N, 192) and (M, 192).
    """
    found = []
    for start in range(0, len(hashes), _BLOCK):
        block = hashes[start : start + _BLOCK]
        # The first word rules out nearly all pairs: a part is never further apart than the whole.
        rows, columns = np.nonzero(np.bitwise_count(block[:, 0, None] ^ others[None, :, 0]) <= NEAR_BITS)
        distances = np.bitwise_count(block[rows] ^ others[columns]).sum(axis=1, dtype=np.int64)
        for place in np.flatnonzero(distances <= NEAR_BITS):
            row, other = start + int(rows[place]), int(columns[place])
            if np.abs(colours[row].astype(np.int16) - other_colours[other]).mean() <= NEAR_COLOUR:
                found.append((int(distances[place]), row, other))
    nearest: dict[int, int] = {}
    for _, row, other in sorted(found):
        nearest.setdefault(row, other)
    return sorted(nearest.items())


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
    if data.startswith(b"GIF8") and not data.rstrip(b"\0").endswith(b";"):
        return "the GIF ends before its last block"
    if data.startswith(b"RIFF") and int.from_bytes(data[4:8], "little") + 8 > len(data):
        return "the WebP ends before its last chunk"
    return None


def _jpeg_damage(data: bytes) -> str | None:
    try:
        # An eighth of the size: every bit of the scan is read all the same, and little is computed of it.
        simplejpeg.decode_jpeg(data, "GRAY", min_height=1, min_width=1, min_factor=1, strict=True)
    except ValueError as error:
        if str(error).startswith(_DAMAGED):
            return str(error)
    return None


def _png_damage(data: bytes) -> str | None:
    place = len(_PNG)
    while place + 12 <= len(data):
        length, kind = struct.unpack(">I4s", data[place : place + 8])
        place += 12 + length
        if kind == b"IEND" and place <= len(data):
            return None
    return "the PNG ends before its last chunk (IEND)"


def _blank(image: Image.Image, small: Image.Image) -> str | None:
    """The small image first: it tells most pictures from a blank one without looking at every pixel."""
    for looked_at in (small, image):
        channels = looked_at.getextrema()
        if any(high - low > _ONE_COLOUR for low, high in channels):  # type: ignore[misc]
            return None
    return "every pixel is #" + "".join(f"{low:02x}" for low, _ in channels)  # type: ignore[misc]

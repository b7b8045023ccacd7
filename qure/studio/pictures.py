"""Pictures on the page: small copies of the benchmark's images, and what visitors bring.

Everything that leaves here was decoded and encoded anew: a file that is no picture, or also something else, goes
nowhere.
"""

import hashlib
import io
import re
import threading
from functools import lru_cache
from pathlib import Path

from PIL import Image

from qure.datasets.image_base import ImageStore
from qure.errors import BadInput
from qure.files import atomic_file
from qure.images import ImageError, decode_image

#: Pixels: longest side on the page, and of what is kept of a visitor's picture (models see less).
SHOWN, KEPT = 320, 1024
#: Bytes of a visitor's file; how many pictures of visitors are kept.
MOST_BYTES, MOST_PICTURES = 20_000_000, 5_000
#: Small copies that stay in memory, a few kilobytes each.
_CACHED = 4096

_KEY = re.compile(r"[0-9a-f]{64}")


class SmallCopies:
    """Small copies of a benchmark's images, as JPEG.

    Args:
        images: where they come from.
    """

    def __init__(self, images: ImageStore) -> None:
        self._images = images
        self._cached = lru_cache(_CACHED)(self._made)

    def of(self, image_id: str) -> bytes | None:
        """The small copy; None where there is no such image.

        Raises:
            BadInput: its file is damaged.
        """
        return self._cached(image_id) if image_id in self._images else None

    def _made(self, image_id: str) -> bytes:
        return smaller(decode_image(self._images.read(image_id), image_id), SHOWN, "JPEG")


class Uploads:
    """Visitors' pictures, each named by the digest of what is kept of it, so that an address with one stays valid.

    Args:
        folder: where they lie; made with the first.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = Path(folder)
        # Decoding takes up to a quarter of a gigabyte: one at a time.
        self._decoding = threading.Lock()

    def keep(self, content: bytes) -> str:
        """Decodes a file and keeps the picture.

        Returns:
            its key.

        Raises:
            BadInput: empty, no picture, damaged, too many pixels, or too many pictures are here.
        """
        with self._decoding:
            try:
                kept = smaller(decode_image(content, "the picture"), KEPT, "PNG")
            except ImageError as error:
                raise BadInput(
                    f"this file cannot be used as a picture: {error.reason}", remedy="Choose a JPEG, PNG or WebP file"
                ) from None
        key = hashlib.sha256(kept).hexdigest()
        file = self._file(key)
        if not file.exists():
            if self._folder.is_dir() and sum(1 for _ in self._folder.glob("*.png")) >= MOST_PICTURES:
                raise BadInput(
                    f"{MOST_PICTURES} pictures were brought already", file=self._folder, remedy="Remove some of them"
                )
            with atomic_file(file) as temporary:
                temporary.write_bytes(kept)
        return key

    def read(self, key: str) -> bytes | None:
        """A kept picture, PNG; None where there is none, whatever the key is."""
        if not _KEY.fullmatch(key):
            return None
        try:
            return self._file(key).read_bytes()
        except FileNotFoundError:
            return None

    def _file(self, key: str) -> Path:
        return self._folder / f"{key}.png"


def smaller(image: Image.Image, side: int, form: str) -> bytes:
    """An RGB image, its longer side at most `side` pixels, as a file without metadata."""
    copy = Image.new("RGB", image.size)
    copy.paste(image)
    copy.thumbnail((side, side), Image.Resampling.LANCZOS)
    content = io.BytesIO()
    copy.save(content, form, **({"quality": 88} if form == "JPEG" else {}))
    return content.getvalue()

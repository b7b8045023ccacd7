"""Pictures inside a page: thumbnails and plots as data URIs, so that one HTML file is the whole report."""

import base64
import io
from pathlib import Path

from PIL import Image

from qure.datasets.image_store import ImageStore
from qure.images import decode_image

#: Long side of a thumbnail, in pixels: sharp on a phone, about 3 KB each.
THUMBNAIL = 112


class Thumbnails:
    """Thumbnails of one image store; each image is decoded once however often it is shown."""

    def __init__(self, store: ImageStore, size: int = THUMBNAIL) -> None:
        self._store, self._size = store, size
        self._made: dict[str, str] = {}

    def __getitem__(self, image_id: str) -> str:
        """The thumbnail as a `data:` URI.

        Raises:
            ImageError: the image cannot be decoded.
        """
        if image_id not in self._made:
            buffer = io.BytesIO()
            self.image(image_id).save(buffer, format="JPEG", quality=82)
            self._made[image_id] = data_uri(buffer.getvalue(), "image/jpeg")
        return self._made[image_id]

    def image(self, image_id: str) -> Image.Image:
        """The thumbnail as RGB pixels.

        Raises:
            ImageError: the image cannot be decoded.
        """
        picture = decode_image(self._store.read(image_id), self._store.name(image_id))
        picture.thumbnail((self._size, self._size))
        return picture


def plot_uri(path: Path) -> str:
    """A PNG file as a `data:` URI."""
    return data_uri(path.read_bytes(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """
    >>> data_uri(b"a", "text/plain")
    'data:text/plain;base64,YQ=='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"

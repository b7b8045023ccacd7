"""Pictures inside a page: thumbnails and plots as data URIs, so that one HTML file is the whole report."""

import base64
import io
from pathlib import Path

from qure.datasets.image_store import ImageStore
from qure.images import decode_image

#: Long side of a thumbnail, in pixels: sharp on a phone, about 3 KB each.
THUMBNAIL = 112


class Thumbnails:
    """Thumbnails of one image store; each image is decoded once however often it is shown."""

    def __init__(self, store: ImageStore) -> None:
        self._store = store
        self._made: dict[str, str] = {}

    def __getitem__(self, image_id: str) -> str:
        """The thumbnail as a `data:` URI.

        Raises:
            ImageError: the image cannot be decoded.
        """
        if image_id not in self._made:
            self._made[image_id] = self._make(image_id)
        return self._made[image_id]

    def _make(self, image_id: str) -> str:
        picture = decode_image(self._store.read(image_id), self._store.name(image_id))
        picture.thumbnail((THUMBNAIL, THUMBNAIL))
        buffer = io.BytesIO()
        picture.save(buffer, format="JPEG", quality=82)
        return data_uri(buffer.getvalue(), "image/jpeg")


def plot_uri(path: Path) -> str:
    """A PNG file as a `data:` URI."""
    return data_uri(path.read_bytes(), "image/png")


def data_uri(content: bytes, kind: str) -> str:
    """
    >>> data_uri(b"a", "text/plain")
    'data:text/plain;base64,YQ=='
    """
    return f"data:{kind};base64,{base64.b64encode(content).decode('ascii')}"

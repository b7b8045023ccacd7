"""Small pictures for the pages about bad rows: who reads that two images look alike wants to see both."""

import base64
import io

from PIL import Image

from qure.datasets.image_store import ImageStore
from qure.errors import BadInput
from qure.images import decode_image

#: Pixels of the longer side.
EDGE = 96


def thumbnail(store: ImageStore | None, image: str) -> str | None:
    """An image as a small JPEG in a data: address; None where it is not there or cannot be decoded."""
    if store is None or image not in store:
        return None
    try:
        picture = decode_image(store.read(image), image)
    except BadInput:
        return None
    picture.thumbnail((EDGE, EDGE), Image.Resampling.BOX)
    stream = io.BytesIO()
    picture.save(stream, "JPEG", quality=80)
    return f"data:image/jpeg;base64,{base64.b64encode(stream.getvalue()).decode('ascii')}"

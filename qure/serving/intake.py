"""What a server lets in: image bytes or base64, bounded in pixels, decoded no larger than needed, a few at a time.

A file of a quarter of a megabyte can hold 63 million pixels, and a server decodes what strangers send. So pixels are
counted from the headers before anything is decoded. A large JPEG is decoded at an eighth to a half of its size (libjpeg
does that while it decodes); other kinds can only be decoded whole and are refused when they are too large. Images of up
to `ORDINARY` pixels pass as they are, so that they are embedded exactly as evaluation embeds them.

| variable | default | bounds |
|---|---|---|
| QURE_SERVING_MAX_PIXELS | 24,000,000 | pixels that are decoded of one image |
| QURE_SERVING_MAX_REQUEST_PIXELS | 100,000,000 | pixels that are decoded for one request |
| QURE_SERVING_CONCURRENCY | 2 | requests at work at a time in one process; others wait |
"""

import base64
import binascii
import io
import os
import re
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from PIL import Image, ImageOps

from qure.errors import BadInput
from qure.images import FORMATS

#: Pixels up to which an image is decoded as in training.
ORDINARY = 4_000_000
#: Short side that a large JPEG keeps at least: a multiple of what any image tower takes.
ENOUGH = 1024

_BASE64 = re.compile(rb"[A-Za-z0-9+/\r\n]+={0,2}[\r\n]*")
_FIELD = "reference"


@dataclass(frozen=True)
class Limits:
    """Bounds of one process.

    Attributes:
        image: pixels that are decoded of one image.
        request: pixels that are decoded for one request.
        concurrency: requests at work at a time.
    """

    image: int = 24_000_000
    request: int = 100_000_000
    concurrency: int = 2

    @classmethod
    def of_environment(cls) -> Self:
        """As the variables say.

        Raises:
            BadInput: a variable is no whole number from 1 on.
        """
        return cls(
            _number("QURE_SERVING_MAX_PIXELS", cls.image),
            _number("QURE_SERVING_MAX_REQUEST_PIXELS", cls.request),
            _number("QURE_SERVING_CONCURRENCY", cls.concurrency),
        )


@dataclass
class Budget:
    """What a request may still decode.

    Attributes:
        pixels: that are left.
    """

    pixels: int


class Intake:
    """Admits requests.

    Args:
        limits: bounds; `turn` is the context manager under which a request is worked on.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.turn = threading.BoundedSemaphore(limits.concurrency)

    def budget(self) -> Budget:
        """What one request may decode, however many calls of `admitted` it takes."""
        return Budget(self._limits.request)

    def admitted(self, references: Sequence[Any], first: int = 0, budget: Budget | None = None) -> list[bytes]:
        """The images of a request as files that can be decoded without harm.

        Args:
            references: image files as bytes, or base64 of them (as text or bytes).
            first: number of the first row, for messages.
            budget: of the request, which what is admitted is taken from; a whole one when left out.

        Raises:
            BadInput: names the row: not an image's bytes, or too many pixels.
        """
        budget, found = budget or self.budget(), []
        for row, reference in enumerate(references, start=first):
            data, pixels = self._bounded(_file(reference, row), row)
            if pixels > budget.pixels:
                raise BadInput(
                    f"the request's images have more than {self._limits.request:,} pixels together",
                    row=row,
                    field=_FIELD,
                    remedy="Send fewer rows, or smaller images",
                )
            budget.pixels -= pixels
            found.append(data)
        return found

    def _bounded(self, data: bytes, row: int) -> tuple[bytes, int]:
        """The file, smaller where that can be done while decoding, and how many pixels decoding makes."""
        try:
            image = Image.open(io.BytesIO(data), formats=FORMATS)
        except Image.DecompressionBombError:
            raise BadInput("far too many pixels", row=row, field=_FIELD, remedy="Send a smaller image") from None
        except Exception:  # what is no image is told apart, and named, by whoever decodes it
            return data, 0
        whole = image.width * image.height
        if whole <= ORDINARY:
            return data, whole
        is_reduced = False
        if image.format == "JPEG" and not image.info.get("progressive"):  # a progressive one is held whole all the same
            scale = ENOUGH / min(image.size)
            wanted = (round(image.width * scale), round(image.height * scale))
            is_reduced = scale < 1 and image.draft(image.mode, wanted) is not None
        pixels = image.width * image.height
        if pixels > self._limits.image:
            raise BadInput(
                f"{whole:,} pixels are too many, {self._limits.image:,} are decoded",
                row=row,
                field=_FIELD,
                remedy="Send a smaller image; of a baseline JPEG a part of the pixels is decoded",
            )
        return (_encoded(image, row) if is_reduced else data), pixels


def _file(reference: Any, row: int) -> bytes:
    """Bytes of an image file; base64 is decoded: MLflow does so for one of the forms of a request only."""
    remedy = "Send the file's bytes, in JSON as base64"
    if reference is None:
        raise BadInput("there is no image", row=row, field=_FIELD, remedy=remedy)
    if isinstance(reference, str):
        reference = reference.encode("ascii", errors="replace")
    if not isinstance(reference, bytes | bytearray | memoryview):
        raise BadInput(
            f"not the bytes of an image file but {type(reference).__name__}",
            row=row,
            field=_FIELD,
            remedy=remedy,
        )
    data = bytes(reference)
    if not _BASE64.fullmatch(data):
        return data
    try:
        return base64.b64decode(b"".join(data.split()), validate=True)
    except binascii.Error as error:
        raise BadInput(f"not whole base64: {error}", row=row, field=_FIELD) from None


def _encoded(image: Image.Image, row: int) -> bytes:
    try:
        upright = ImageOps.exif_transpose(image).convert("RGB")
    except Exception as error:  # decoders raise whatever the damage makes of them
        raise BadInput(f"cannot be decoded, truncated or damaged: {error}", row=row, field=_FIELD) from None
    output = io.BytesIO()
    upright.save(output, "PNG", compress_level=1)
    return output.getvalue()


def _number(variable: str, default: int) -> int:
    value = os.environ.get(variable, "").strip()
    if not value:
        return default
    if not re.fullmatch(r"[1-9]\d{0,11}", value):
        raise BadInput(f"{value!r} is not a whole number from 1 on", field=variable)
    return int(value)

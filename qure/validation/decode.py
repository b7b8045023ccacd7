"""What one image's bytes are: read, hashed, bounded, decoded. Light to import, because worker processes do."""

import contextlib
import hashlib
import re
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from qure.datasets.image_store import ImageStore
from qure.errors import BadInput
from qure.images import MAX_PIXELS, TARGET_RATIO, ImageError, decode_opened, open_image, visible_share
from qure.validation.pixels import damage_of, look_of, perceptual_hashes, whole_jpeg

_TRANSPARENT = "every pixel is transparent"

#: Share of its pixels below which a picture on a transparent ground shows nothing: of 1,000 pixels one.
_LEAST_VISIBLE = 0.001


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What one image's bytes are.

    Attributes:
        sha256: of the file's content; empty when it was not read.
        width, height: pixels as decoded and turned upright; 0 when unknown.
        refused: why it was not decoded (a bound), else None.
        unreadable: why it cannot be decoded, else None.
        changed: why it is not what was packed, else None.
        damaged: what of the file is missing or broken though it can be decoded, else None.
        blank: why it shows nothing, else None.
        pixels, colours: as `qure.validation.pixels.Look`; empty when it was not decoded.
        phash: perceptual hash, hexadecimal; empty likewise.
    """

    sha256: str
    width: int = 0
    height: int = 0
    refused: str | None = None
    unreadable: str | None = None
    changed: str | None = None
    damaged: str | None = None
    blank: str | None = None
    pixels: str = ""
    phash: str = ""
    colours: str = ""


def check_image(store: ImageStore, image: str, known: frozenset[str], max_bytes: int) -> ImageFacts:
    """Reads, hashes and decodes one image.

    Args:
        store: where it is.
        image: its id.
        known: content hashes that need no decoding; for these, only `sha256` is filled in.
        max_bytes: larger files are not read.
    """
    return check_images(store, [image], known, max_bytes)[0][1]


def check_images(
    store: ImageStore, images: Sequence[str], known: frozenset[str], max_bytes: int
) -> list[tuple[str, ImageFacts]]:
    """The same for some images, whose perceptual hashes are made together."""
    with _without_warnings():
        found = [_checked(store, image, known, max_bytes) for image in images]
    return list(zip(images, _with_hashes(found), strict=True))


def decoded_facts(data: bytes, sha256: str = "") -> ImageFacts:
    """What an image file's bytes are: the header first, so that a bound is kept before anything is decoded."""
    with _without_warnings():
        return _with_hashes([_decoded(data, sha256)])[0]


@contextlib.contextmanager
def _without_warnings() -> Iterator[None]:
    """Pillow warns of what is told as a fact; set aside once, as that takes longer than opening an image."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _with_hashes(found: Sequence[tuple[ImageFacts, bytes]]) -> list[ImageFacts]:
    """Facts with the hash of the thumbnail beside them; an empty thumbnail has none."""
    hashes = iter(perceptual_hashes([grey for _, grey in found if grey]))
    return [replace(facts, phash=next(hashes)) if grey else facts for facts, grey in found]


def _checked(store: ImageStore, image: str, known: frozenset[str], max_bytes: int) -> tuple[ImageFacts, bytes]:
    try:
        size = store.size(image)
        if size > max_bytes:
            return ImageFacts("", refused=f"the file has {size} bytes, more than {max_bytes}"), b""
        data = store.read(image)
    except BadInput as error:
        return ImageFacts("", unreadable=error.problem), b""
    sha256 = hashlib.sha256(data).hexdigest()
    changed = store.changed(image, data, sha256)
    if changed is not None:
        facts, grey = _decoded(data, sha256)
        return replace(facts, changed=changed), grey
    return (ImageFacts(sha256), b"") if sha256 in known else _decoded(data, sha256)


def _decoded(data: bytes, sha256: str) -> tuple[ImageFacts, bytes]:
    try:
        opened = open_image(data, "image")
        refusal = _padded_too_large(*opened.size)
        if refusal is not None:
            return ImageFacts(sha256, refused=refusal), b""
        whole = whole_jpeg(data, opened)
        image = whole or decode_opened(opened, "image")
    except ImageError as error:
        reason = _plain(error.reason)
        return ImageFacts(sha256, refused=reason) if error.bound else ImageFacts(sha256, unreadable=reason), b""
    look = look_of(image)
    visible = 1.0 if whole else visible_share(opened)
    blank = look.blank if visible >= _LEAST_VISIBLE else _TRANSPARENT if visible == 0 else f"nearly {_TRANSPARENT}"
    facts = ImageFacts(
        sha256,
        *image.size,
        damaged=damage_of(data) if whole is None else None,
        blank=blank,
        pixels=look.pixels,
        colours=look.colours,
    )
    return facts, look.grey


_worker: dict[str, Any] = {}


def prepare_worker(store: ImageStore, known: frozenset[str], max_bytes: int) -> None:
    """Tells a worker process, once, what `check_image` needs besides an id."""
    _worker.update(store=store, known=known, max_bytes=max_bytes)


def check_batch(ids: Sequence[str]) -> list[tuple[str, ImageFacts]]:
    """Checks some images in a worker process."""
    return check_images(_worker["store"], ids, _worker["known"], _worker["max_bytes"])


def _padded_too_large(width: int, height: int) -> str | None:
    """Why an image is too elongated to be padded as the model wants it; None when it is not."""
    long = max(width, height)
    if long / max(min(width, height), 1) >= TARGET_RATIO and long * (long / TARGET_RATIO) > MAX_PIXELS:
        return f"{width} x {height} pixels, padded more than {MAX_PIXELS}"
    return None


def _plain(reason: str) -> str:
    """A reason without memory addresses, so that the same image always gives the same words."""
    return re.sub(r" at 0x[0-9a-fA-F]+", "", reason)

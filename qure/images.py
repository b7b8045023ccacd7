"""Image files -> pixels as the model was trained on them, without torchvision.

The published preparation: pad to an aspect ratio of 1.25 where more elongated (black, centred), resize the short side
bicubic, centre crop, CLIP's mean and standard deviation. No augmentation.
"""

import io
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps

from qure.errors import BadInput

if TYPE_CHECKING:
    import torch

#: Largest image that is decoded, and largest padded image: decoding it takes a quarter of a gigabyte.
MAX_PIXELS = 64_000_000
TARGET_RATIO = 1.25
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

#: What may be opened (JPEG includes MPO). Pillow knows more, some of which start other programs (EPS).
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM")

_SIXTEEN_BIT = ("I;16", "I;16L", "I;16B", "I;16N", "I")
_TRANSPARENT = ("RGBA", "LA", "PA", "RGBa", "La")
_PLAIN = ("RGB", "L", "P", "1", "CMYK", "YCbCr", "RGBX", "HSV")
_ORIENTATION = 0x0112

#: Opacity, of 255, up to which a pixel on white is hardly told from white.
_FAINT = 16


class ImageError(BadInput):
    """An image that cannot be used; `file` names it, `problem` says why, `bound` whether it is only too large."""

    def __init__(self, name: str, reason: str, *, bound: bool = False) -> None:
        super().__init__(reason, file=name, remedy="Replace the image, or let validation exclude it")
        self.name, self.reason, self.bound = name, reason, bound


def preparation(size: int) -> dict[str, Any]:
    """What the fingerprint of precomputed features covers; raise `version` when pixels change in any way."""
    return {
        "version": 1,
        "size": size,
        "target_ratio": TARGET_RATIO,
        "resample": "bicubic",
        "mean": list(CLIP_MEAN),
        "std": list(CLIP_STD),
    }


def decode_image(data: bytes, name: str) -> Image.Image:
    """An image file's first frame as upright 8-bit RGB.

    Transparent pixels are laid on white (a file's hidden colour below them is arbitrary, often black), 16-bit grey
    is scaled down to 8 bit, CMYK and palettes are converted, EXIF orientation is applied.

    Args:
        data: the file's bytes.
        name: what messages call it.

    Raises:
        ImageError: empty, truncated, not an image, more than `MAX_PIXELS` pixels (checked before decoding), or
            of a kind without a defined look (floating point).
    """
    return decode_opened(open_image(data, name), name)


def open_image(data: bytes, name: str) -> Image.Image:
    """An image file of which only the header has been read.

    Raises:
        ImageError: empty, not an image, or more than `MAX_PIXELS` pixels, of which its `bound` tells.
    """
    if not data:
        raise ImageError(name, "the file is empty")
    image = _open(data, name)
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise ImageError(name, f"{width} x {height} pixels, more than {MAX_PIXELS} are not decoded", bound=True)
    return image


def decode_opened(image: Image.Image, name: str) -> Image.Image:
    """What `decode_image` makes of an image that `open_image` has opened."""
    try:
        image.load()
    except Exception as error:  # decoders raise whatever the damage makes of them
        raise ImageError(name, f"cannot be decoded, truncated or damaged: {error}") from None
    return _upright(_to_rgb(image, name), image)


def visible_share(image: Image.Image) -> float:
    """The share of an opened image's pixels that are seen on white: of more than a sixteenth of full opacity.

    >>> visible_share(Image.new("RGBA", (4, 4), (0, 0, 0, 10))), visible_share(Image.new("RGB", (4, 4)))
    (0.0, 1.0)
    """
    if image.mode not in _TRANSPARENT and "transparency" not in image.info:
        return 1.0
    counts = image.convert("RGBA").getchannel("A").histogram()
    return sum(counts[_FAINT + 1 :]) / sum(counts)


def pad_to_ratio(image: Image.Image, ratio: float = TARGET_RATIO) -> Image.Image:
    """An image with black borders on its two long sides, so that long / short side is about `ratio`.

    Images that are not more elongated than that are returned unchanged. Borders are equal, whole pixels rounded
    down, as published, so the result may stay a pixel short.

    >>> pad_to_ratio(Image.new("RGB", (300, 100))).size
    (300, 240)
    >>> pad_to_ratio(Image.new("RGB", (125, 100))).size
    (125, 100)
    """
    horizontal, vertical = _borders(*image.size, ratio)
    if horizontal == 0 and vertical == 0:
        return image
    return ImageOps.expand(image, border=(horizontal, vertical), fill=0)


def prepare_image(data: bytes, size: int, *, name: str) -> npt.NDArray[np.uint8]:
    """An image file as the model's input before normalisation.

    Args:
        data: the file's bytes.
        size: edge length of the model's input.
        name: what messages call it.

    Returns:
        uint8 (size, size, 3).

    Raises:
        ImageError: as `decode_image`; also when padding a very elongated image would exceed `MAX_PIXELS`.
    """
    return prepare_pixels(decode_image(data, name), size, name=name)


def prepare_pixels(image: Image.Image, size: int, *, name: str = "image") -> npt.NDArray[np.uint8]:
    """The same from an image in memory (RGB)."""
    horizontal, vertical = _borders(*image.size, TARGET_RATIO)
    if (image.width + 2 * horizontal) * (image.height + 2 * vertical) > MAX_PIXELS:
        raise ImageError(name, f"{image.width} x {image.height} pixels are too elongated to be padded")
    return np.array(_centre_crop(_resize_short_side(pad_to_ratio(image), size), size))


def normalise(pixels: "npt.NDArray[np.uint8] | torch.Tensor") -> "torch.Tensor":
    """Prepared images as the vision tower takes them: channels first, CLIP's mean and standard deviation.

    Args:
        pixels: uint8 (B, H, W, 3).

    Returns:
        float32 (B, 3, H, W), on the device of `pixels`.

    >>> black = normalise(np.zeros((1, 2, 2, 3), dtype=np.uint8))
    >>> [round(value, 4) for value in black[0, :, 0, 0].tolist()]
    [-1.7923, -1.7521, -1.4802]
    """
    import torch

    batch = torch.as_tensor(pixels).permute(0, 3, 1, 2).to(torch.float32) / 255
    mean = torch.tensor(CLIP_MEAN, device=batch.device).view(3, 1, 1)
    std = torch.tensor(CLIP_STD, device=batch.device).view(3, 1, 1)
    return ((batch - mean) / std).contiguous()


def _open(data: bytes, name: str) -> Image.Image:
    try:
        return Image.open(io.BytesIO(data), formats=FORMATS)
    except Image.DecompressionBombError as error:
        raise ImageError(name, str(error), bound=True) from None
    except Image.UnidentifiedImageError:
        raise ImageError(name, f"not an image of a known type, it begins with {data[:8]!r}") from None
    except Exception as error:  # parsers raise whatever the damage makes of them
        raise ImageError(name, f"cannot be read: {error}") from None


def _to_rgb(image: Image.Image, name: str) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        # Pillow's own conversion cuts values above 255 off instead of scaling; 16-bit white is 65535 = 257 * 255.
        values = np.asarray(image).astype(np.int64).clip(0, 65535)
        return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.mode in _TRANSPARENT or (image.mode in _PLAIN and "transparency" in image.info):
        layer = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    if image.mode in _PLAIN:
        return image.convert("RGB")
    raise ImageError(name, f"pixels of mode {image.mode!r} have no defined look")


def _upright(pixels: Image.Image, source: Image.Image) -> Image.Image:
    try:
        orientation = source.getexif().get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF data says nothing about the orientation; the pixels are fine
        orientation = 1
    turns = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_270,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_90,
    }
    return pixels.transpose(turns[orientation]) if orientation in turns else pixels


def _borders(width: int, height: int, ratio: float) -> tuple[int, int]:
    """Left/right and top/bottom border that brings long / short side down to `ratio`."""
    long = max(width, height)
    if long / min(width, height) < ratio:
        return 0, 0
    wanted = long / ratio
    return max(int((wanted - width) / 2), 0), max(int((wanted - height) / 2), 0)


def _resize_short_side(image: Image.Image, size: int) -> Image.Image:
    width, height = image.size
    short, long = min(width, height), max(width, height)
    if short == size:
        return image
    other = int(size * long / short)
    target = (size, other) if width <= height else (other, size)
    return image.resize(target, Image.Resampling.BICUBIC)


def _centre_crop(image: Image.Image, size: int) -> Image.Image:
    left, top = round((image.width - size) / 2), round((image.height - size) / 2)
    return image.crop((left, top, left + size, top + size))

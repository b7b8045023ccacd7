"""Preparing an image for the model: what its parts take, and what another decoder of the same pixels would save.

    python -m benchmarks.preparation [--images 40] [--repeats 7] [--edge 224]

Synthetic photographs (smooth colours, grain) as JPEG in sizes of FashionIQ's and CIRR's, one thread, CPU milliseconds
an image. The parts are `qure.images`' own: decoding, padding, resizing (bicubic, in Pillow's whole numbers). Beside
them simplejpeg, which calls libjpeg-turbo without Pillow between; its pixels must be the same to the bit.
"""

import argparse
import io
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from benchmarks.common import write_result
from qure.images import decode_image, pad_to_ratio, prepare_image, prepare_pixels

SIZES = ((400, 600), (512, 683), (1024, 680))
QUALITY = 90
#: Edge of the squares of one colour that a photograph is blown up from, and how far its grain reaches.
_SQUARE, _GRAIN = 16, 12


def main() -> None:
    arguments = parse_arguments()
    draws = np.random.default_rng(0)
    sizes = {}
    for width, height in SIZES:
        files = [photograph(draws, width, height) for _ in range(arguments.images)]
        sizes[f"{width}x{height}"] = measured(files, arguments)
    payload = {"edge": arguments.edge, "images": arguments.images, "sizes": sizes}
    print(json.dumps(payload, indent=2))
    print(write_result("preparation", payload))


def photograph(draws: np.random.Generator, width: int, height: int) -> bytes:
    """A JPEG file with as many edges and as much grain as a photograph."""
    squares = draws.integers(0, 256, (height // _SQUARE + 1, width // _SQUARE + 1, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(squares).resize((width, height), Image.Resampling.BICUBIC)).astype(np.int16)
    grain = draws.integers(-_GRAIN, _GRAIN + 1, smooth.shape)
    stream = io.BytesIO()
    Image.fromarray((smooth + grain).clip(0, 255).astype(np.uint8)).save(stream, "JPEG", quality=QUALITY)
    return stream.getvalue()


def measured(files: list[bytes], arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians in CPU milliseconds an image: of the whole, and of the parts, in turns."""
    decoded = [decode_image(data, "image") for data in files]
    padded = [pad_to_ratio(image) for image in decoded]
    beside = [_by_simplejpeg(data) for data in files]
    same = all(np.array_equal(np.asarray(one), other) for one, other in zip(decoded, beside, strict=True))
    steps: dict[str, Callable[[int], object]] = {
        "whole": lambda number: prepare_image(files[number], arguments.edge, name="image"),
        "decoding": lambda number: decode_image(files[number], "image"),
        "decoding_by_simplejpeg": lambda number: Image.fromarray(_by_simplejpeg(files[number])),
        "padding": lambda number: pad_to_ratio(decoded[number]),
        "resizing": lambda number: _resized(padded[number], arguments.edge),
        "whole_by_simplejpeg": lambda number: prepare_pixels(
            Image.fromarray(_by_simplejpeg(files[number])), arguments.edge
        ),
    }
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(arguments.repeats + 1):  # the first is warmth
        for name, step in steps.items():
            begun = time.process_time()
            for number in range(len(files)):
                step(number)
            seconds[name].append((time.process_time() - begun) / len(files))
    told = {f"{name}_ms": round(1e3 * statistics.median(each[1:]), 3) for name, each in seconds.items()}
    return told | {"same_pixels": same}


def _by_simplejpeg(data: bytes) -> np.ndarray:
    pixels: np.ndarray = simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False)
    return pixels


def _resized(image: Image.Image, edge: int) -> Image.Image:
    short, long = sorted(image.size)
    other = int(edge * long / short)
    return image.resize((edge, other) if image.width <= image.height else (other, edge), Image.Resampling.BICUBIC)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("images", 40), ("repeats", 7), ("edge", 224)):
        parser.add_argument(f"--{name}", type=int, default=default)
    return parser.parse_args()


if __name__ == "__main__":
    main()

"""What the published image preparation makes of pictures of many sizes, as digests: `test_images.py` compares.

The preparation is CLIP4Cir's `targetpad_transform`, which SPRC's and QuRe's released code call: torchvision's functions
in its order, which qure does without. To record anew, where torchvision is installed:

    python -m tests.published_images
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

RECORDING = Path(__file__).with_suffix(".json")
RATIO, EDGES, MODES = 1.25, (64, 224), ("RGB", "L")


def sizes() -> Iterator[tuple[int, int]]:
    """Around every ratio at which something is rounded, and at random."""
    for short in (1, 2, 3, 63, 64, 65, 100, 223, 224, 225, 300):
        for long in {
            short,
            short + 1,
            short + 2,
            int(short * 1.2),
            int(short * 1.25),
            int(short * 1.25) + 1,
            2 * short,
        }:
            yield long, short
            yield short, long
    draw = np.random.default_rng(0)
    yield from map(tuple, draw.integers(1, 500, (120, 2)).tolist())


def picture(size: tuple[int, int], mode: str) -> Image.Image:
    """Noise, a function of size and mode alone."""
    width, height = size
    shape = (height, width, 3) if mode == "RGB" else (height, width)
    return Image.fromarray(np.random.default_rng([width, height]).integers(0, 256, shape, dtype=np.uint8))


def digest(values: np.ndarray) -> str:
    """Of shape, type and every bit."""
    whole = f"{values.shape} {values.dtype} ".encode() + np.ascontiguousarray(values).tobytes()
    return hashlib.sha256(whole).hexdigest()[:16]


def record() -> dict[str, str]:
    """ "WIDTHxHEIGHT MODE EDGE" -> digest of the model's input, by torchvision."""
    from torchvision.transforms import CenterCrop, Compose, InterpolationMode, Normalize, Resize, ToTensor, functional

    def target_pad(image: Image.Image) -> Image.Image:
        w, h = image.size
        if max(w, h) / min(w, h) < RATIO:
            return image
        scaled_max_wh = max(w, h) / RATIO
        hp = max(int((scaled_max_wh - w) / 2), 0)
        vp = max(int((scaled_max_wh - h) / 2), 0)
        return functional.pad(image, [hp, vp, hp, vp], 0, "constant")

    found = {}
    for edge in EDGES:
        published = Compose(
            [
                target_pad,
                Resize(edge, interpolation=InterpolationMode.BICUBIC),
                CenterCrop(edge),
                lambda image: image.convert("RGB"),
                ToTensor(),
                Normalize((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
            ]
        )
        for size in sizes():
            for mode in MODES:
                values = published(picture(size, mode)).numpy()
                found[f"{size[0]}x{size[1]} {mode} {edge}"] = digest(values)
    return found


if __name__ == "__main__":
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in record().items()]
    RECORDING.write_text("{\n" + ",\n".join(lines) + "\n}\n")

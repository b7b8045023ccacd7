"""From files to features."""

import io
import os
import time
from typing import Any

import numpy as np
import torch

from benchmarks.gpu.measuring import new_model, rate
from benchmarks.gpu.sizes import Sizes
from qure.config import FeatureSettings
from qure.models.precision import PrecisionPolicy


def precompute(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Images a second from files to features in host memory, against the bare tower and bare preparation."""
    from qure.features.computing import compute_features
    from qure.features.preparing import preparing

    model = new_model(sizes.config, device)
    edge = sizes.config.vision.image_size
    pictures = Pictures(sizes.pictures, sizes.picture)
    settings = FeatureSettings(dtype="fp16" if device.type == "cuda" else "fp32")
    pixels = torch.randn(settings.batch_size, 3, edge, edge, device=device)
    found: dict[str, Any] = {"cores": len(os.sched_getaffinity(0))}
    with torch.no_grad():
        with PrecisionPolicy.of(settings.dtype, device).autocast():
            found["bare_tower_autocast"] = rate(lambda: model.encode_vision(pixels), settings.batch_size, device)
        if device.type == "cuda":
            half, halved = model.vision.half(), pixels.half()
            found["bare_tower_half"] = rate(
                lambda: half(pixel_values=halved).last_hidden_state, settings.batch_size, device
            )
            model.vision.float()
    for processes in (False, True) if device.type == "cuda" else (False,):
        name = "processes" if processes else "threads"
        with preparing(pictures, edge, processes=processes) as batches:  # type: ignore[arg-type]
            list(batches(pictures.ids[:256], settings.batch_size))  # workers start
            begun = time.perf_counter()
            for _ in batches(pictures.ids, settings.batch_size):
                pass
            found[f"preparation_{name}"] = round(len(pictures.ids) / (time.perf_counter() - begun), 1)
            compute_features(model, pictures, pictures.ids[:256], settings, batches=batches)  # type: ignore[arg-type]
            begun = time.perf_counter()
            features, _ = compute_features(model, pictures, pictures.ids, settings, batches=batches)  # type: ignore[arg-type]
            found[f"precompute_{name}"] = round(len(pictures.ids) / (time.perf_counter() - begun), 1)
    found["images"] = len(features)
    return found


class Pictures:
    """JPEG files in memory under many ids."""

    def __init__(self, count: int, size: tuple[int, int]) -> None:
        from PIL import Image

        numbers = np.random.default_rng(0)
        self._files = []
        for _ in range(min(count, 16)):
            coarse = numbers.integers(0, 256, (size[0] // 8, size[1] // 8, 3), dtype=np.uint8)
            file = io.BytesIO()
            Image.fromarray(coarse).resize((size[1], size[0])).save(file, "JPEG", quality=90)
            self._files.append(file.getvalue())
        self.ids = tuple(f"{number:05d}" for number in range(count))

    def read(self, image_id: str) -> bytes:
        return self._files[int(image_id) % len(self._files)]

    def name(self, image_id: str) -> str:
        return image_id

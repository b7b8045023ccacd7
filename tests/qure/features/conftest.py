"""A handful of images in FashionIQ's layout and a tiny backbone."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from qure.config import Settings
from qure.models.build import build_catalogue_model

IMAGES = 23
SETTINGS = {
    "training": {"fashioniq": {"recipe": "catalogue"}},
    "backbone": {
        "vision": {"image_size": 16, "patch_size": 8, "width": 8, "layers": 1, "heads": 2},
        "qformer": {"hidden": 8, "layers": 1, "heads": 2, "intermediate": 8, "query_tokens": 2, "embedding": 4},
    },
    "features": {"batch_size": 2, "shard_images": 5},
    "tracking": {"uri": None},
}


@pytest.fixture
def settings() -> Settings:
    return Settings.model_validate(SETTINGS)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data" / "fashioniq" / "images"
    folder.mkdir(parents=True)
    noise = np.random.default_rng(0)
    for number in range(IMAGES):
        pixels = noise.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"B{number:03d}.png")
    return tmp_path / "data"


@pytest.fixture
def backbone(tmp_path: Path, settings: Settings) -> Path:
    build_catalogue_model(settings.backbone, ["a red dress"], seed=0).save(tmp_path / "backbone")
    return tmp_path / "backbone"

"""A small project as the stages leave it: a backbone, features of rendered data, a model trained for a moment."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from qure.backbone.stage import prepare_backbone
from qure.config import Settings
from qure.features.stage import precompute
from qure.layout import Layout, SetLayout
from qure.training.stage import train as train_stage

#: A backbone that is made in a second and knows nothing.
BACKBONE = {
    "vision": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "heads": 2},
    "qformer": {"hidden": 16, "layers": 2, "heads": 2, "intermediate": 32, "query_tokens": 4, "embedding": 8},
    "pretraining": {"steps": 2, "batch_size": 8, "least_recall_at_5": 0.0},
}


def prepare(settings: Settings, folder: Path, data: Path) -> SetLayout:
    """A folder with data/, the backbone unless it is there already, and all features that FashionIQ's models need."""
    (folder / "data").symlink_to(data)
    layout = Layout(folder / "data", folder / "artifacts", folder / ".work").of("fashioniq")
    if not layout.backbone.is_dir():
        prepare_backbone(settings, layout.data, layout.backbone)
    for name, store in layout.feature_stores.items():
        precompute(settings, name, data=layout.data, backbone=layout.backbone, output=store, device="cpu")
    return layout


@contextmanager
def undrawn() -> Iterator[None]:
    """Stages write pictures of one pixel meanwhile: drawing is half of their time, and most tests look at none."""

    def draw(*given: Any, **_: Any) -> None:
        (path,) = (one for one in given if isinstance(one, Path) and one.suffix == ".png")
        Image.new("RGB", (1, 1)).save(path)

    places = {
        "qure.training.mining": ("draw_ranks", "draw_sorted_scores"),
        "qure.training.outputs": ("draw_sizes",),
        "qure.evaluation.judging": ("draw_sorted_scores",),
        "qure.evaluation.stage": ("draw_retrieval",),
    }
    with pytest.MonkeyPatch.context() as patch:
        for module, functions in places.items():
            for function in functions:
                patch.setattr(f"{module}.{function}", draw)
        yield


def train(settings: Settings, layout: SetLayout) -> None:
    """Trains on the data without validation."""
    train_stage(
        settings,
        "fashioniq",
        data=layout.data,
        features=layout.training_features,
        backbone=layout.backbone,
        validation=None,
        output=layout.folder,
        work=layout.scratch("train"),
        device="cpu",
    )

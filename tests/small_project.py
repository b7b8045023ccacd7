"""A small project as the stages leave it: a backbone, features of rendered data, a model trained for a moment."""

from pathlib import Path

import pytest

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


def train(settings: Settings, layout: SetLayout, *, drawn: bool = True) -> None:
    """Trains on the data without validation; what minings find is kept, and `drawn` or not."""
    with pytest.MonkeyPatch.context() as patch:
        if not drawn:
            for function in ("mining.draw_ranks", "mining.draw_sorted_scores", "outputs.draw_sizes"):
                patch.setattr(f"qure.training.{function}", lambda *_, **__: None)
        _train(settings, layout)


def _train(settings: Settings, layout: SetLayout) -> None:
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

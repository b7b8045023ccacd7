"""Small models that were really trained, really judged, and packed with the galleries they are served with."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from qure.config import Settings
from qure.evaluation.statistics.results import Evaluation


@dataclass(frozen=True)
class Served:
    """A model where it is served, and what it was evaluated with.

    Attributes:
        data: data root.
        model: model folder.
        gallery: gallery folder.
        evaluation: of the model on its own benchmark.
    """

    data: Path
    model: Path
    gallery: Path
    evaluation: Evaluation


@pytest.fixture(scope="session")
def served(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Served]:
    """Training set -> a model trained on it for two epochs."""
    made: dict[str, Served] = {}

    def make(training_set: str) -> Served:
        if training_set not in made:
            made[training_set] = _served(training_set, catalogue, tmp_path_factory.mktemp(training_set))
        return made[training_set]

    return make


def _served(training_set: str, data: Path, folder: Path) -> Served:
    from qure.evaluation.stage import evaluate_benchmark
    from qure.features.stage import precompute
    from qure.models.build import build_catalogue_model
    from qure.serving.gallery import write_gallery
    from qure.training.stage import train

    settings = Settings.model_validate(
        {
            "backbone": {"vision": {"patch_size": 16}, "qformer": {"layers": 2, "intermediate": 64}},
            "training": {training_set: {"recipe": "catalogue", "overrides": {"epochs": 2}}},
            "evaluation": {"bootstrap_samples": 100},
            "tracking": {"uri": None},
        }
    )
    captions = [row["caption"] for row in json.loads((data / "pretraining" / "captions.json").read_text())]
    backbone, store, gallery = folder / "backbone", folder / "features", folder / "gallery"
    build_catalogue_model(settings.backbone, captions, seed=0).save(backbone)
    precompute(settings, training_set, data=data, backbone=backbone, output=store, device="cpu")
    train(
        settings,
        training_set,
        data=data,
        features=store,
        backbone=backbone,
        validation=None,
        output=folder,
        work=folder / "work",
        device="cpu",
        plots=False,
    )
    inputs = {"data": data, "model": folder / "model", "features": {training_set: store}, "device": "cpu"}
    evaluate_benchmark(settings, training_set, training_set, output=folder / "part", **inputs)
    gallery.mkdir()
    write_gallery(settings, training_set, gallery, validation=None, **inputs)
    evaluation = Evaluation.load(folder / "part" / "results" / training_set)
    return Served(data, folder / "model", gallery, evaluation)

"""A data set, a backbone and its features, tiny but made through the real stages' code."""

import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from qure.config import Settings, merged
from qure.features.stage import precompute
from qure.models.build import build_catalogue_model
from qure.models.model import QureModel
from qure.training.stage import TrainResult, train

WORDS = ("red", "blue", "green", "longer", "shorter", "sleeves", "dots", "stripes", "collar", "wider", "plain")

BACKBONE = {
    "vision": {"image_size": 16, "patch_size": 8, "width": 16, "layers": 1, "heads": 2},
    "qformer": {
        "hidden": 16,
        "layers": 2,
        "heads": 2,
        "intermediate": 32,
        "query_tokens": 4,
        "embedding": 8,
        "text_tokens": 12,
        "dropout": 0.1,  # as published; the rendered catalogue's own model has none
    },
}

RECIPE = {
    "epochs": 6,
    "batch_size": 8,
    "learning_rate": 3e-3,
    "several_negatives": "mean",
    "negatives": {"strategy": "between_steep_drops", "definitions": 3, "search_window": 12},
}


@dataclass(frozen=True)
class World:
    """Where everything lies that a training reads.

    Attributes:
        root: holds data/, backbone/ and features/{training set}/.
    """

    root: Path

    def settings(self, training_set: str = "fashioniq", **overrides: Any) -> Settings:
        """Settings of the tiny model with a recipe for a few seconds."""
        return Settings.model_validate(
            {
                "backbone": BACKBONE,
                "training": {training_set: {"recipe": "catalogue", "overrides": merged(RECIPE, overrides)}},
                "tracking": {"uri": None},
            }
        )

    def train(
        self,
        folder: Path,
        training_set: str = "fashioniq",
        *,
        validation: Path | None = None,
        plots: bool = False,
        **overrides: Any,
    ) -> TrainResult:
        """Trains into `folder`/artifacts with checkpoints in `folder`/work."""
        return train(
            self.settings(training_set, **overrides),
            training_set,
            data=self.root / "data",
            features=self.root / "features" / training_set,
            backbone=self.root / "backbone",
            validation=validation,
            output=folder / "artifacts",
            work=folder / "work",
            device="cpu",
            plots=plots,
        )

    def without_dropout(self, folder: Path) -> "World":
        """The same world, made in `folder`, with a backbone that has the same weights and no dropout."""
        for name in ("data", "features"):
            (folder / name).symlink_to(self.root / name)
        model = QureModel.load(self.root / "backbone")
        qformer = model.config.qformer.model_copy(update={"dropout": 0.0})
        plain = QureModel(model.config.model_copy(update={"qformer": qformer}), model.tokenizer)
        plain.load_state_dict(model.state_dict())
        plain.save(folder / "backbone")
        return World(folder)

    def command(self, folder: Path, prelude: str = "", **overrides: Any) -> list[str]:
        """A python command line that runs the same training; `prelude` is code that runs first."""
        parameters = folder / "params.yaml"
        folder.mkdir(parents=True, exist_ok=True)
        parameters.write_text(yaml.safe_dump(self.settings(**overrides).model_dump(mode="json")))
        script = folder / "train.py"
        script.write_text(
            "from pathlib import Path\n"
            "import torch\n"
            "torch.set_num_threads(1)\n"
            "from qure.config import Settings\n"
            "from qure.training.stage import train\n"
            f"{prelude}\n"
            f"folder, root = Path({str(folder)!r}), Path({str(self.root)!r})\n"
            "result = train(Settings.load(folder / 'params.yaml'), 'fashioniq', data=root / 'data',\n"
            "    features=root / 'features/fashioniq', backbone=root / 'backbone', validation=None,\n"
            "    output=folder / 'artifacts', work=folder / 'work', device='cpu')\n"
        )
        return [sys.executable, str(script)]


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums are compared to the last bit, and their order depends on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    """Images, annotations, an untrained backbone and its features."""
    root = tmp_path_factory.mktemp("world")
    random = np.random.default_rng(0)
    _write_fashioniq(root / "data" / "fashioniq", random)
    _write_cirr(root / "data" / "cirr", random)
    world = World(root)
    settings = world.settings()
    model = build_catalogue_model(settings.backbone, [" ".join([*WORDS, "is", "and", "has"])], seed=1)
    model.save(root / "backbone")
    for name in ("fashioniq", "cirr"):
        output = root / "features" / name
        precompute(settings, name, data=root / "data", backbone=root / "backbone", output=output, device="cpu")
    return world


@pytest.fixture(scope="session")
def plain_step() -> Callable[..., Any]:
    """`plain_step.plain_step`: a step's losses in plain loops. Tests are no package, so it is loaded by its path."""
    spec = importlib.util.spec_from_file_location("qure_plain_step", Path(__file__).with_name("plain_step.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    function: Callable[..., Any] = module.plain_step
    return function


@pytest.fixture(scope="session")
def run_python() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs a python command line on one thread with tracking switched off."""

    def run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
        variables = os.environ | {"OMP_NUM_THREADS": "1", "MLFLOW_TRACKING_URI": "none"} | environment
        return subprocess.run(command, env=variables, capture_output=True, text=True, timeout=240)

    return run


def lines(path: Path) -> list[dict[str, Any]]:
    """A .jsonl file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def _write_fashioniq(root: Path, random: np.random.Generator) -> None:
    for category in ("dress", "shirt", "toptee"):
        ids = [f"{category}{number:02d}" for number in range(16)]
        for image_id in ids:
            _write_image(root / "images" / f"{image_id}.png", random)
        rows = [
            {"candidate": ids[15 - number], "target": ids[number], "captions": [_sentence(random), _sentence(random)]}
            for number in range(15)
        ]
        _write_json(root / "captions" / f"cap.{category}.train.json", rows)
        _write_json(root / "image_splits" / f"split.{category}.train.json", ids)


def _write_cirr(root: Path, random: np.random.Generator) -> None:
    ids = [f"train-{number}-0-img0" for number in range(18)]
    for image_id in ids:
        _write_image(root / "train" / f"{image_id}.png", random)
    rows = [
        {
            "pairid": number,
            "reference": ids[number],
            "target_hard": ids[number + 1],
            "target_soft": {ids[number + 1]: 1.0},
            "caption": _sentence(random),
            "img_set": {"id": number, "members": ids[number : number + 6], "reference_rank": 0, "target_rank": 1},
        }
        for number in range(12)
    ]
    _write_json(root / "captions" / "cap.rc2.train.json", rows)
    _write_json(root / "image_splits" / "split.rc2.train.json", {one: f"./train/{one}.png" for one in ids})


def _write_image(path: Path, random: np.random.Generator) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    blocks = random.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    Image.fromarray(blocks.repeat(5, axis=0).repeat(5, axis=1)).save(path)


def _write_json(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def _sentence(random: np.random.Generator) -> str:
    return "is " + " ".join(random.choice(WORDS, 3, replace=False))

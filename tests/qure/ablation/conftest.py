"""A rendered catalogue, a backbone of its vocabulary and features, all tiny, made by the real stages' code."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from qure.ablation.stage import ablate
from qure.config import Settings
from qure.layout import SetLayout

SETTINGS = {
    "training": {
        "fashioniq": {"recipe": "catalogue", "overrides": {"epochs": 1}},
        "cirr": {"recipe": "catalogue", "overrides": {"epochs": 1}},
    },
    "evaluation": {"bootstrap_samples": 100},
    "tracking": {"uri": None},
}

ARMS = """
baseline: contrast
base: {loss: bradley_terry, batch_size: 64, temperature: learned, negatives: {shared_negatives: false}}
arms:
  contrast: {title: The baseline, group: first, changes: {loss: contrastive}}
  mined: {title: Mined negatives, group: second, changes: {negatives: {search_window: 20}}}
  longer: {title: Mined for longer, group: second, like: mined, changes: {temperature: fixed}, budget: 2}
"""


@dataclass(frozen=True)
class World:
    """Where everything lies that an ablation reads, and a shorthand for running one."""

    layout: SetLayout
    arms_file: Path
    backbone: Mapping[str, Any]

    @property
    def data(self) -> Path:
        return self.layout.data

    def settings(self, **changes: Any) -> Settings:
        return Settings.model_validate(SETTINGS | {"backbone": self.backbone} | changes)

    def ablate(self, folder: Path, **changes: Any) -> dict[str, Any]:
        """Into `folder`/output, runs kept in `folder`/work."""
        arguments = {"arms": ["contrast", "mined"], "seeds": (0, 1), "settings": self.settings()} | changes
        settings = arguments.pop("settings")
        return ablate(
            settings,
            "fashioniq",
            data=self.data,
            features=self.layout.training_features,
            backbone=self.layout.backbone,
            output=folder / "output",
            work=folder / "work",
            arms_file=self.arms_file,
            device="cpu",
            **arguments,
        )


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Sums are compared to the last bit, and their order depends on the number of threads."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def world(catalogue: Path, helper: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory) -> World:
    """A backbone hardly trained, and the features of the small catalogue."""
    small, folder = helper("small_project"), tmp_path_factory.mktemp("ablation")
    settings = Settings.model_validate(SETTINGS | {"backbone": small.BACKBONE})
    (folder / "arms.yaml").write_text(ARMS)
    return World(small.prepare(settings, folder, catalogue), folder / "arms.yaml", small.BACKBONE)


@pytest.fixture(scope="session")
def done(world: World, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """An ablation of two arms on two seeds: its folder and what it returned."""
    folder = tmp_path_factory.mktemp("done")
    return folder, world.ablate(folder)


@pytest.fixture
def arms_file(tmp_path: Path) -> Callable[[str], Path]:
    """Writes an arms file."""

    def write(text: str) -> Path:
        file = tmp_path / "arms.yaml"
        file.write_text(text)
        return file

    return write

"""A copy of the rendered data that a test may damage, and the one way to validate it."""

import csv
import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from qure.config import Settings
from qure.validation.stage import validate


def make_settings(**validation: Any) -> Settings:
    recipes = {name: {"recipe": "catalogue"} for name in ("fashioniq", "cirr")}
    return Settings.model_validate(
        {"training": recipes, "validation": {"workers": 1, **validation}, "tracking": {"uri": None}}
    )


@dataclass
class Workplace:
    """A data root, an output folder and a work folder."""

    root: Path

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def output(self) -> Path:
        return self.root / "artifacts" / "validation"

    @property
    def work(self) -> Path:
        return self.root / "work"

    def edit(self, file: str, change: Callable[[Any], Any]) -> None:
        """Rewrites a JSON file; `change` alters the value in place or returns another one."""
        path = self.data / file
        value = json.loads(path.read_text())
        changed = change(value)
        path.write_text(json.dumps(value if changed is None else changed))

    def validate(self, training_set: str = "fashioniq", *, champion: Path | None = None, **settings: Any) -> Any:
        return validate(
            make_settings(**settings),
            training_set,
            data=self.data,
            output=self.output,
            work=self.work,
            champion_statistics=champion,
        )

    def bad_rows(self) -> list[dict[str, str]]:
        """The list that the last validation wrote, wherever it is."""
        places = (self.output / "bad_rows.csv", self.work / "validation-report" / "bad_rows.csv")
        found = next(place for place in places if place.is_file())
        with found.open(newline="") as stream:
            return list(csv.DictReader(stream))

    def result(self) -> dict[str, Any]:
        value: dict[str, Any] = json.loads((self.output / "result.json").read_text())
        return value


def copy_of(catalogue: Path, root: Path) -> Workplace:
    # Hard links would let a test change the images of every other one.
    shutil.copytree(catalogue, root / "data")
    for path in (root / "data").rglob("*"):
        os.utime(path, ns=(10**18, 10**18))
    return Workplace(root)


@pytest.fixture(scope="session", autouse=True)
def _checked_once(checked_once: dict[str, Any]) -> None:
    """Most of these tests change one table of a dozen."""


@pytest.fixture
def workplace(catalogue: Path, tmp_path: Path) -> Workplace:
    return copy_of(catalogue, tmp_path)


@pytest.fixture(scope="module")
def new_workplace(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Workplace]:
    return lambda: copy_of(catalogue, tmp_path_factory.mktemp("workplace"))

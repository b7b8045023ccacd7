"""A project as a user has it, and its command line.

Commands run in this process, because importing Great Expectations or torch anew for every cell would take minutes; a
few cells run as real processes, where the border between the two is the point.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

DRESS = "fashioniq/captions/cap.dress.train.json"


def _params() -> dict[str, Any]:
    return {
        "training": {name: {"recipe": "catalogue", "overrides": {"epochs": 1}} for name in ("fashioniq", "cirr")},
        "backbone": {
            "pretraining": {"steps": 1, "batch_size": 8, "least_recall_at_5": 0.0},
            "vision": {"width": 32, "layers": 1, "heads": 2, "patch_size": 16},
            "qformer": {
                "hidden": 32, "layers": 2, "heads": 2, "intermediate": 64, "query_tokens": 4, "embedding": 16,
            },
        },
        "evaluation": {"bootstrap_samples": 100},
        "validation": {"workers": 1},
        "tracking": {"uri": None},
    }  # fmt: skip


@dataclass
class Project:
    """A folder with params.yaml, data/ and artifacts/."""

    root: Path
    params: dict[str, Any] = field(default_factory=_params)

    @property
    def data(self) -> Path:
        return self.root / "data"

    @property
    def artifacts(self) -> Path:
        return self.root / "artifacts"

    @property
    def output(self) -> Path:
        return self.artifacts / "fashioniq" / "validation"

    @property
    def captions(self) -> Path:
        return self.data / DRESS

    def settings(self, **sections: Any) -> None:
        """Writes params.yaml (JSON is YAML too), with these sections changed."""
        for name, values in sections.items():
            self.params[name] = {**self.params[name], **values}
        (self.root / "params.yaml").write_text(json.dumps(self.params))

    def edit(self, change: Callable[[list[dict[str, Any]]], Any], file: str = DRESS) -> None:
        rows = json.loads((self.data / file).read_text())
        change(rows)
        (self.data / file).write_text(json.dumps(rows))

    def image(self, split: str = "train", place: int = 0) -> Path:
        """The file of one of the dresses that the split's queries look for."""
        rows = json.loads((self.data / f"fashioniq/captions/cap.dress.{split}.json").read_text())
        wanted = list(dict.fromkeys(row["target"] for row in rows))
        return self.data / "fashioniq" / "images" / f"{wanted[place]}.jpg"

    def written(self) -> set[str]:
        """Every file below artifacts/; unfinished work, under hidden names, is none."""
        files = (path.relative_to(self.artifacts) for path in self.artifacts.rglob("*") if path.is_file())
        return {str(file) for file in files if not any(part.startswith(".") for part in file.parts)}

    def process(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """The command line as a process of its own."""
        command = [sys.executable, "-m", "qure.cli", *arguments]
        return subprocess.run(command, cwd=self.root, capture_output=True, text=True, check=False, **options)


def make_project(root: Path, catalogue: Path) -> Project:
    shutil.copytree(catalogue, root / "data")
    made = Project(root)
    made.settings()
    return made


@pytest.fixture(scope="session", autouse=True)
def _checked_once(checked_once: dict[str, Any]) -> None:
    """Most of these tests change one table of a dozen."""


@pytest.fixture(scope="session")
def new_project(catalogue: Path) -> Callable[[Path], Project]:
    """Folder -> a project in it."""
    return lambda root: make_project(root, catalogue)


@pytest.fixture
def project(catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Project:
    monkeypatch.chdir(tmp_path)
    return make_project(tmp_path, catalogue)


@pytest.fixture
def qure(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command line; returns exit code and what it says, line breaks taken out."""
    from qure.cli import app

    def run(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = 0
        try:
            app(list(arguments))
        except SystemExit as end:
            code = int(end.code or 0)
        captured = capsys.readouterr()
        return code, " ".join((captured.out + captured.err).split())

    return run


@pytest.fixture
def validate(qure: Callable[..., tuple[int, str]]) -> Callable[[], tuple[int, str]]:
    """Runs `qure validate` for FashionIQ."""
    return lambda: qure("validate", "--training-set", "fashioniq")

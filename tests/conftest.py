"""Fixtures that every test may ask for: a small rendered data set, and public reference files where they exist."""

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from qure.config import Settings

# Before torch is imported: two test processes with as many threads as cores each wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

REPOSITORY = Path(__file__).resolve().parents[1]


def _folder(variable: str, name: str) -> Path:
    folder = Path(os.environ.get(variable) or REPOSITORY.parent / "shared" / name)
    if not folder.is_dir():
        pytest.skip(f"needs {name}: set {variable} to a folder that holds it")
    return folder


@pytest.fixture(scope="session")
def annotations() -> Path:
    """The public annotation files: fashioniq/, cirr/, circo/, hp_fashioniq/."""
    return _folder("QURE_ANNOTATIONS", "annotations")


@pytest.fixture(scope="session")
def reference_folder() -> Path:
    """Golden vectors of the published model and of its mining, and its key list."""
    return _folder("QURE_REFERENCE", "reference")


@pytest.fixture(scope="session")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with all four benchmarks, rendered small."""
    from qure.catalogue.stage import render

    root = tmp_path_factory.mktemp("catalogue") / "data"
    render(small_settings(), root)
    return root


@pytest.fixture(scope="session")
def passed() -> Callable[..., Path]:
    """(folder, data root, image sets, excluded) -> the folder, with what a passed validation of that data leaves."""
    return _passed


def _passed(
    folder: Path, data: Path, image_sets: Sequence[str] = ("fashioniq",), excluded: Mapping[str, Any] | None = None
) -> Path:
    from qure.config import BENCHMARK_FOLDERS
    from qure.datasets.image_store import open_images
    from qure.datasets.validated import write_images

    folder.mkdir(parents=True, exist_ok=True)
    stores = {name: open_images(data / BENCHMARK_FOLDERS[name]) for name in image_sets}
    write_images(
        folder,
        [
            (name, image, store.size(image), hashlib.sha256(store.read(image)).hexdigest())
            for name, store in stores.items()
            for image in store.ids
        ],
    )
    files = [file for name in image_sets for file in (data / BENCHMARK_FOLDERS[name]).rglob("*.json")]
    digests = {str(file.relative_to(data)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    result = {"success": True, "excluded": excluded or {}, "annotations": digests}
    (folder / "result.json").write_text(json.dumps(result))
    return folder


def small_settings() -> "Settings":
    """Settings of a data set and a model that fit a unit test."""
    from qure.config import Settings

    return Settings.model_validate(
        {
            "catalogue": {"scale": 0.1},
            "backbone": {"pretraining": {"steps": 20, "batch_size": 16}},
            "training": {
                "fashioniq": {"recipe": "catalogue", "overrides": {"epochs": 2}},
                "cirr": {"recipe": "catalogue", "overrides": {"epochs": 2}},
            },
        }
    )

"""Fixtures that every test may ask for: a small rendered data set, and public reference files where they exist."""

import os
from pathlib import Path

import pytest

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
    from qure.config import Settings

    root = tmp_path_factory.mktemp("catalogue") / "data"
    render(small_settings(), root)
    assert isinstance(small_settings(), Settings)
    return root


def small_settings() -> "object":
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

"""Fixtures that every test may ask for: a small rendered data set, and public reference files where they exist."""

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xdist.scheduler import LoadScopeScheduling

    from qure.config import Settings

# Before torch is imported: two test processes with as many threads as cores each wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")

#: Minutes on one worker: begun first, so that nobody waits for them at the end.
LONGEST = ("tests/test_dvc_pipeline.py", "tests/pipelines/test_training.py")

REPOSITORY = Path(__file__).resolve().parents[1]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest modules first; the rest in its order."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> "LoadScopeScheduling":
    """A module's tests run on one worker, so that its fixtures are made once; a pipeline's, once per place.

    (--dist=loadgroup would say this with marks, but xdist 3.8 does not find them under pytest 9.2.)
    """
    from xdist.scheduler import LoadScopeScheduling

    class ByFixtures(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file, _, test = nodeid.partition("::")
            place = re.search(r"\[(subprocess|docker)-\w+\]", test)
            return f"{file}{place[0]}" if place else file

    return ByFixtures(config, log)


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
    from qure.benchmarks import get_benchmark
    from qure.datasets.image_store import open_images
    from qure.datasets.validated import write_images

    folder.mkdir(parents=True, exist_ok=True)
    stores = {name: open_images(get_benchmark(name).root(data)) for name in image_sets}
    write_images(
        folder,
        [
            (name, image, store.size(image), hashlib.sha256(store.read(image)).hexdigest())
            for name, store in stores.items()
            for image in store.ids
        ],
    )
    files = [file for name in image_sets for file in get_benchmark(name).root(data).rglob("*.json")]
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
            "backbone": {"pretraining": {"steps": 20, "batch_size": 16, "least_recall_at_5": 0.0}},
            "training": {
                "fashioniq": {"recipe": "catalogue", "overrides": {"epochs": 2}},
                "cirr": {"recipe": "catalogue", "overrides": {"epochs": 2}},
            },
        }
    )

"""Small real models, evaluations of chosen quality through the real protocol, and settings with their own MLflow."""

import importlib.util
import json
import shutil
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from qure.config import BackboneSettings, Settings
from qure.files import fingerprint, folder_digest


def _importable(name: str) -> None:
    """Makes a helper module of this folder importable by its name: tests are no package."""
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    assert spec is not None
    assert spec.loader is not None
    sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules[name])


_importable("registry_in_memory")
_importable("registry_world")

CAPTIONS = ["is a red dress with long sleeves", "has stripes and is shorter", "more formal, darker"]


@pytest.fixture(autouse=True)
def _asked_by_fork(
    request: pytest.FixtureRequest, ask_by_fork: Callable[..., dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion's fresh interpreter, torch imported already; `fresh_interpreter` marks who wants the real one."""
    if not request.node.get_closest_marker("fresh_interpreter"):
        from qure.registry import packaging

        monkeypatch.setattr(packaging, "_ask", ask_by_fork)


@pytest.fixture(scope="session", autouse=True)
def _copied_downloads(copied_downloads: None) -> None:
    """Each promotion brings a whole model."""


@pytest.fixture(scope="session", autouse=True)
def _quick_yaml() -> Iterator[None]:
    """MLflow reads and writes a model's description several times each time: by libyaml in a tenth of the time."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("SafeLoader", "SafeDumper"):
            patch.setattr(yaml, name, getattr(yaml, f"C{name}", getattr(yaml, name)))
        yield


@pytest.fixture(scope="session")
def model_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Path]:
    """Seed -> folder of an untrained small model."""
    from qure.models.build import build_catalogue_model

    folder = tmp_path_factory.mktemp("models")
    small = BackboneSettings.model_validate(
        {
            "vision": {"width": 32, "layers": 1, "heads": 2, "patch_size": 16},
            "qformer": {"hidden": 32, "layers": 2, "heads": 2, "intermediate": 64, "query_tokens": 4, "embedding": 16},
        }
    )

    def build(seed: int) -> Path:
        if not (folder / str(seed)).is_dir():
            notes = {"training": "fashioniq", "backbone": f"the backbone of {seed}"}
            build_catalogue_model(small, CAPTIONS, seed).save(folder / str(seed), notes=notes)
        return folder / str(seed)

    return build


@pytest.fixture(scope="session")
def few_images(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data root with the catalogue's images and a gallery of 36: what a registered model ranks in most tests."""
    root = tmp_path_factory.mktemp("few") / "data"
    shutil.copytree(catalogue / "fashioniq", root / "fashioniq")
    for file in (root / "fashioniq" / "image_splits").glob("*.val.json"):
        ids = json.loads(file.read_text())[:12]
        file.write_text(json.dumps(ids))
        captions = root / "fashioniq" / "captions" / file.name.replace("split.", "cap.")
        one = json.loads(captions.read_text())[0]
        captions.write_text(json.dumps([one | {"candidate": ids[0], "target": ids[1]}]))
    (root / "fashioniq" / "truth.json").unlink()
    return root


@pytest.fixture
def settings(sqlite_uri: str) -> Settings:
    """With tracking in a database of this test's own."""
    return settings_at(sqlite_uri)


def settings_at(uri: str) -> Settings:
    return Settings.model_validate(
        {
            "training": {"fashioniq": {"recipe": "catalogue"}, "cirr": {"recipe": "catalogue"}},
            "evaluation": {"bootstrap_samples": 200},
            "tracking": {"uri": uri},
        }
    )


@pytest.fixture(scope="session")
def settings_for() -> Callable[[str], Settings]:
    """Tracking URI -> settings."""
    return settings_at


@pytest.fixture
def judged(judged_in: Callable[[Path], Callable[..., Path]], tmp_path: Path) -> Callable[..., Path]:
    """`judged_in` this test's own folder."""
    return judged_in(tmp_path)


@pytest.fixture(scope="session")
def judged_in(catalogue: Path) -> Callable[[Path], Callable[..., Path]]:
    """Folder -> (model folder, quality 0..1) -> an evaluate stage's folder, as far as the registry reads it."""
    return lambda folder: _judging(catalogue, folder)


def _judging(catalogue: Path, folder: Path) -> Callable[..., Path]:
    """FashionIQ's own protocol on the catalogue's queries; the embeddings are the targets' with noise, so that quality
    can be chosen and two qualities differ on the same queries. `collapsed`: "queries" or "candidates" have become one.
    """
    evaluations = folder / "evaluations"

    def judge(model: Path, quality: float, *, images: str = "the images", seed: int = 0, collapsed: str = "") -> Path:
        from qure.benchmarks.fashioniq import files as files
        from qure.benchmarks.fashioniq import protocol as fashioniq
        from qure.evaluation.findings import collapses, write_findings
        from qure.evaluation.ranking.embeddings import Embeddings
        from qure.evaluation.statistics.results import save_results
        from qure.files import write_json
        from qure.models.manifest import read_manifest

        folder = evaluations / f"{model.name}-{quality}-{seed}-{images}-{collapsed}"
        if folder.is_dir():
            return folder
        root = catalogue / "fashioniq"
        triplets = files.read_triplets(root, "val")
        galleries = {category: files.read_gallery(root, "val", category) for category in files.CATEGORIES}
        ids = list(dict.fromkeys(one for gallery in galleries.values() for one in gallery.ids))
        draw = np.random.default_rng(seed)
        candidates = _unit(draw.normal(size=(len(ids), 32)))
        row_of = {identifier: row for row, identifier in enumerate(ids)}
        right = candidates[[row_of[str(triplet.target)] for triplet in triplets]]
        queries = _unit(quality * right + (1 - quality) * _unit(draw.normal(size=right.shape)))
        if collapsed == "queries":
            queries[:] = queries[0]
        if collapsed == "candidates":
            candidates = _unit(candidates[:1] + 1e-4 * candidates)
        found = fashioniq.evaluate(
            triplets,
            galleries,
            Embeddings([triplet.query_id for triplet in triplets], queries),
            Embeddings(ids, candidates),
            images=images,
        )
        fingerprint = read_manifest(model)["fingerprint"]
        save_results(folder / "results", [replace(found, details={**found.details, "model": fingerprint})])
        write_json(folder / "metrics.json", {"fashioniq": found.metrics})
        write_json(folder / "comparisons.json", {"controls": {}, "champion": {}})
        write_findings(folder, collapses([found]), [found])
        return folder

    return judge


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where `packaged_once` keeps packages: read only."""
    return tmp_path_factory.mktemp("packages")


@pytest.fixture
def packaged_once(packages: Path, few_images: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model is packaged with the gallery of `few_images` once: the next time it is what was packaged before."""
    from qure.registry import registration
    from qure.serving import gallery

    make = registration._package

    def package(settings: Settings, trained: Any, temporary: Path, device: str) -> Path:
        if trained.data != few_images or trained.features or trained.validation:
            return make(settings, trained, temporary, device)
        facts, example = registration._facts(settings, trained), registration._example(trained)
        serving = [settings.serving.model_dump(mode="json"), repr(gallery.write_gallery)]  # which a test may replace
        kept = packages / fingerprint([facts, serving, repr(example), device])
        if not kept.is_dir():
            make(settings, trained, temporary, device).rename(kept)
        return kept

    monkeypatch.setattr(registration, "_package", package)


@pytest.fixture
def world(
    packaged_once: None,
    settings: Settings,
    few_images: Path,
    tmp_path: Path,
    model_of: Callable[[int], Path],
    judged: Callable[..., Path],
) -> Any:
    """A `registry_world.World` with nothing in it yet."""
    from registry_world import World

    return World(settings, few_images, tmp_path, model_of, judged)


@pytest.fixture
def untouched() -> Callable[[Path], Callable[[], bool]]:
    """Folder -> a question that tells later whether it is still the same."""

    def watch(folder: Path) -> Callable[[], bool]:
        before = folder_digest(folder)
        return lambda: folder_digest(folder) == before

    return watch


def _unit(
    rows: "np.ndarray[tuple[int, int], np.dtype[np.float64]]",
) -> "np.ndarray[tuple[int, int], np.dtype[np.float32]]":
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)

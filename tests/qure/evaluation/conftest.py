"""Small benchmarks in their public layouts, embeddings of known seed, and whole evaluations of tiny models."""

import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from qure.benchmarks import image_sets_of
from qure.config import EvaluationSettings, Settings
from qure.evaluation.ranking.embeddings import Embeddings

CATEGORIES = ("dress", "shirt", "toptee")

#: Runs when it is taken for markup, in an attribute or between tags; the reader capitalises: lower case only.
HOSTILE = """<script>window.ran = 1</script>"'><img src=x onerror="window.ran = 1">{{ 7*7 }}</q></article> & $x$"""


@pytest.fixture
def settings() -> EvaluationSettings:
    """Few resamples: most tests look at the numbers themselves."""
    return EvaluationSettings(bootstrap_samples=100)


@pytest.fixture
def unit_embeddings() -> Callable[..., Embeddings]:
    """Random unit vectors of known seed: call with ids, seed, and how many vectors per id."""

    def make(ids: Sequence[str], seed: int, tokens: int = 1, dimension: int = 16) -> Embeddings:
        values = np.random.default_rng(seed).standard_normal((len(ids), tokens, dimension))
        return Embeddings(ids, (values / np.linalg.norm(values, axis=2, keepdims=True)).astype(np.float32))

    return make


@pytest.fixture
def fashioniq_root(tmp_path: Path) -> Path:
    """FashionIQ's layout: 3 categories, 30 images and 20 val queries each."""
    root = tmp_path / "fashioniq"
    generator = np.random.default_rng(5)
    for category in CATEGORIES:
        ids = [f"{category}{number:02d}" for number in generator.permutation(30)]
        rows = []
        for number in range(20):
            reference, target = generator.choice(25, size=2, replace=False)
            rows.append(
                {"candidate": ids[reference], "target": ids[target], "captions": [f"is {number}", "has sleeves"]}
            )
        dump(root / "image_splits" / f"split.{category}.val.json", ids)
        dump(root / "captions" / f"cap.{category}.val.json", rows)
    return root


@pytest.fixture
def cirr_root(tmp_path: Path) -> Path:
    """CIRR's layout: 60 images and 30 queries in val, the same without answers in test1."""
    root = tmp_path / "cirr"
    for split, prefix in (("val", "dev"), ("test1", "test1")):
        generator = np.random.default_rng(6)
        ids = [f"{prefix}-{number}-0-img0" for number in generator.permutation(60)]
        rows = []
        for number in range(30):
            members = [ids[place] for place in generator.choice(60, size=6, replace=False)]
            row = {
                "pairid": 100 + number,
                "reference": members[0],
                "caption": f"show {number} dogs",
                "img_set": {"id": number, "members": sorted(members)},
            }
            if split == "val":
                row["target_hard"] = members[1]
            rows.append(row)
        dump(root / "image_splits" / f"split.rc2.{split}.json", {name: f"./{prefix}/{name}.png" for name in ids})
        dump(root / "captions" / f"cap.rc2.{split}.json", rows)
    return root


@pytest.fixture
def circo_root(tmp_path: Path) -> Path:
    """CIRCO's layout: 80 images in COCO's index, 25 queries with 1 to 6 right answers in val, 25 without in test."""
    root = tmp_path / "circo"
    generator = np.random.default_rng(7)
    ids = [int(number) for number in generator.choice(500_000, size=80, replace=False)]
    for split in ("val", "test"):
        rows = []
        for number in range(25):
            chosen = [ids[place] for place in generator.choice(80, size=2 + number % 6, replace=False)]
            row = {"id": number, "reference_img_id": chosen[0], "relative_caption": f"is {number}"}
            if split == "val":
                row |= {"target_img_id": chosen[1], "gt_img_ids": chosen[1:]}
            rows.append(row)
        dump(root / "annotations" / f"{split}.json", rows)
    index = {"images": [{"id": number, "file_name": f"{number:012d}.jpg"} for number in ids]}
    dump(root / "COCO2017_unlabeled" / "annotations" / "image_info_unlabeled2017.json", index)
    return root


@pytest.fixture
def hp_fashioniq_root(tmp_path: Path) -> Path:
    """HP-FashionIQ's layout: 6 people, 2 question sets each of 4 rows; some prefer what they score lower."""
    root = tmp_path / "hp_fashioniq"
    generator = np.random.default_rng(8)
    people: dict[str, dict[str, object]] = {}
    for person in range(6):
        people[f"user_{person + 1}"] = {}
        for question_set in range(2):
            people[f"user_{person + 1}"][f"question_set_{question_set + 1}"] = _questions(generator)
    dump(root / "hpfiq.json", people)
    return root


def _questions(generator: np.random.Generator) -> dict[str, list[object]]:
    content: dict[str, list[object]] = {
        key: []
        for key in (
            "ref_img_paths",
            "targ_img_paths",
            "sentences",
            "retrieved_set1",
            "retrieved_set2",
            "preferred set",
        )
    }
    for number in range(4):
        category = CATEGORIES[number % 3]
        paths = [f"/-/image_data/{category}/{category}{place:02d}.jpg" for place in generator.permutation(30)]
        content["ref_img_paths"].append(paths[0])
        content["targ_img_paths"].append(paths[1])
        content["sentences"].append("is red  and has a logo")
        for key, chosen in (("retrieved_set1", paths[2:7]), ("retrieved_set2", paths[5:10])):
            content[key].append({"img_path": chosen, "user_score": str(generator.integers(1, 6))})
        content["preferred set"].append(str(generator.integers(1, 3)))
    return content


def dump(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@dataclass(frozen=True)
class Evaluated:
    """A really evaluated, tiny model.

    Attributes:
        folder: holds evaluation/; where the model was trained also training/, and champion/: the backbone's evaluation.
        hostile: a caption that some of the queries have.
    """

    settings: Settings
    data: Path
    folder: Path
    hostile: str = HOSTILE

    @property
    def report(self) -> Path:
        return self.folder / "evaluation" / "report.html"


@pytest.fixture(scope="session")
def evaluated(
    catalogue: Path, helper: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory
) -> Evaluated:
    """FashionIQ and HP-FashionIQ: trained for three epochs, beside the backbone as champion."""
    from qure.evaluation.stage import evaluate
    from qure.training.stage import train

    found, inputs = _prepared("fashioniq", catalogue, tmp_path_factory.mktemp("report"))
    folder = found.folder
    train(
        found.settings,
        "fashioniq",
        data=found.data,
        features=folder / "features" / "fashioniq",
        backbone=folder / "backbone",
        validation=None,
        output=folder,
        work=folder / "work",
        device="cpu",
    )
    with helper("small_project").undrawn():
        evaluate(found.settings, "fashioniq", model=folder / "backbone", output=folder / "champion", **inputs)
    evaluate(
        found.settings,
        "fashioniq",
        model=folder / "model",
        backbone=folder / "backbone",
        training=folder / "training",
        champion=folder / "champion",
        output=folder / "evaluation",
        **inputs,
    )
    return found


@pytest.fixture(scope="session")
def scenes(catalogue: Path, tmp_path_factory: pytest.TempPathFactory) -> Evaluated:
    """CIRR and CIRCO, which has several right answers a query, with an untrained model."""
    from qure.evaluation.stage import evaluate

    found, inputs = _prepared("cirr", catalogue, tmp_path_factory.mktemp("scenes"))
    evaluate(found.settings, "cirr", model=found.folder / "backbone", output=found.folder / "evaluation", **inputs)
    return found


def _prepared(training_set: str, catalogue: Path, folder: Path) -> tuple[Evaluated, dict[str, Any]]:
    """A small data set in which some captions are hostile, a backbone, features; and what `evaluate` reads of them."""
    from qure.features.stage import precompute
    from qure.models.build import build_catalogue_model

    data = folder / "data"
    shutil.copytree(catalogue, data)
    _make_hostile(data)
    settings = Settings.model_validate(
        {
            "backbone": {"vision": {"patch_size": 16}, "qformer": {"layers": 2, "intermediate": 64, "query_tokens": 4}},
            "training": {training_set: {"recipe": "catalogue", "overrides": {"epochs": 3}}},
            "evaluation": {"bootstrap_samples": 100},
            "tracking": {"uri": None},
        }
    )
    captions = [row["caption"] for row in json.loads((data / "pretraining" / "captions.json").read_text())]
    build_catalogue_model(settings.backbone, captions, seed=0).save(folder / "backbone")
    features = {name: folder / "features" / name for name in image_sets_of(training_set)}
    for name, store in features.items():
        precompute(settings, name, data=data, backbone=folder / "backbone", output=store, device="cpu")
    return Evaluated(settings, data, folder), {"data": data, "features": features, "device": "cpu"}


def _make_hostile(data: Path) -> None:
    """Whatever queries are shown, one of them is hostile: every second caption of a category and of CIRR."""
    for name, key in (("fashioniq/captions/cap.shirt.val.json", "captions"), ("cirr/captions/cap.rc2.val.json", "")):
        rows = json.loads((data / name).read_text())
        for number, row in enumerate(rows[::2]):
            row[key or "caption"] = [f"is {number}", HOSTILE] if key else f"{HOSTILE} {number}"
        (data / name).write_text(json.dumps(rows))

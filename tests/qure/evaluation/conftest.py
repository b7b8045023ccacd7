"""Small benchmarks in their public layouts, and embeddings of known seed."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest

from qure.config import EvaluationSettings
from qure.evaluation.embeddings import Embeddings

CATEGORIES = ("dress", "shirt", "toptee")


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

"""Small hand-written benchmarks in the published layouts, and a way to spoil them."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Edit = Callable[[Path, Callable[[Any], Any]], None]


def write(path: Path, value: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value), encoding="utf-8")


@pytest.fixture
def edit() -> Edit:
    """edit(path, change): the file's JSON goes through `change`, which alters it in place or returns another value."""

    def _edit(path: Path, change: Callable[[Any], Any]) -> None:
        value = json.loads(path.read_text(encoding="utf-8"))
        changed = change(value)
        write(path, value if changed is None else changed)

    return _edit


@pytest.fixture
def fashioniq_root(tmp_path: Path) -> Path:
    """FashionIQ with four images and two rows per category and split; an id tells category, split and number."""
    root = tmp_path / "fashioniq"
    for category in ("dress", "shirt", "toptee"):
        for split in ("train", "val", "test"):
            ids = [f"{category[0]}-{split}-{number}" for number in range(4)]
            rows = [
                {"target": ids[1], "candidate": ids[0], "captions": ["is red.", " has a v neck"]},
                {"target": ids[2], "candidate": ids[1], "captions": ["", "is longer"]},
            ]
            if split == "test":
                rows = [{key: row[key] for key in ("candidate", "captions")} for row in rows]
            write(root / "captions" / f"cap.{category}.{split}.json", rows)
            write(root / "image_splits" / f"split.{category}.{split}.json", ids)
    return root


@pytest.fixture
def cirr_root(tmp_path: Path) -> Path:
    """CIRR with one image set of six and two pairs per split."""
    root = tmp_path / "cirr"
    for split, prefix, first in (("train", "train", 0), ("val", "dev", 10), ("test1", "test1", 20)):
        folder = "train/34" if split == "train" else prefix
        ids = [f"{prefix}-7-{number}-img0" for number in range(6)]
        rows: list[dict[str, Any]] = []
        for number in range(2):
            row: dict[str, Any] = {"pairid": first + number, "reference": ids[number]}
            image_set: dict[str, Any] = {"id": 3, "members": ids, "reference_rank": number}
            if split != "test1":
                row |= {"target_hard": ids[number + 1], "target_soft": {ids[number + 1]: 1.0}}
                image_set["target_rank"] = number + 1
            rows.append({**row, "caption": "Fewer paper towels", "img_set": image_set})
        write(root / "captions" / f"cap.rc2.{split}.json", rows)
        write(root / "image_splits" / f"split.rc2.{split}.json", {i: f"./{folder}/{i}.png" for i in ids})
    return root


@pytest.fixture
def circo_root(tmp_path: Path) -> Path:
    """CIRCO with six images, two val queries and one test query."""
    root = tmp_path / "circo"
    val = [
        {
            "reference_img_id": 11,
            "target_img_id": 12,
            "relative_caption": "shows two people",
            "shared_concept": "a girl",
            "gt_img_ids": [12, 13, 14],
            "id": 0,
            "semantic_aspects": ["cardinality"],
        },
        {
            "reference_img_id": 12,
            "target_img_id": 15,
            "relative_caption": "is at night",
            "shared_concept": "a dog",
            "gt_img_ids": [16, 15],
            "id": 1,
            "semantic_aspects": [],
        },
    ]
    test = [{"reference_img_id": 14, "relative_caption": "is red", "shared_concept": "a bus", "id": 0}]
    write(root / "annotations" / "val.json", val)
    write(root / "annotations" / "test.json", test)
    images = [{"id": number, "file_name": f"{number:012d}.jpg", "height": 4, "width": 4} for number in range(11, 17)]
    write(root / "COCO2017_unlabeled" / "annotations" / "image_info_unlabeled2017.json", {"info": {}, "images": images})
    return root


def hp_path(image: str, category: str = "shirt") -> str:
    return f"/-/image_data/{category}/{image}.jpg"


@pytest.fixture
def hp_root(tmp_path: Path) -> Path:
    """HP-FashionIQ with one person and two rows in each question set; the last row is inconsistent."""
    root = tmp_path / "hp_fashioniq"

    def retrieved(start: str, score: str) -> dict[str, Any]:
        return {"img_path": [hp_path(f"{start}{number}") for number in range(5)], "user_score": score}

    question_set = {
        "ref_img_paths": [hp_path("R0"), hp_path("R1")],
        "targ_img_paths": [hp_path("T0"), hp_path("T1")],
        "sentences": [
            "is white and long-sleevedotmark  and has a logo",
            "got hondaquestionmark  and is redandmark blue",
        ],
        "retrieved_set1": [retrieved("A", "4"), retrieved("B", "2")],
        "retrieved_set2": [retrieved("C", "3"), retrieved("D", "5")],
        "preferred set": ["1", "1"],
    }
    write(root / "hpfiq.json", {"user_1": {"question_set_1": question_set, "question_set_2": question_set}})
    return root

"""The benchmarks' annotation files, asked through the registry, with labels and truth beside them."""

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from qure_tests_fuzz_damage import damaged_json
from qure_tests_fuzz_target import Target

from qure.benchmarks import Scope, get_benchmark
from qure.datasets.exclusions import Exclusions
from qure.files import fingerprint

INDEX = "circo/COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"


def documents() -> dict[str, Any]:
    """Every benchmark's files, small."""
    return _fashioniq() | _hp_fashioniq() | _cirr() | _circo()


def _fashioniq() -> dict[str, Any]:
    files: dict[str, Any] = {}
    for category in ("dress", "shirt", "toptee"):
        for split in ("train", "val", "test"):
            ids = [f"{category}-{split}-{number}" for number in range(5)]
            rows = [
                {"candidate": ids[0], "target": ids[1], "captions": ["is red.", " has a v neck"]},
                {"candidate": ids[1], "target": ids[2], "captions": ["", "is longer"]},
            ]
            if split == "test":
                rows = [{name: row[name] for name in ("candidate", "captions")} for row in rows]
            files[f"fashioniq/captions/cap.{category}.{split}.json"] = rows
            files[f"fashioniq/image_splits/split.{category}.{split}.json"] = ids
    label = {
        "id": "dress/0",
        "reference_img_id": "dress-val-0",
        "target_img_id": "dress-val-1",
        "relative_caption": "Is red and has a v neck",
        "gt_img_ids": ["dress-val-1", "dress-val-3"],
    }
    images = [f"{category}-val-{number}" for category in ("dress", "shirt", "toptee") for number in range(5)]
    queries = {f"{category}/{row}": [0, row] for category in ("dress", "shirt", "toptee") for row in range(2)}
    truth = {
        "format": "qure-truth",
        "version": 1,
        "attributes": {"category": ["dress"], "colour": ["red", "blue"]},
        "must": ["category"],
        "images": {"val": {image: [0, number % 2] for number, image in enumerate(images)}},
        "queries": {"val": queries, "train": {"dress/0": [0, -1]}, "test": {}},
    }
    return files | {"fashioniq/labels.val.json": [label], "fashioniq/truth.json": truth}


def _hp_fashioniq() -> dict[str, Any]:
    def path(number: int) -> str:
        return f"/-/image_data/dress/dress-val-{number}.jpg"

    def shown(score: str) -> dict[str, Any]:
        return {"img_path": [path(number) for number in range(5)], "user_score": score}

    questions = {
        "ref_img_paths": [path(0), path(1)],
        "targ_img_paths": [path(1), path(2)],
        "sentences": ["is reddotmark  and has a v neck", "is longer"],
        "retrieved_set1": [shown("4"), shown("2")],
        "retrieved_set2": [shown("3"), shown("5")],
        "preferred set": ["1", "2"],
    }
    return {"hp_fashioniq/hpfiq.json": {"user_1": {"question_set_1": questions}}}


def _cirr() -> dict[str, Any]:
    files: dict[str, Any] = {}
    for split, prefix, first in (("train", "train", 0), ("val", "dev", 10), ("test1", "test1", 20)):
        ids = [f"{prefix}-7-{number}-img0" for number in range(6)]
        rows: list[dict[str, Any]] = []
        for number in range(2):
            row: dict[str, Any] = {"pairid": first + number, "reference": ids[number], "caption": "Fewer towels"}
            if split != "test1":
                row |= {"target_hard": ids[number + 1], "target_soft": {ids[number + 1]: 1.0}}
            rows.append(row | {"img_set": {"id": 3, "members": ids, "reference_rank": number}})
        files[f"cirr/captions/cap.rc2.{split}.json"] = rows
        files[f"cirr/image_splits/split.rc2.{split}.json"] = {one: f"./{prefix}/{one}.png" for one in ids}
    return files


def _circo() -> dict[str, Any]:
    query = {"reference_img_id": 11, "relative_caption": "shows two people", "shared_concept": "a girl", "id": 0}
    answered = {**query, "target_img_id": 12, "gt_img_ids": [12, 13, 14], "semantic_aspects": ["cardinality"]}
    images = [{"id": number, "file_name": f"{number:012d}.jpg", "height": 4, "width": 4} for number in range(11, 17)]
    return {
        "circo/annotations/val.json": [answered, {**answered, "id": 1, "target_img_id": 13}],
        "circo/annotations/test.json": [query],
        INDEX: {"info": {}, "images": images},
    }


def lay(folder: Path) -> None:
    """Writes all files."""
    for name, value in documents().items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(json.dumps(value), encoding="utf-8")


def reads(benchmark: str) -> list[Callable[[Path], Any]]:
    """Everything that the registry's object answers about files, and the tables that validation is made of."""
    one = get_benchmark(benchmark)
    found: list[Callable[[Path], Any]] = [lambda data: one.tables(data, _earlier(benchmark, data))]
    for split in one.splits:
        found += [
            lambda data, split=split: list(one.image_ids(one.root(data), split)),
            lambda data, split=split: _can_be_written(one.read(one.root(data), split, Scope())),
            lambda data, split=split: one.count_queries(one.root(data), split, Exclusions()),
        ]
    if os.environ.get("QURE_FUZZ_SECONDS"):
        found.append(lambda data: _checked(one.tables(data, _earlier(benchmark, data)), data))
    if one.compared_by is not None:
        found += [lambda data: one.read_training(one.root(data)), lambda data: one.training_galleries(one.root(data))]
    return found


def _earlier(benchmark: str, data: Path) -> dict[str, Any]:
    """Tables of the benchmark whose images another one uses."""
    images = get_benchmark(benchmark).images
    return {} if images == benchmark else {images: get_benchmark(images).tables(data, {})}


def _checked(annotations: Any, data: Path) -> Any:
    """What validation makes of the tables: every rule can be asked, and every bad row be listed.

    Great Expectations takes a second for them, so one file in sixteen is looked at, whose digest says so.
    """
    if fingerprint(annotations.digests)[0] != "0":
        return None
    from qure.config import ValidationSettings
    from qure.validation.findings import bad_rows_of, write_bad_rows
    from qure.validation.run import run_suites
    from qure.validation.suites import annotation_suites

    found = []
    for suite in run_suites(annotation_suites(annotations, ValidationSettings(), claims_public=False)):
        found += bad_rows_of(annotations, suite.expectations)
    write_bad_rows(data / "bad_rows.csv", found)
    return found


def _can_be_written(split: Any) -> Any:
    """What is read goes into results and reports: texts that no file can hold are refused when they are read."""
    json.dumps([asdict(one) for one in (*split.triplets, *split.pairs)], ensure_ascii=False).encode()
    return split


def target(name: str, benchmark: str, file: str) -> Target:
    return Target(name, file, reads(benchmark), damaged_json, lay)


TARGETS = [
    target("fashioniq-captions", "fashioniq", "fashioniq/captions/cap.dress.val.json"),
    target("fashioniq-withheld", "fashioniq", "fashioniq/captions/cap.dress.test.json"),
    target("fashioniq-list", "fashioniq", "fashioniq/image_splits/split.dress.val.json"),
    target("labels", "fashioniq", "fashioniq/labels.val.json"),
    target("truth", "fashioniq", "fashioniq/truth.json"),
    target("hp-fashioniq-answers", "hp-fashioniq", "hp_fashioniq/hpfiq.json"),
    target("cirr-captions", "cirr", "cirr/captions/cap.rc2.train.json"),
    target("cirr-withheld", "cirr", "cirr/captions/cap.rc2.test1.json"),
    target("cirr-list", "cirr", "cirr/image_splits/split.rc2.train.json"),
    target("circo-queries", "circo", "circo/annotations/val.json"),
    target("circo-withheld", "circo", "circo/annotations/test.json"),
    target("circo-index", "circo", INDEX),
]

"""What validation settled holds in every later stage: tolerated images are gone everywhere, other data is refused."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

SET = ("--training-set", "fashioniq")
Qure = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def trained(
    new_project: Callable[[Path], Any], helper: Callable[[str], ModuleType], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Any]:
    """A project with a broken image in train and one in val, both tolerated, run up to the evaluation."""
    from qure.cli import app

    project = new_project(tmp_path_factory.mktemp("project"))
    for split in ("train", "val"):
        project.image(split).write_bytes(b"broken")
    project.settings(validation={"tolerate": {"image_unreadable": 2}})
    before = Path.cwd()
    os.chdir(project.root)
    try:
        both = ("fashioniq", "cirr")
        commands = [*(("validate", "--training-set", name) for name in both), ("backbone",)]
        for command in [*commands, ("precompute", *SET), ("train", *SET), ("evaluate", *SET)]:
            with pytest.raises(SystemExit) as end, helper("small_project").undrawn():
                app(list(command))
            assert end.value.code == 0, command
        yield project
    finally:
        os.chdir(before)


def _read(project: Any, name: str) -> Any:
    return json.loads((project.artifacts / name).read_text())


def test_tolerated_images_are_dropped_in_every_stage_and_counted(trained: Any) -> None:
    import pandas as pd

    broken = {trained.image("train").stem, trained.image("val").stem}
    result = _read(trained, "fashioniq/validation/result.json")
    assert set(result["excluded"]["fashioniq"]["images"]) == broken
    assert set(result["excluded"]["hp-fashioniq"]["images"]) == broken
    counted = [rule for rule in result["rules"] if rule["outcome"] == "tolerated"]
    assert [(rule["rule"], rule["rows"], rule["tolerated"]) for rule in counted] == [("image_unreadable", 2, 2)]
    captioned = json.loads((trained.data / "pretraining" / "captions.json").read_text())
    left_out = [row for row in captioned if row["image"] in broken]
    assert left_out
    assert _read(trained, "backbone/manifest.json")["notes"]["images"] == len(captioned) - len(left_out)
    stored = set(pd.read_parquet(trained.artifacts / "fashioniq/features/fashioniq/index.parquet")["id"])
    assert stored.isdisjoint(broken)
    summary = _read(trained, "fashioniq/training/summary.json")
    assert summary["excluded"] == {"images": 2, "queries": 0}
    kept = result["queries"]["fashioniq/train"]
    assert summary["triplets"] == kept["kept"] < kept["rows"]
    asked = pd.read_parquet(trained.artifacts / "fashioniq/evaluation/results/fashioniq/per_query.parquet")
    assert len(asked) == result["queries"]["fashioniq/val"]["kept"] < result["queries"]["fashioniq/val"]["rows"]
    report = " ".join((trained.artifacts / "fashioniq/evaluation/report.html").read_text().split())
    assert "Left out because validation tolerated their defects: 1 images" in report


CHANGES: dict[str, tuple[Callable[[Any], Path], Callable[[bytes], bytes], str]] = {
    "captions": (
        lambda project: project.captions,
        lambda old: old + b" ",
        "cap.dress.train.json: the file has changed",
    ),
    "an image": (lambda project: project.image(place=5), lambda old: old + b"\0", "has changed since the data was"),
}


@pytest.mark.parametrize("what", CHANGES)
@pytest.mark.parametrize("command", [("backbone",), ("precompute", *SET), ("train", *SET)], ids=lambda words: words[0])
def test_data_that_changed_since_validation_is_refused(trained: Any, qure: Qure, what: str, command: Any) -> None:
    choose, change, problem = CHANGES[what]
    file, before = choose(trained), trained.written()
    content = file.read_bytes()
    file.write_bytes(change(content))
    try:
        code, said = qure(*command)
    finally:
        file.write_bytes(content)
    assert code == 2
    assert file.name in said
    assert problem in said
    assert "Run 'qure validate' again" in said
    assert trained.written() == before


def _another_of_the_same_size(jpeg: bytes) -> bytes:
    """The same picture with another resolution (dots per inch) in its header."""
    assert jpeg[6:10] == b"JFIF"
    return jpeg[:15] + bytes([jpeg[15] ^ 2]) + jpeg[16:]


def test_an_image_swapped_for_one_of_the_same_size_is_refused_when_it_is_read(trained: Any, qure: Qure) -> None:
    image, before = trained.image(place=5), trained.written()
    content = image.read_bytes()
    image.write_bytes(_another_of_the_same_size(content))
    try:
        code, said = qure("precompute", *SET)
    finally:
        image.write_bytes(content)
    assert code == 2
    assert f"image '{image.stem}' is not the one that was validated" in said
    assert trained.written() == before


def test_features_of_another_data_version_are_refused_naming_both(trained: Any, qure: Qure) -> None:
    """The data has changed and passed, and the features are the old ones."""
    import hashlib

    image = trained.image(place=5)
    content = image.read_bytes()
    swapped = _another_of_the_same_size(content)
    image.write_bytes(swapped)
    try:
        assert qure("validate", *SET)[0] == 0
        before = trained.written()
        code, said = qure("train", *SET)
        assert trained.written() == before
    finally:
        image.write_bytes(content)
        assert qure("validate", *SET)[0] == 0
    assert code == 2
    assert "artifacts/fashioniq/features/fashioniq" in said
    assert hashlib.sha256(content).hexdigest() in said
    assert hashlib.sha256(swapped).hexdigest() in said
    assert "qure precompute" in said


def test_features_of_another_backbone_are_refused_naming_both(trained: Any, qure: Qure) -> None:
    of_features = _read(trained, "backbone/manifest.json")["vision_fingerprint"]
    pretraining = trained.params["backbone"]["pretraining"]
    trained.settings(backbone={"pretraining": {**pretraining, "steps": 2}})
    try:
        assert qure("backbone")[0] == 0
        another = _read(trained, "backbone/manifest.json")["vision_fingerprint"]
        before = trained.written()
        code, said = qure("train", *SET)
        assert trained.written() == before
    finally:
        trained.settings(backbone={"pretraining": pretraining})
        assert qure("backbone")[0] == 0
    assert code == 2
    assert "artifacts/fashioniq/features/fashioniq/manifest.json" in said
    assert of_features in said
    assert another in said
    assert _read(trained, "backbone/manifest.json")["vision_fingerprint"] == of_features, "the same one, made again"


def test_the_backbone_is_not_trained_on_data_that_was_never_validated(project: Any, qure: Qure) -> None:
    code, said = qure("backbone")
    assert code == 2
    assert "artifacts/fashioniq/validation/result.json" in said
    assert "Run 'qure validate' first" in said
    assert project.written() == set()

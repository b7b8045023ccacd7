"""`qure data`, `qure compare-data`, `qure rollback`: what they print, for people and for programs."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


def test_images_are_packed_beside_themselves(qure: Callable[..., Any], project: Path) -> None:
    images = project / "data" / "fashioniq" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(images / "B01.jpg")
    assert qure("data", "pack", "data/fashioniq").exit_code == 0
    assert list((project / "data" / "fashioniq" / "image_shards").rglob("*.tar"))
    assert (images / "B01.jpg").is_file(), "removing them is the user's act"


def test_leakage_is_a_table_or_json(qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counts = {"fashioniq": {"judged_images": 1234, "shared": 5}, "cirr": {"judged_images": 6}}
    monkeypatch.setattr("qure.datasets.leakage.leakage", lambda data: counts)
    said = qure("data", "leakage").out
    rows = [line.replace("│", " ").split() for line in said.splitlines()]
    assert ["judged", "images", "1,234", "6"] in rows
    assert ["shared", "5"] in rows
    assert json.loads(qure("data", "leakage", "--json").out) == counts


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (None, "there is no champion to compare the data with"),
        ({"measures": []}, "alike    the champion left no statistics"),
        ({"measures": [{"says": "texts are longer", "shifted": True}]}, "shifted  texts are longer"),
    ],
)
def test_data_against_the_champions(
    qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch, found: Any, said: str
) -> None:
    monkeypatch.setattr("qure.registry.drift.compare_with_champion", lambda *_, **__: found)
    assert qure("compare-data", "--training-set", "cirr").out == f"{said}\n"
    assert json.loads(qure("compare-data", "--training-set", "cirr", "--json").out) == found


def test_rolling_back_without_a_champion_names_the_way_out(
    qure: Callable[..., Any], project: Path, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("sqlite:///mlflow.db", sqlite_uri))
    said = qure("rollback", "--training-set", "cirr")
    assert said.exit_code == 2
    assert "qure-cirr has no champion. Name a version: qure rollback --to-version N" in " ".join(said.err.split())
    changed = {"name": "qure-cirr", "before": 3, "champion": 2}
    monkeypatch.setattr("qure.registry.stage.rollback", lambda *_, to_version: changed | {"champion": to_version})
    told = json.loads(qure("rollback", "--training-set", "cirr", "--to-version", "1", "--json").out)
    assert told == changed | {"champion": 1}

"""What lists of models show, and what is told to people: from the files, without a registry."""

import json
from collections.abc import Callable
from pathlib import Path

from qure.registry.labels import model_label, version_label
from qure.registry.names import how_to_promote, registered_name


def test_a_model_is_named_by_its_training_set_and_fingerprint(model_of: Callable[[int], Path], tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_text("content")
    label = model_label("cirr", model_of(1), data)
    fingerprint = json.loads((model_of(1) / "manifest.json").read_text())["fingerprint"]
    assert label.keys() == {"display_name", "training_set", "fingerprint", "data_fingerprint"}
    assert (label["training_set"], label["fingerprint"]) == ("cirr", fingerprint)
    assert label["display_name"] == f"qure-cirr {fingerprint[:12]}"
    assert label["data_fingerprint"].startswith("sha256:")
    (data / "file").write_text("other content")
    assert model_label("cirr", model_of(1), data)["data_fingerprint"] != label["data_fingerprint"]
    assert model_label("cirr", model_of(2), data)["display_name"] != label["display_name"]


def test_a_version_is_named_by_its_number_in_the_registry() -> None:
    registration = {
        "name": "qure-cirr",
        "version": "7",
        "model_fingerprint": "0f",
        "data_fingerprint": "md5:1a",
        "x": 1,
    }
    assert version_label(registration) == {
        "display_name": "qure-cirr version 7",
        "registered_version": 7,
        "fingerprint": "0f",
        "data_fingerprint": "md5:1a",
    }


def test_who_looks_for_a_champion_is_told_what_makes_one() -> None:
    assert registered_name("fashioniq") == "qure-fashioniq"
    told = how_to_promote("fashioniq")
    assert "dvc repro --single-item --force register@fashioniq promote@fashioniq" in told
    assert told.startswith("Run `dvc repro`;")

"""The champion on present data, in parts: what is fetched, what is said of its data, and by what it is judged again."""

import json
import logging
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.registry import drift, monitoring, reporting
from qure.registry.drift import keep_statistics
from qure.registry.monitoring import compare_data, download_statistics, reevaluation
from qure.registry.reporting import report_beside


@pytest.mark.parametrize(
    ("version", "verdict"),
    [
        (None, "There is no champion to compare with."),
        (3, "Unknown: the champion has left no statistics of its training data."),
    ],
)
def test_without_statistics_nothing_is_said_to_have_shifted(
    settings: Settings, tmp_path: Path, caplog: pytest.LogCaptureFixture, version: int | None, verdict: str
) -> None:
    (tmp_path / "champion.json").write_text(json.dumps({"name": "x", "version": version, "statistics": False}))
    found = compare_data(settings, validation=tmp_path, champion=tmp_path, output=tmp_path / "drift.json")
    assert found == {"verdict": verdict, "known": False, "champion": version, "shifted": [], "measures": []}
    assert json.loads((tmp_path / "drift.json").read_text()) == found
    assert "drift cannot be told" in caplog.text


def test_statistics_that_are_not_there_are_told_from_a_store_that_is_not_well(tmp_path: Path) -> None:
    def failing(*_: Any) -> Any:
        raise MlflowException("the bucket is away")

    other = [SimpleNamespace(path="validation/drift.json")]
    assert not download_statistics(SimpleNamespace(list_artifacts=lambda *_: other), "run", tmp_path)
    there = [SimpleNamespace(path="validation/statistics.json")]
    client = SimpleNamespace(list_artifacts=lambda *_: there, download_artifacts=failing)
    with pytest.raises(StageFailed, match=r"the champion's statistics cannot be downloaded: .*the bucket is away"):
        download_statistics(client, "run", tmp_path)


def test_a_model_that_cannot_be_downloaded_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(uri: str, folder: Path) -> Path:
        raise OSError("the bucket is away")

    monkeypatch.setattr(monitoring, "download", failing)
    with pytest.raises(StageFailed, match=r"models:/qure-x/3/model cannot be downloaded: .*the bucket is away"):
        monitoring._download_model("models:/qure-x/3/model", tmp_path)


@pytest.mark.parametrize("uri", [None, "http://mlflow.test"])
@pytest.mark.parametrize("same_tower", [True, False])
def test_the_champion_is_judged_with_features_of_its_own_tower_and_leaves_no_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uri: str | None, same_tower: bool
) -> None:
    if uri is None:
        monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    stores = {name: tmp_path / "stores" / name for name in ("fashioniq", "cirr")}
    towers = {tmp_path / "model": "mine", stores["fashioniq"]: "mine", stores["cirr"]: "mine" if same_tower else "x"}
    judged: dict[str, Any] = {}
    computed: list[str] = []
    monkeypatch.setattr(monitoring, "read_manifest", lambda model: {"vision_fingerprint": towers[model]})
    monkeypatch.setattr("qure.features.store.read_manifest", lambda store: {"vision_fingerprint": towers[store]})

    def precompute(settings: Any, image_set: str, **told: Any) -> None:
        assert told["backbone"] == tmp_path / "model"
        computed.append(image_set)

    def evaluate(settings: Any, training_set: str, **told: Any) -> None:
        judged.update(told, uri=os.environ["MLFLOW_TRACKING_URI"])

    monkeypatch.setattr("qure.features.stage.precompute", precompute)
    monkeypatch.setattr("qure.evaluation.stage.evaluate", evaluate)
    again = reevaluation(settings, "cirr", data=tmp_path, features=stores, validation=None)
    again(tmp_path / "model", tmp_path / "output")
    assert judged["uri"] == "none"
    assert os.environ.get("MLFLOW_TRACKING_URI") == uri
    assert judged["output"] == tmp_path / "output"
    if same_tower:
        assert (judged["features"], computed) == (stores, [])
    else:
        assert computed == ["fashioniq", "cirr"]
        assert not set(judged["features"].values()) & set(stores.values())


@pytest.fixture
def run() -> Any:
    """A run that remembers."""
    told: dict[str, Any] = {"metrics": {}, "tags": {}, "artifacts": []}
    return SimpleNamespace(
        told=told,
        log_metrics=told["metrics"].update,
        set_tags=told["tags"].update,
        log_artifact=lambda path, folder: told["artifacts"].append(Path(path).name),
    )


@pytest.mark.parametrize("shifted", [["texts are longer"], []])
def test_what_has_shifted_is_kept_with_the_run(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, shifted: list[str]
) -> None:
    measures = [
        {"split": "cirr/train", "measure": "caption_words", "ks": 0.5, "psi": 2, "says": "", "shifted": True},
        {"split": "cirr/train", "measure": "images", "cosine_distance": 0.25, "says": "", "shifted": False},
    ]
    (tmp_path / "statistics.json").write_text("{}")
    client: Any = SimpleNamespace(log_artifact=lambda *_: None)
    version = SimpleNamespace(name="qure-cirr", version="4", run_id="r")
    common: dict[str, Any] = {"data": tmp_path, "validation": tmp_path, "features": {}}
    monkeypatch.setattr(drift, "Champions", lambda client, name: SimpleNamespace(current=lambda: 3))
    monkeypatch.setattr(drift, "_compare", lambda *_: {"measures": measures, "shifted": shifted})
    assert keep_statistics(client, settings, run, version, **common) == shifted
    assert run.told["metrics"] == {
        "drift/cirr/train/caption_words/ks": 0.5,
        "drift/cirr/train/caption_words/psi": 2.0,
        "drift/cirr/train/images/cosine_distance": 0.25,
    }
    assert run.told["tags"] == {"qure.drift": "texts are longer" if shifted else "none"}
    assert run.told["artifacts"] == ["drift.json"]


def test_statistics_that_cannot_be_compared_fail_no_registration(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def older(*_: Any) -> Any:
        raise BadInput("statistics of version 0")

    (tmp_path / "statistics.json").write_text("{}")
    client: Any = SimpleNamespace(log_artifact=lambda *_: None)
    version = SimpleNamespace(name="qure-cirr", version="4", run_id="r")
    monkeypatch.setattr(drift, "Champions", lambda client, name: SimpleNamespace(current=lambda: 3))
    monkeypatch.setattr(drift, "_compare", older)
    assert keep_statistics(client, settings, run, version, data=tmp_path, validation=tmp_path, features={}) == []
    assert caplog.messages == ["drift cannot be told: statistics of version 0"]
    assert (run.told["metrics"], run.told["tags"]) == ({}, {})


@pytest.mark.parametrize("lost", ["gone", "away"])
def test_a_report_that_cannot_be_drawn_changes_nothing(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Any, lost: str, caplog: Any
) -> None:
    def found(*_: Any) -> None:
        if lost == "away":
            raise StageFailed("the bucket is away")

    monkeypatch.setattr(reporting, "download", found)
    client: Any = SimpleNamespace(get_model_version=lambda name, version: None)
    with caplog.at_level(logging.INFO):
        report_beside(
            client, settings, "cirr", version=4, champion=3, key="k", evaluation=tmp_path, data=tmp_path, run=run
        )
    assert run.told["artifacts"] == []
    assert caplog.messages == (["no report beside the champion: the bucket is away"] if lost == "away" else [])

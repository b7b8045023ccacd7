"""Beside Kubeflow's MLflow plugin: runs of both on one server name each other; real MLflow on SQLite."""

from pathlib import Path
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.tracking import connect, stage_run


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackingSettings:
    monkeypatch.chdir(tmp_path)
    return TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db")


@pytest.fixture
def theirs(settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """The plugin's run of the pipeline run, and its run of the task."""
    client = connect(settings)
    experiment = client.create_experiment("KFP-Default")
    above = client.create_run(experiment).info.run_id
    task = client.create_run(experiment, tags={"mlflow.parentRunId": above}).info.run_id
    monkeypatch.setenv("QURE_KUBEFLOW_MLFLOW_RUN", task)
    monkeypatch.setenv("QURE_KUBEFLOW_MLFLOW_URI", str(settings.uri))
    return above, task


def tags_of(settings: TrackingSettings, run: Any) -> dict[str, str]:
    return dict(connect(settings).get_run(run).data.tags)


def test_both_name_each_other(settings: TrackingSettings, theirs: tuple[str, str]) -> None:
    with stage_run(settings, stage="train") as run:
        pass
    ours = tags_of(settings, run.run_id)
    assert ours["qure.kubeflow_mlflow_run"] == theirs[1]
    assert tags_of(settings, theirs[1])["qure.mlflow_run"] == run.run_id
    assert tags_of(settings, theirs[0])["qure.mlflow_run"] == ours["mlflow.parentRunId"]
    assert "mlflow.parentRunId" not in tags_of(settings, ours["mlflow.parentRunId"])


def test_ours_is_nested_in_theirs_where_that_is_configured(
    settings: TrackingSettings, theirs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QURE_NEST_IN_KUBEFLOW", "true")
    with stage_run(settings, stage="train") as run:
        pass
    parent = tags_of(settings, run.run_id)["mlflow.parentRunId"]
    assert tags_of(settings, parent)["mlflow.parentRunId"] == theirs[0]


def test_runs_of_another_server_are_named_in_ours_alone(
    settings: TrackingSettings, theirs: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QURE_KUBEFLOW_MLFLOW_URI", "https://user:sentinel-password@theirs.test")
    with stage_run(settings, stage="train") as run:
        pass
    ours = tags_of(settings, run.run_id)
    assert ours["qure.kubeflow_mlflow_run_uri"] == "https://***@theirs.test"
    assert "qure.mlflow_run" not in tags_of(settings, theirs[1])


def test_a_run_that_is_not_there_stops_nothing(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("QURE_KUBEFLOW_MLFLOW_RUN", "0" * 32)
    monkeypatch.setenv("QURE_KUBEFLOW_MLFLOW_URI", str(settings.uri))
    with stage_run(settings, stage="train"):
        pass
    assert "does not name this one" in caplog.text

"""One run per stage in one run per pipeline run; kills, failures, servers that go away, secrets."""

import json
import logging
import multiprocessing
import os
import re
import signal
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.errors import BadInput, StageFailed
from qure.tracking import SilentRun, StageRun, connect, connection, opened_runs, registry_lock, runs, stage_run
from qure.tracking.lock.experiments import ExperimentLock

SENTINEL = "sentinel-7f3a9b"


@pytest.fixture
def settings(sqlite_uri: str) -> TrackingSettings:
    return TrackingSettings(uri=sqlite_uri)


def _all(settings: TrackingSettings, role: str | None = None) -> list[Any]:
    client = connect(settings)
    experiment = client.get_experiment_by_name(settings.experiment)
    found = client.search_runs([experiment.experiment_id], max_results=1000) if experiment else []
    return [run for run in found if role is None or run.data.tags[runs.ROLE] == role]


def test_stages_lie_in_their_pipeline_run(settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-1")
    for stage in ("validate", "train"):
        with stage_run(settings, stage=stage, training_set="fashioniq") as run:
            assert isinstance(run, StageRun)
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-2")
    with stage_run(settings, stage="train", training_set="fashioniq"):
        pass
    parents = {run.data.tags[runs.PIPELINE]: run for run in _all(settings, "pipeline")}
    assert set(parents) == {"kfp-1", "kfp-2"}
    names = [
        (run.data.tags[runs.PIPELINE], run.info.run_name)
        for run in _all(settings, "stage")
        if run.data.tags["mlflow.parentRunId"] == parents[run.data.tags[runs.PIPELINE]].info.run_id
    ]
    assert sorted(names) == [
        ("kfp-1", "train fashioniq"),
        ("kfp-1", "validate fashioniq"),
        ("kfp-2", "train fashioniq"),
    ]
    assert {run.info.status for run in _all(settings)} == {"FINISHED"}


def test_what_was_opened_inside_is_known_afterwards(settings: TrackingSettings) -> None:
    with opened_runs() as opened:
        with stage_run(settings, stage="train", training_set="cirr") as train:
            pass
        with stage_run(TrackingSettings(uri=None), stage="evaluate"):
            pass
    with stage_run(settings, stage="register", training_set="cirr"):
        pass
    assert [run.run_id for run in opened] == [train.run_id]


def test_a_pipeline_run_tells_its_story(settings: TrackingSettings) -> None:
    def stage(name: str, training_set: str, parameters: dict[str, Any], **headline: float) -> None:
        with stage_run(
            settings,
            stage=name,
            training_set=training_set,
            parameters=parameters,
            inputs={"data": "md5:1"},
            pipeline="p",
        ) as run:
            run.log_headline({f"{training_set}/{metric}": value for metric, value in headline.items()})

    stage("backbone", "shared", {"backbone": {"name": "catalogue", "weights": None}})
    stage("train", "fashioniq", {"epochs": 6, "weight_decay": 0.05, "negatives": {"strategy": "top_k"}})
    stage("evaluate", "fashioniq", {}, recall_at_10=29.5, recall_at_10_low=26.0, recall_at_10_high=33.0)
    stage("train", "cirr", {"epochs": 8})
    (parent,) = _all(settings, "pipeline")
    assert re.fullmatch(r"cirr, fashioniq · \d{4}-\d\d-\d\d \d\d:\d\d · \S+", parent.info.run_name)
    assert parent.data.params == {
        "backbone.name": "catalogue",
        "fashioniq.epochs": "6",
        "fashioniq.negatives.strategy": "top_k",
        "cirr.epochs": "8",
    }
    assert parent.data.metrics == {
        "fashioniq/recall_at_10": 29.5,
        "fashioniq/recall_at_10_low": 26.0,
        "fashioniq/recall_at_10_high": 33.0,
    }
    assert "`md5:1`" in parent.data.tags["mlflow.note.content"]
    assert {run.info.run_name for run in _all(settings, "stage")} == {
        "backbone",
        "train fashioniq",
        "evaluate fashioniq",
        "train cirr",
    }
    assert all(run.data.tags["mlflow.note.content"] for run in _all(settings))
    experiment = connect(settings).get_experiment_by_name(settings.experiment)
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "One run per **pipeline run**" in experiment.tags["mlflow.note.content"]


def test_the_name_that_a_person_gives_stays(settings: TrackingSettings) -> None:
    with stage_run(settings, stage="validate", training_set="fashioniq", pipeline="p"):
        pass
    client = connect(settings)
    (parent,) = _all(settings, "pipeline")
    client.update_run(parent.info.run_id, name="our best one")
    client.set_experiment_tag(parent.info.experiment_id, "mlflow.note.content", "ours")
    with stage_run(settings, stage="validate", training_set="cirr", pipeline="p"):
        pass
    (parent,) = _all(settings, "pipeline")
    assert parent.info.run_name == "our best one"
    assert client.get_experiment(parent.info.experiment_id).tags["mlflow.note.content"] == "ours"


def test_an_experiment_of_before_is_described(settings: TrackingSettings) -> None:
    client = connect(settings)
    number = client.create_experiment(settings.experiment)
    assert runs.experiment_id(client, settings) == number
    assert client.get_experiment(number).tags["mlflow.experimentKind"] == "custom_model_development"


def test_everything_that_decides_a_result_is_logged(settings: TrackingSettings, tmp_path: Path) -> None:
    (tmp_path / "report.txt").write_text("hello")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "a.json").write_text("{}")
    with stage_run(
        settings,
        stage="train",
        training_set="cirr",
        run_key="seed 1",
        parameters={"training": {"epochs": 3, "ids": "x" * 600}, "empty": {}},
        inputs={"data": "md5:0123456789abcdef0123456789abcdef.dir", "model": "sha256:" + "a" * 64},
    ) as run:
        for epoch in (1, 2):
            run.log_metrics({"loss": 1.0 / epoch, "recall@10 (val)": 50}, step=epoch)
        run.log_artifact(tmp_path / "report.txt", "reports")
        run.log_artifact(tmp_path / "folder", "all")
        run.set_tags({"note": "x"})
    client = connect(settings)
    found = client.get_run(run.run_id)
    assert found.data.params["training.epochs"] == "3"
    assert found.data.params["training.ids"].startswith("sha256:")
    assert [(one.step, one.value) for one in client.get_metric_history(run.run_id, "loss")] == [(1, 1.0), (2, 0.5)]
    assert found.data.metrics["recall_at_10 _val_"] == 50
    datasets = {one.dataset.name: one for one in found.inputs.dataset_inputs}
    assert datasets["data"].dataset.digest == "0123456789abcdef0123456789abcdef.dir"
    assert {tag.key: tag.value for tag in datasets["model"].tags}["fingerprint"] == "sha256:" + "a" * 64
    tags = found.data.tags
    assert tags["note"] == "x"
    assert tags[runs.COMMIT]
    assert {"environment.python", "environment.torch", "environment.lock"} <= tags.keys()
    assert tags[runs.DATA].startswith("md5:")
    artifacts = {one.path for folder in ("reports", "all") for one in client.list_artifacts(run.run_id, folder)}
    assert artifacts == {"reports/report.txt", "all/a.json"}


def test_without_tracking_the_same_code_runs() -> None:
    with stage_run(TrackingSettings(uri=None), stage="train", parameters={"a": 1}, inputs={"data": "x"}) as run:
        assert type(run) is SilentRun
        run.log_metrics({"loss": 1.0}, step=1)


def test_a_failure_is_told_in_the_run(settings: TrackingSettings) -> None:
    with pytest.raises(BadInput), stage_run(settings, stage="validate") as run:
        raise BadInput("caption is empty\nand more", file="cap.json", row=3)
    found = connect(settings).get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert found.data.tags[runs.ERROR] == "cap.json, row 3: caption is empty"
    assert [parent.info.status for parent in _all(settings, "pipeline")] == ["FAILED"]
    with stage_run(settings, stage="validate") as again:
        pass
    assert again.run_id == run.run_id
    found = connect(settings).get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert runs.ERROR not in found.data.tags
    assert [parent.info.status for parent in _all(settings, "pipeline")] == ["FINISHED"]


def test_an_interrupted_stage_is_killed_not_failed(settings: TrackingSettings) -> None:
    with pytest.raises(KeyboardInterrupt), stage_run(settings, stage="train") as run:
        raise KeyboardInterrupt
    assert connect(settings).get_run(run.run_id).info.status == "KILLED"


def test_a_pipeline_run_runs_while_a_stage_runs(settings: TrackingSettings) -> None:
    with stage_run(settings, stage="precompute", run_key="0"):
        with stage_run(settings, stage="precompute", run_key="1"):
            pass
        assert [parent.info.status for parent in _all(settings, "pipeline")] == ["RUNNING"]
    assert [parent.info.status for parent in _all(settings, "pipeline")] == ["FINISHED"]
    assert len(_all(settings, "stage")) == 2


def _log_and_die(settings: TrackingSettings) -> None:
    with stage_run(settings, stage="train", parameters={"lr": 1}, inputs={"data": "md5:1"}) as run:
        for epoch in (1, 2, 3):
            run.log_metrics({"loss": 1.0 / epoch}, step=epoch)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_stage_goes_on_in_its_run(settings: TrackingSettings) -> None:
    child = multiprocessing.get_context("fork").Process(target=_log_and_die, args=(settings,))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == -signal.SIGKILL
    (left,) = _all(settings, "stage")
    assert left.info.status == "RUNNING"
    with stage_run(settings, stage="train", parameters={"lr": 1}, inputs={"data": "md5:1"}) as run:
        for epoch in (2, 3, 4):  # it resumes from a checkpoint
            run.log_metrics({"loss": 1.0 / epoch}, step=epoch)
    (found,) = _all(settings, "stage")
    assert found.info.run_id == left.info.run_id == run.run_id
    assert found.info.status == "FINISHED"
    history = connect(settings).get_metric_history(run.run_id, "loss")
    assert sorted((one.step, one.value) for one in history) == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]
    assert len(found.inputs.dataset_inputs) == 1


def test_other_data_is_another_pipeline_run(settings: TrackingSettings) -> None:
    for data in ("md5:1", "md5:2", "md5:1"):
        with stage_run(settings, stage="train", inputs={"data": data}):
            pass
    assert len(_all(settings, "pipeline")) == len(_all(settings, "stage")) == 2


def test_a_changed_parameter_is_told(settings: TrackingSettings, caplog: pytest.LogCaptureFixture) -> None:
    for device in ("cpu", "cuda"):
        with stage_run(settings, stage="train", parameters={"device": device, "lr": 1}, pipeline="p") as run:
            pass
    found = connect(settings).get_run(run.run_id).data
    assert found.params == {"device": "cpu", "lr": "1"}
    assert found.tags["qure.changed.device"] == "cuda"
    assert "other values of device" in caplog.text


def test_more_than_mlflow_takes_at_once(settings: TrackingSettings) -> None:
    with stage_run(settings, stage="evaluate", parameters={f"p{n}": n for n in range(230)}) as run:
        run.log_metrics({f"m{n}": n for n in range(1_050)})
        run.set_tags({f"t{n}": n for n in range(130)})
    data = connect(settings).get_run(run.run_id).data
    assert (len(data.params), len(data.metrics)) == (230, 1_050)
    assert {f"t{n}" for n in range(130)} <= data.tags.keys()


@pytest.mark.parametrize("value", ["0.5", None, [1.0]])
def test_a_metric_is_a_number(settings: TrackingSettings, value: object) -> None:
    with pytest.raises(TypeError, match="'loss' is not a number"), stage_run(settings, stage="train") as run:
        run.log_metrics({"loss": value})  # type: ignore[dict-item]


def test_numbers_of_numpy_are_numbers(settings: TrackingSettings) -> None:
    import numpy as np

    with stage_run(settings, stage="train") as run:
        run.log_metrics({"a": np.float32(0.5), "b": np.int64(3)})
    assert connect(settings).get_run(run.run_id).data.metrics == {"a": 0.5, "b": 3.0}


class Outage:
    """An MLflow client that fails while `on`."""

    def __init__(self, client: Any) -> None:
        self._client, self.on, self.calls = client, False, 0

    def __getattr__(self, name: str) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            self.calls += 1
            if self.on:
                raise ConnectionError("server is restarting")
            return getattr(self._client, name)(*arguments, **named)

        return call


def test_a_server_that_goes_away_does_not_end_a_training(
    settings: TrackingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "x").write_text("x")
    monkeypatch.setattr(runs, "_PAUSE_AFTER_FAILURE", 0.0)
    with stage_run(settings, stage="train") as run:
        assert isinstance(run, StageRun)
        run._client = outage = Outage(run._client)
        run.log_metrics({"loss": 3.0}, step=1)
        outage.on = True
        run.log_metrics({"loss": 2.0}, step=2)
        run.set_tags({"note": "waited"})
        run.log_artifact(tmp_path / "x")
        outage.on = False
        run.log_metrics({"loss": 1.0}, step=3)
    assert "does not answer" in caplog.text
    assert "1 metrics, tags or artifacts did not reach" in caplog.text
    client = connect(settings)
    assert [one.value for one in client.get_metric_history(run.run_id, "loss")] == [3.0, 2.0, 1.0]
    assert client.get_run(run.run_id).data.tags["note"] == "waited"


def test_a_server_that_stays_away_is_not_asked_at_every_step(
    settings: TrackingSettings, caplog: pytest.LogCaptureFixture
) -> None:
    with stage_run(settings, stage="train") as run:
        assert isinstance(run, StageRun)
        run._client = outage = Outage(run._client)
        outage.on = True
        for step in range(50):
            run.log_metrics({"loss": 1.0}, step=step)
        assert outage.calls == 1
    assert "50 metrics, tags or artifacts did not reach" in caplog.text
    assert connect(settings).get_run(run.run_id).info.status == "RUNNING"


def test_a_missing_artifact_is_the_stages_mistake(settings: TrackingSettings, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), stage_run(settings, stage="train") as run:
        run.log_artifact(tmp_path / "absent")


def _fail_with_secrets(settings: TrackingSettings) -> None:
    parameters = {"remote": f"s3://key:{SENTINEL}x@host/b", "db": {"password": SENTINEL}, "text": SENTINEL}
    inputs = {"data": f"https://user:{SENTINEL}@host/data"}
    with stage_run(settings, stage="train", parameters=parameters, inputs=inputs, pipeline="p") as run:
        run.set_tags({"uri": f"postgresql://qure:{SENTINEL}@db/mlflow", "note": f"found {SENTINEL} here"})
        raise StageFailed(f"cannot read https://h/x?X-Amz-Signature={SENTINEL}")


def test_no_secret_reaches_the_database(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("SOME_SERVICE_TOKEN", SENTINEL)
    with caplog.at_level(logging.DEBUG, logger="qure"), pytest.raises(StageFailed):
        _fail_with_secrets(settings)
    stored = Path((settings.uri or "").removeprefix("sqlite:///")).read_bytes()
    assert b"cannot read https://h/x" in stored
    assert SENTINEL.encode() not in stored
    assert SENTINEL not in caplog.text


def _start(settings: TrackingSettings, number: int, start: Barrier, told: "multiprocessing.Queue[str]") -> None:
    try:
        connect(settings)
        start.wait(timeout=60)
        with stage_run(settings, stage="precompute", run_key=str(number), pipeline="one"):
            pass
        told.put("done")
    except BaseException as error:
        told.put(repr(error))
        raise


def _start_together(settings: TrackingSettings, count: int) -> None:
    forked = multiprocessing.get_context("fork")
    start, told = forked.Barrier(count), forked.Queue()
    tasks = [forked.Process(target=_start, args=(settings, number, start, told)) for number in range(count)]
    for task in tasks:
        task.start()
    assert [told.get(timeout=120) for _ in tasks] == ["done"] * count
    for task in tasks:
        task.join(timeout=30)
    (parent,) = _all(settings, "pipeline")
    children = _all(settings, "stage")
    assert len(children) == count
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"


def test_tasks_that_start_together_share_one_pipeline_run(settings: TrackingSettings) -> None:
    _start_together(settings, 4)


@pytest.mark.integration
def test_tasks_that_start_together_on_postgresql(postgres_uri: str) -> None:
    _start_together(TrackingSettings(uri=postgres_uri), 6)


def test_a_parent_made_after_losing_the_lock_is_given_up(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = connect(settings)
    experiment = runs.experiment_id(client, settings)
    made = threading.Event()
    create = client.create_run

    def create_late(*arguments: Any, **named: Any) -> Any:
        if not made.is_set():
            made.set()
            with stage_run(settings, stage="other", pipeline="p"):  # while this process was suspended
                pass
        return create(*arguments, **named)

    client.create_run = create_late

    class Expired(ExperimentLock):
        """The lock of a server's client that loses it as soon as it has it, and notices later."""

        def __enter__(self) -> "Expired":
            super().__enter__()
            assert self._held is not None
            self._stop.set()
            self._client.delete_experiment(self._held.experiment)
            return self

        def check(self) -> None:
            if made.is_set():
                super().check()

    locks = iter([Expired(client, "pipeline-runs", lease=30.0, wait=60.0)])
    monkeypatch.setattr(
        runs, "registry_lock", lambda *args, **named: next(locks, None) or registry_lock(*args, **named)
    )
    chosen = runs._parent(client, experiment, "p", "")
    (parent,) = _all(settings, "pipeline")
    assert chosen == parent.info.run_id


@pytest.mark.integration
def test_on_a_server_with_artifacts_on_s3(mlflow_server: Callable[[], str], tmp_path: Path) -> None:
    settings = TrackingSettings(uri=mlflow_server())
    (tmp_path / "summary.json").write_text(json.dumps({"a": 1}))
    with stage_run(settings, stage="train", parameters={"a": 1}, inputs={"data": "md5:1"}) as run:
        run.log_metrics({"loss": 0.5}, step=1)
        run.log_artifact(tmp_path / "summary.json")
    client = connect(settings)
    assert client.get_run(run.run_id).info.artifact_uri.startswith("mlflow-artifacts:")
    assert Path(client.download_artifacts(run.run_id, "summary.json", str(tmp_path))).read_text() == '{"a": 1}'


def test_a_pipeline_run_of_more_stages_than_a_page(settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    """101 stage runs, the last of them failed: MLflow gives them in pages."""
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-1")
    with stage_run(settings, stage="train", run_key="0"):
        pass
    client = connect(settings)
    (first,) = _all(settings, "stage")
    parent = first.data.tags["mlflow.parentRunId"]
    for number in range(1, 101):
        tags = {**first.data.tags, runs.RUN_KEY: str(number)}
        run = client.create_run(first.info.experiment_id, tags=tags, start_time=first.info.start_time + number)
        client.set_terminated(run.info.run_id, "FAILED" if number == 100 else "FINISHED")
    with stage_run(settings, stage="train", run_key="0"):
        pass
    assert client.get_run(parent).info.status == "FAILED"
    with stage_run(settings, stage="train", run_key="100"):
        pass
    assert client.get_run(parent).info.status == "FINISHED"
    assert len(_all(settings, "stage")) == 101


def test_every_page_of_a_search_is_read(settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-1")
    for number in range(5):
        with stage_run(settings, stage="train", run_key=str(number)):
            pass
    client = connect(settings)
    experiment = [run.info.experiment_id for run in _all(settings)][:1]
    assert len(connection.every(client.search_runs, experiment, max_results=2)) == 6

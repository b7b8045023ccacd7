"""One run per stage in one run per pipeline run; kills, failures, servers that go away, secrets."""

import json
import logging
import multiprocessing
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.errors import StageFailed
from qure.tracking import SilentRun, StageRun, connect, opened_runs, runs, stage_run
from qure.tracking.tags import COMMIT, DATA, ERROR

Recorded = Callable[..., list[Any]]
SENTINEL = "sentinel-7f3a9b"


def test_what_was_opened_inside_is_known_afterwards(settings: TrackingSettings) -> None:
    with opened_runs() as opened:
        with stage_run(settings, stage="train", training_set="cirr") as train:
            pass
        with stage_run(TrackingSettings(uri=None), stage="evaluate"):
            pass
    with stage_run(settings, stage="register", training_set="cirr"):
        pass
    assert [run.run_id for run in opened] == [train.run_id]


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
    assert tags["mlflow.note.content"], "what the stage does, for who opens its page"
    assert tags[COMMIT]
    assert {"environment.python", "environment.torch", "environment.lock"} <= tags.keys()
    assert tags[DATA].startswith("md5:")
    artifacts = {one.path for folder in ("reports", "all") for one in client.list_artifacts(run.run_id, folder)}
    assert artifacts == {"reports/report.txt", "all/a.json"}


def test_without_tracking_the_same_code_runs() -> None:
    with stage_run(TrackingSettings(uri=None), stage="train", parameters={"a": 1}, inputs={"data": "x"}) as run:
        assert type(run) is SilentRun
        run.log_metrics({"loss": 1.0}, step=1)


def test_a_failure_is_told_in_the_run(settings: TrackingSettings, recorded: Recorded) -> None:
    with pytest.raises(StageFailed), stage_run(settings, stage="validate") as run:
        raise StageFailed("the loss is not finite\nand more")
    found = connect(settings).get_run(run.run_id)
    assert found.info.status == "FAILED"
    assert found.data.tags[ERROR] == "the loss is not finite"
    assert [parent.info.status for parent in recorded(settings, "pipeline")] == ["FAILED"]
    with stage_run(settings, stage="validate") as again:
        pass
    assert again.run_id == run.run_id
    found = connect(settings).get_run(run.run_id)
    assert found.info.status == "FINISHED"
    assert ERROR not in found.data.tags
    assert [parent.info.status for parent in recorded(settings, "pipeline")] == ["FINISHED"]


def test_an_interrupted_stage_is_killed_not_failed(settings: TrackingSettings) -> None:
    with pytest.raises(KeyboardInterrupt), stage_run(settings, stage="train") as run:
        raise KeyboardInterrupt
    assert connect(settings).get_run(run.run_id).info.status == "KILLED"


def _log_and_die(settings: TrackingSettings) -> None:
    with stage_run(settings, stage="train", parameters={"lr": 1}, inputs={"data": "md5:1"}) as run:
        for epoch in (1, 2, 3):
            run.log_metrics({"loss": 1.0 / epoch}, step=epoch)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_killed_stage_goes_on_in_its_run(settings: TrackingSettings, recorded: Recorded) -> None:
    child = multiprocessing.get_context("fork").Process(target=_log_and_die, args=(settings,))
    child.start()
    child.join(timeout=60)
    assert child.exitcode == -signal.SIGKILL
    (left,) = recorded(settings, "stage")
    assert left.info.status == "RUNNING"
    with stage_run(settings, stage="train", parameters={"lr": 1}, inputs={"data": "md5:1"}) as run:
        for epoch in (2, 3, 4):  # it resumes from a checkpoint
            run.log_metrics({"loss": 1.0 / epoch}, step=epoch)
    (found,) = recorded(settings, "stage")
    assert found.info.run_id == left.info.run_id == run.run_id
    assert found.info.status == "FINISHED"
    history = connect(settings).get_metric_history(run.run_id, "loss")
    assert sorted((one.step, one.value) for one in history) == [(1, 1.0), (2, 0.5), (3, 1 / 3), (4, 0.25)]
    assert len(found.inputs.dataset_inputs) == 1


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


def test_after_a_failure_a_minute_goes_by_before_the_next_attempt(
    settings: TrackingSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stage_run(settings, stage="train") as run:
        assert isinstance(run, StageRun)
        run._client = outage = Outage(run._client)
        now = [1000.0]
        with monkeypatch.context() as patch:
            patch.setattr(runs.time, "monotonic", lambda: now[0])
            outage.on = True
            run.log_metrics({"loss": 3.0}, step=1)
            assert outage.calls == 1
            for later, calls in ((59.9, 1), (60.0, 2), (119.9, 2), (120.1, 3)):
                now[0] = 1000.0 + later
                run.set_tags({"note": later})
                assert outage.calls == calls, later
            outage.on = False
            now[0] = 1200.0
            run.log_metrics({"loss": 2.0}, step=2)
    found = connect(settings).get_run(run.run_id).data
    assert (found.metrics["loss"], found.tags["note"]) == (2.0, "120.1")


def test_nothing_is_sent_in_larger_parts_than_mlflow_takes(settings: TrackingSettings) -> None:
    with stage_run(settings, stage="train") as run:
        assert isinstance(run, StageRun)
        sizes: list[int] = []

        class Counting:
            def __init__(self, client: Any) -> None:
                self._client = client

            def __getattr__(self, name: str) -> Any:
                def call(*arguments: Any, **named: Any) -> Any:
                    sizes.extend(len(named[kind]) for kind in ("metrics", "params", "tags") if kind in named)
                    return getattr(self._client, name)(*arguments, **named)

                return call

        run._client = Counting(run._client)  # type: ignore[assignment]
        run.log_metrics({f"m{number}": number for number in range(250)})
        run.log_parameters({f"p{number}": number for number in range(200)})
        run.set_tags({f"t{number}": number for number in range(101)})
        run.set_tags({"long": "x" * 6000})
        assert sizes == [100, 100, 50, 100, 100, 100, 1, 1]
    assert len(connect(settings).get_run(run.run_id).data.tags["long"]) == 5000


def test_headlines_stand_on_the_pipeline_run_at_the_time_they_were_found(
    settings: TrackingSettings, recorded: Recorded, caplog: pytest.LogCaptureFixture
) -> None:
    before = time.time()
    with stage_run(settings, stage="evaluate", training_set="cirr") as run:
        assert isinstance(run, StageRun)
        run.log_headline({"recall@10": 52.5})
        run.log_metrics({"loss": 0.5})
        client, run._client = run._client, Outage(run._client)
        run._client.on = True
        run.log_headline({"recall@50": 70.0})
        run._client = client
    (parent,) = recorded(settings, "pipeline")
    assert parent.data.metrics == {"recall_at_10": 52.5}
    assert "the pipeline run does not show this stage's numbers: server is restarting" in caplog.text
    for owner, name in ((parent.info.run_id, "recall_at_10"), (run.run_id, "loss")):
        (one,) = connect(settings).get_metric_history(owner, name)
        assert before - 1 < one.timestamp / 1000 < time.time() + 1
        assert one.step == 0


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

"""One MLflow run per pipeline run: its name, its status, what it shows, and tasks that start at one moment."""

import multiprocessing
import re
import threading
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from mlflow import MlflowClient

from qure.config import TrackingSettings
from qure.tracking import StageRun, connect, connection, pipeline_runs, registry_lock, stage_run
from qure.tracking.lock.experiments import ExperimentLock
from qure.tracking.tags import PIPELINE, RUN_KEY

Recorded = Callable[..., list[Any]]


def test_stages_lie_in_their_pipeline_run(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch, recorded: Recorded
) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-1")
    for stage in ("validate", "train"):
        with stage_run(settings, stage=stage, training_set="fashioniq") as run:
            assert isinstance(run, StageRun)
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-2")
    with stage_run(settings, stage="train", training_set="fashioniq"):
        pass
    parents = {run.data.tags[PIPELINE]: run for run in recorded(settings, "pipeline")}
    assert set(parents) == {"kfp-1", "kfp-2"}
    names = [
        (run.data.tags[PIPELINE], run.info.run_name)
        for run in recorded(settings, "stage")
        if run.data.tags["mlflow.parentRunId"] == parents[run.data.tags[PIPELINE]].info.run_id
    ]
    assert sorted(names) == [
        ("kfp-1", "train fashioniq"),
        ("kfp-1", "validate fashioniq"),
        ("kfp-2", "train fashioniq"),
    ]
    assert {run.info.status for run in recorded(settings)} == {"FINISHED"}


def test_a_pipeline_run_tells_its_story(settings: TrackingSettings, recorded: Recorded) -> None:
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
    (parent,) = recorded(settings, "pipeline")
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
    assert {run.info.run_name for run in recorded(settings, "stage")} == {
        "backbone",
        "train fashioniq",
        "evaluate fashioniq",
        "train cirr",
    }
    assert all(run.data.tags["mlflow.note.content"] for run in recorded(settings))
    experiment = connect(settings).get_experiment_by_name(settings.experiment)
    assert experiment is not None
    assert experiment.tags["mlflow.experimentKind"] == "custom_model_development"
    assert "One run per **pipeline run**" in experiment.tags["mlflow.note.content"]


def test_the_name_that_a_person_gives_stays(settings: TrackingSettings, recorded: Recorded) -> None:
    with stage_run(settings, stage="validate", training_set="fashioniq", pipeline="p"):
        pass
    client = connect(settings)
    (parent,) = recorded(settings, "pipeline")
    client.update_run(parent.info.run_id, name="our best one")
    client.set_experiment_tag(parent.info.experiment_id, "mlflow.note.content", "ours")
    with stage_run(settings, stage="validate", training_set="cirr", pipeline="p"):
        pass
    (parent,) = recorded(settings, "pipeline")
    assert parent.info.run_name == "our best one"
    assert client.get_experiment(parent.info.experiment_id).tags["mlflow.note.content"] == "ours"


@pytest.mark.parametrize(
    ("code", "shown"), [("a1" * 20, "a1" * 20), ("a1" * 20 + "+changes.7", "a1" * 20), ("v0.1.0", None)]
)
def test_mlflow_is_told_the_commit_where_there_is_one(
    monkeypatch: pytest.MonkeyPatch, code: str, shown: str | None
) -> None:
    """Its pages show a tag of their own."""
    monkeypatch.setattr(pipeline_runs, "commit", lambda: code)
    facts = pipeline_runs.facts_of("p", "md5:1")
    assert (facts["qure.commit"], facts.get("mlflow.source.git.commit")) == (code, shown)


def test_an_experiment_of_before_is_described(settings: TrackingSettings) -> None:
    client = connect(settings)
    number = client.create_experiment(settings.experiment)
    assert connection.experiment_id(client, settings) == number
    assert client.get_experiment(number).tags["mlflow.experimentKind"] == "custom_model_development"


def test_a_pipeline_run_runs_while_a_stage_runs(settings: TrackingSettings, recorded: Recorded) -> None:
    with stage_run(settings, stage="precompute", run_key="0"):
        with stage_run(settings, stage="precompute", run_key="1"):
            pass
        assert [parent.info.status for parent in recorded(settings, "pipeline")] == ["RUNNING"]
    assert [parent.info.status for parent in recorded(settings, "pipeline")] == ["FINISHED"]
    assert len(recorded(settings, "stage")) == 2


def test_a_status_that_is_overtaken_is_put_right(
    settings: TrackingSettings, recorded: Recorded, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stage ends, sees another one run, and writes so only when that one has ended, too."""
    other = stage_run(settings, stage="precompute", run_key="1")
    other.__enter__()
    update = MlflowClient.update_run

    def overtaken(self: Any, run_id: str, **changes: Any) -> None:
        monkeypatch.setattr(MlflowClient, "update_run", update)
        other.__exit__(None, None, None)
        assert [parent.info.status for parent in recorded(settings, "pipeline")] == ["FINISHED"]
        update(self, run_id, **changes)

    with stage_run(settings, stage="precompute", run_key="0"):
        monkeypatch.setattr(MlflowClient, "update_run", overtaken)
    assert MlflowClient.update_run is update
    assert [parent.info.status for parent in recorded(settings, "pipeline")] == ["FINISHED"]


def test_other_data_is_another_pipeline_run(settings: TrackingSettings, recorded: Recorded) -> None:
    for data in ("md5:1", "md5:2", "md5:1"):
        with stage_run(settings, stage="train", inputs={"data": data}):
            pass
    assert len(recorded(settings, "pipeline")) == len(recorded(settings, "stage")) == 2


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


def _start_together(settings: TrackingSettings, count: int, recorded: Recorded) -> None:
    forked = multiprocessing.get_context("fork")
    start, told = forked.Barrier(count), forked.Queue()
    tasks = [forked.Process(target=_start, args=(settings, number, start, told)) for number in range(count)]
    for task in tasks:
        task.start()
    assert [told.get(timeout=120) for _ in tasks] == ["done"] * count
    for task in tasks:
        task.join(timeout=30)
    (parent,) = recorded(settings, "pipeline")
    children = recorded(settings, "stage")
    assert len(children) == count
    assert {child.data.tags["mlflow.parentRunId"] for child in children} == {parent.info.run_id}
    assert parent.info.status == "FINISHED"


def test_tasks_that_start_together_share_one_pipeline_run(settings: TrackingSettings, recorded: Recorded) -> None:
    _start_together(settings, 4, recorded)


@pytest.mark.integration
def test_tasks_that_start_together_on_postgresql(postgres_uri: str, recorded: Recorded) -> None:
    _start_together(TrackingSettings(uri=postgres_uri), 6, recorded)


def test_a_parent_made_after_losing_the_lock_is_given_up(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch, recorded: Recorded
) -> None:
    client = connect(settings)
    experiment = connection.experiment_id(client, settings)
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
        pipeline_runs, "registry_lock", lambda *args, **named: next(locks, None) or registry_lock(*args, **named)
    )
    chosen = pipeline_runs.find_or_create(client, experiment, "p", "")
    (parent,) = recorded(settings, "pipeline")
    assert chosen == parent.info.run_id


def test_a_pipeline_run_of_more_stages_than_a_page(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch, recorded: Recorded
) -> None:
    """101 stage runs, the last of them failed: MLflow gives them in pages."""
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-1")
    with stage_run(settings, stage="train", run_key="0"):
        pass
    client = connect(settings)
    (first,) = recorded(settings, "stage")
    parent = first.data.tags["mlflow.parentRunId"]
    for number in range(1, 101):
        tags = {**first.data.tags, RUN_KEY: str(number)}
        run = client.create_run(first.info.experiment_id, tags=tags, start_time=first.info.start_time + number)
        client.set_terminated(run.info.run_id, "FAILED" if number == 100 else "FINISHED")
    with stage_run(settings, stage="train", run_key="0"):
        pass
    assert client.get_run(parent).info.status == "FAILED"
    with stage_run(settings, stage="train", run_key="100"):
        pass
    assert client.get_run(parent).info.status == "FINISHED"
    assert len(recorded(settings, "stage")) == 101


def test_every_page_of_a_search_is_read(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch, recorded: Recorded
) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-1")
    for number in range(5):
        with stage_run(settings, stage="train", run_key=str(number)):
            pass
    client = connect(settings)
    experiment = [run.info.experiment_id for run in recorded(settings)][:1]
    assert len(connection.every(client.search_runs, experiment, max_results=2)) == 6

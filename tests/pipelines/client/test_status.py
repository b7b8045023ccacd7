"""Rows of runs and tasks, out of answers that a real installation gave."""

import json
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp_server_api
import pytest

from pipelines.client.status import ended_as, run_row, schedule_row, task_rows, workflow_of


@pytest.fixture
def recorded(recordings: Path) -> Any:
    """Reads a recorded run as the client does."""

    def read(name: str) -> Any:
        text = (recordings / "runs" / f"{name}.json").read_text()
        return kfp_server_api.ApiClient().deserialize(SimpleNamespace(data=text), "V2beta1Run")

    return read


@pytest.mark.parametrize(
    ("name", "state", "seconds"),
    [
        ("failed", "failed", 60),
        ("terminated", "stopped", 111),
        ("training-succeeded", "succeeded", 384),
        ("resumed", "succeeded", 3977),
        ("workflow-deleted", "stopping", None),
        ("scheduled-workflow-deleted", "running", None),
    ],
)
def test_how_a_run_ended_and_how_long_it_took(recorded: Any, name: str, state: str, seconds: int | None) -> None:
    row = run_row(recorded(name))
    assert (row["state"], row["seconds"]) == (state, seconds)
    assert "1970" not in json.dumps(row)
    assert (row["finished"] is None) == (seconds is None)


def test_only_the_pipelines_own_tasks_are_shown(recorded: Any) -> None:
    assert [(row["name"], row["state"]) for row in task_rows(recorded("failed"))] == [
        ("fail", "failed"),
        ("say", "succeeded"),
    ]
    names = [row["name"] for row in task_rows(recorded("training-from-cache"))]
    assert len(names) == 17
    assert names.count("precompute-embeddings") == 2
    assert names[-1] == "report-outcome"
    assert not [name for name in names if "driver" in name or "iteration" in name or "(" in name]


def test_what_came_from_the_cache_is_told(recorded: Any) -> None:
    cached = {row["name"] for row in task_rows(recorded("training-from-cache")) if row["cached"]}
    assert {"fetch-data", "train-qure", "evaluate", "evaluate-2"} <= cached
    assert not cached & {"resolve-data", "register-model", "promote-model", "report-outcome"}


def test_a_task_whose_end_nobody_wrote_down(recorded: Any) -> None:
    """Kubeflow stopped writing tasks down when the Workflow's nodes passed a mebibyte; the run succeeded."""
    states = {row["name"]: row["state"] for row in task_rows(recorded("training-succeeded"))}
    assert states["train-qure"] == "not recorded"
    assert states["validate-dataset"] == "succeeded"


def test_no_task_ended_in_the_year_1(recorded: Any) -> None:
    rows = task_rows(recorded("workflow-deleted"))
    assert [(row["name"], row["finished"], row["seconds"]) for row in rows] == [("sleeper", None, None)]


@pytest.mark.parametrize(
    ("state", "history", "said"),
    [
        ("CANCELING", ["PENDING", "RUNNING"], "stopping"),
        ("CANCELED", [], "stopped"),
        ("FAILED", None, "failed"),
        ("FAILED", ["PENDING", "RUNNING", "FAILED"], "failed"),
        ("FAILED", ["PENDING", "RUNNING", "CANCELING", "FAILED"], "stopped"),
        ("FAILED", ["PENDING", "CANCELING", "FAILED"], "stopped"),  # before anything of it ran
        ("FAILED", ["RUNNING", "CANCELING", "FAILED", "RUNNING", "FAILED"], "failed"),  # it went on, and failed
        ("FAILED", ["RUNNING", "FAILED", "RUNNING", "CANCELING", "FAILED"], "stopped"),
        ("SUCCEEDED", ["RUNNING", "CANCELING", "FAILED", "RUNNING", "SUCCEEDED"], "succeeded"),
        (None, None, "unknown"),
    ],
)
def test_a_state_as_people_say_it(state: str | None, history: list[str] | None, said: str) -> None:
    told = None if history is None else [kfp_server_api.V2beta1RuntimeStatus(state=one) for one in history]
    assert ended_as(kfp_server_api.V2beta1Run(state=state, state_history=told)) == said


MORNING = datetime(2026, 11, 28, 6, 0, tzinfo=UTC)


def test_times_are_in_utc_whatever_the_api_says_them_in() -> None:
    began = MORNING.astimezone(timezone(timedelta(hours=5)))
    ended = MORNING.replace(tzinfo=None) + timedelta(seconds=90.4)
    run = kfp_server_api.V2beta1Run(
        display_name="nightly", run_id="7", state="SUCCEEDED", recurring_run_id="9", created_at=began, finished_at=ended
    )
    assert run_row(run) == {
        "name": "nightly",
        "id": "7",
        "state": "succeeded",
        "schedule": "9",
        "created": "2026-11-28T06:00:00Z",
        "finished": "2026-11-28T06:01:30Z",
        "seconds": 90,
    }


@pytest.mark.parametrize(("year", "finished"), [(1, None), (1970, None), (1971, "1971-11-28T06:00:00Z")])
def test_a_year_before_kubernetes_is_no_time(year: int, finished: str | None) -> None:
    run = kfp_server_api.V2beta1Run(finished_at=MORNING.replace(year=year))
    assert (run_row(run)["finished"], run_row(run)["seconds"]) == (finished, None)


def test_a_schedule_is_shown_with_its_state() -> None:
    cron = kfp_server_api.V2beta1Trigger(cron_schedule=kfp_server_api.V2beta1CronSchedule(cron="0 3 * * *"))
    run = kfp_server_api.V2beta1RecurringRun(
        display_name="nightly", recurring_run_id="9", trigger=cron, mode="DISABLE", status="DISABLED"
    )
    assert schedule_row(run) == {
        "name": "nightly",
        "id": "9",
        "cron": "0 3 * * *",
        "enabled": False,
        "status": "DISABLED",
    }


def detail(name: str | None, start: int | None = None, end: int | None = None, **more: Any) -> Any:
    """A row of a run's details; times in minutes after `MORNING`."""
    times = (None if minute is None else MORNING + timedelta(minutes=minute) for minute in (start, end))
    started, ended = times
    return kfp_server_api.V2beta1PipelineTaskDetail(display_name=name, start_time=started, end_time=ended, **more)


def pods(*names: str | None) -> dict[str, Any]:
    return {"child_tasks": [kfp_server_api.PipelineTaskDetailChildTask(pod_name=name) for name in names]}


def with_details(*details: Any, state: str = "RUNNING") -> Any:
    return kfp_server_api.V2beta1Run(state=state, run_details=kfp_server_api.V2beta1RunDetails(task_details=[*details]))


DETAILS = (
    detail(None, 0, 1),
    detail("training-x7", 0, **pods(None, "training-x7-driver-1")),
    detail("root", 0, **pods("training-x7-1")),
    detail("train-driver", 0, 1),
    detail("train(0)", 0, 1),
    detail("train", 5, state="RUNNING"),
    detail("fetch", 1, 3, state="SUCCEEDED", **pods("training-x7-fetch-3", None)),
    detail("cached", 1, 1, state="SUCCEEDED"),
    detail("skipped", 2, 2, state="SKIPPED"),
    detail("waits", state="PENDING"),
    detail("later"),
)


def test_tasks_are_in_the_order_of_their_starts() -> None:
    rows = task_rows(with_details(*DETAILS))
    assert [tuple(row.values()) for row in rows] == [
        ("cached", "succeeded", "2026-11-28T06:01:00Z", "2026-11-28T06:01:00Z", 0, True),
        ("fetch", "succeeded", "2026-11-28T06:01:00Z", "2026-11-28T06:03:00Z", 120, False),
        ("skipped", "skipped", "2026-11-28T06:02:00Z", "2026-11-28T06:02:00Z", 0, False),
        ("train", "running", "2026-11-28T06:05:00Z", None, None, False),
        ("later", "unknown", None, None, None, False),
        ("waits", "pending", None, None, None, False),
    ]
    assert list(rows[0]) == ["name", "state", "started", "finished", "seconds", "cached"]


@pytest.mark.parametrize(
    ("state", "known"), [("RUNNING", True), ("CANCELING", True), ("SUCCEEDED", False), ("FAILED", False)]
)
def test_what_runs_in_a_run_that_is_over_was_not_recorded(state: str, known: bool) -> None:
    states = {row["name"]: row["state"] for row in task_rows(with_details(*DETAILS, state=state))}
    assert (states["train"], states["waits"]) == (("running", "pending") if known else ("not recorded",) * 2)
    assert (states["fetch"], states["skipped"], states["later"]) == ("succeeded", "skipped", "unknown")


def test_a_workflow_is_the_row_that_its_pods_are_named_after() -> None:
    assert workflow_of(with_details(*DETAILS)) == "training-x7"
    driver = detail("root", **pods("root-1"))
    assert workflow_of(with_details(driver, detail("train", **pods("other-1")), detail(None, **pods("None-1")))) is None
    nothing = kfp_server_api.V2beta1Run()
    assert (workflow_of(nothing), task_rows(nothing)) == (None, [])
    empty = kfp_server_api.V2beta1Run(run_details=kfp_server_api.V2beta1RunDetails())
    assert (workflow_of(empty), task_rows(empty)) == (None, [])

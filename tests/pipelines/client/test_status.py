"""Rows of runs and tasks, out of answers that a real installation gave."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp_server_api
import pytest

from pipelines.client.status import run_row, task_rows


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

"""Rows of runs and what their Workflows add, out of recordings of one run each."""

import copy
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import kfp_server_api
import pytest

from pipelines.client.status import run_row, task_rows, workflow_of
from pipelines.explaining import explain
from qure.errors import StageFailed

PAGES = {"kubeflow": "https://kubeflow.test/", "mlflow": "https://mlflow.test"}
POD = "probe-exit-bad-f4nhd-system-container-impl-3801720876"


class Recorded:
    """A cluster that holds the recorded Workflows, and one log."""

    def __init__(self, folder: Path) -> None:
        every = (json.loads(file.read_text()) for file in folder.glob("*.json"))
        self.workflows = {one["metadata"]["name"]: one for one in every}

    def workflow(self, name: str) -> dict[str, Any]:
        if name not in self.workflows:
            raise StageFailed(f"Workflow {name!r} cannot be read: 404 Not Found")
        return copy.deepcopy(self.workflows[name])

    def log(self, pod: str) -> list[str]:
        if "-impl-" in pod and pod != POD:  # of the training
            return ["INFO qure.tracking.runs: MLflow: evaluate is run 0a1b in run 2c3d of experiment 7"]
        if pod != POD:
            raise StageFailed("gone")
        return ["INFO x", "error: exit 7"]


@pytest.fixture
def row(recordings: Path) -> Any:
    def read(name: str) -> dict[str, Any]:
        text = (recordings / "runs" / f"{name}.json").read_text()
        run = kfp_server_api.ApiClient().deserialize(SimpleNamespace(data=text), "V2beta1Run")
        return run_row(run) | {"workflow": workflow_of(run), "tasks": task_rows(run)}

    return read


def test_a_failure_is_explained(row: Any, recordings: Path) -> None:
    run = row("failed")
    explain([run], None, {}, Recorded(recordings / "workflows"))
    (task, _) = run["tasks"]
    assert (task["name"], task["state"], task["error"], task["pod"]) == ("fail", "failed", "error: exit 7", POD)
    assert task["message"] == "main: Error (exit code 1)"
    assert task["started"] == "2026-11-27T08:07:23Z"


def test_tasks_that_the_api_has_not_written_down_are_filled_in(row: Any, recordings: Path) -> None:
    run = row("training-succeeded")
    assert "not recorded" in {task["state"] for task in run["tasks"]}
    explain([run], None, {}, Recorded(recordings / "workflows"))
    assert {task["state"] for task in run["tasks"]} == {"succeeded"}
    assert len(run["tasks"]) == 17


def test_a_workflow_that_is_gone_is_said(row: Any, recordings: Path) -> None:
    run = row("terminated")
    before = copy.deepcopy(run)
    explain([run], None, PAGES, Recorded(recordings / "workflows"))
    assert run.pop("links") == {"run": f"https://kubeflow.test/#/runs/details/{run['id']}"}
    assert run.pop("unexplained") == "Workflow 'probe-exit-slow-ggnrq' cannot be read: 404 Not Found"
    assert run == before


def test_what_is_clear_is_not_asked_for(row: Any) -> None:
    runs = [row("training-from-cache"), row("workflow-deleted")]
    before = copy.deepcopy(runs)
    explain(runs, None, {}, SimpleNamespace())  # type: ignore[arg-type]
    assert runs == [run | {"links": {}} for run in before]


def test_a_success_leads_to_its_page_its_mlflow_run_and_its_report(row: Any, recordings: Path) -> None:
    run = row("training-succeeded")
    explain([run], None, PAGES, Recorded(recordings / "workflows"))
    assert run["links"] == {
        "run": f"https://kubeflow.test/#/runs/details/{run['id']}",
        "mlflow": "https://mlflow.test/#/experiments/7/runs/2c3d",
        "report": "https://mlflow.test/#/experiments/7/runs/0a1b/artifacts",
    }


def test_without_a_kubeconfig_every_run_leads_to_its_page(row: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(namespace: str) -> None:
        raise StageFailed("no credentials for the cluster")

    monkeypatch.setattr("pipelines.explaining.Cluster", nothing)
    runs = [row("failed"), row("terminated"), row("training-from-cache")]
    explain(runs, None, PAGES)
    assert all(run["links"]["run"].endswith(run["id"]) for run in runs)
    assert "unexplained" in runs[0]


def test_a_success_whose_workflow_is_gone_is_clear_all_the_same(row: Any, tmp_path: Path) -> None:
    run = row("training-from-cache")
    before = copy.deepcopy(run)
    explain([run], None, PAGES, Recorded(tmp_path))
    assert run.pop("links") == {"run": f"https://kubeflow.test/#/runs/details/{run['id']}"}
    assert run == before


def test_a_failure_whose_log_is_gone_is_told_without_its_last_line(row: Any, recordings: Path) -> None:
    class Forgetful(Recorded):
        def log(self, pod: str) -> list[str]:
            raise StageFailed("gone")

    run = row("failed")
    explain([run], None, {}, Forgetful(recordings / "workflows"))
    (task, _) = run["tasks"]
    assert (task["state"], task["message"], task["error"]) == ("failed", "main: Error (exit code 1)", "")
    assert "unexplained" not in run

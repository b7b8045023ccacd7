"""Runs and schedules as a terminal shows them: what has failed, and why, or why that cannot be told."""

from typing import Any

import pytest

from pipelines.showing import show

TASK = {"state": "succeeded", "started": "2026-11-27T08:07:23Z", "seconds": 75, "cached": False}


def test_a_run_that_failed_is_shown_with_its_reasons(capsys: pytest.CaptureFixture[str]) -> None:
    run: dict[str, Any] = {
        "name": "one",
        "state": "failed",
        "created": "2026-11-27T08:00:00Z",
        "seconds": None,
        "id": "9523e389",
        "links": {"run": "https://kubeflow.test/x"},
        "tasks": [
            TASK | {"name": "prepare"},
            TASK | {"name": "train", "state": "out of memory", "error": "", "message": "OOMKilled", "pod": "train-7"},
            TASK | {"name": "judge", "state": "failed", "error": "error: no rows", "message": "exit code 2"},
        ],
    }
    show({"schedules": [], "runs": [run]})
    said = capsys.readouterr().out.splitlines()
    assert {"schedules: none", "run: https://kubeflow.test/x", "train: OOMKilled; train-7"} <= {
        one.strip() for one in said
    }
    assert "judge: error: no rows; exit code 2" in [one.strip() for one in said]
    assert not any(one.startswith("prepare:") for one in said)


@pytest.mark.parametrize(("state", "told"), [("failed", True), ("stopped", False)])
def test_a_failure_that_cannot_be_explained_says_so(capsys: pytest.CaptureFixture[str], state: str, told: bool) -> None:
    run = {"name": "one", "state": state, "created": "", "seconds": 7, "id": "9523e389", "tasks": []}
    run["unexplained"] = "404 Not Found"
    show({"schedules": [], "runs": [run]})
    said = " ".join(capsys.readouterr().out.split())
    assert ("why one failed is in its Workflow, which cannot be read: 404 Not Found" in said) == told

"""Runs that ended, are being stopped or have lost their Workflow are put away without an error."""

from typing import Any

import pytest

from pipelines.client import Done, PipelinesService, Version
from qure.errors import StageFailed

PARAMETERS = {"params": "training: {}", "training_set": "cirr", "shards": 2}


@pytest.fixture
def run(service: PipelinesService, api: Any, version: Version) -> str:
    started = service.submit("run", version, PARAMETERS)
    api.start(started.id)
    return started.id


def is_archived(api: Any, run: str) -> bool:
    return bool(api.runs[run]["storage_state"] == "ARCHIVED")


def test_a_stopped_run_becomes_failed_and_can_go_on(service: PipelinesService, api: Any, run: str) -> None:
    service.stop("run")
    assert api.runs[run]["state"] == "CANCELING"
    api.settle()
    assert [one["state"] for one in api.runs[run]["state_history"]] == ["PENDING", "RUNNING", "CANCELING", "FAILED"]
    api.runs[run]["storage_state"] = "AVAILABLE"
    assert service.status("run")["runs"][0]["state"] == "stopped"
    assert service.resume("run") == Done("resumed", run)


def test_a_run_that_is_being_stopped(service: PipelinesService, api: Any, run: str) -> None:
    api.terminate_run(run)
    assert service.status("run")["runs"][0]["state"] == "stopping"
    assert service.stop("run") == [Done("deleted", run)]
    assert is_archived(api, run)


def test_a_run_that_ends_while_it_is_looked_at(
    service: PipelinesService, api: Any, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminate = api.terminate_run

    def late(**arguments: Any) -> Any:
        api.finish(run)
        return terminate(**arguments)

    monkeypatch.setattr(api, "terminate_run", late)
    assert service.stop("run") == [Done("deleted", run)]
    assert (api.runs[run]["state"], is_archived(api, run)) == ("SUCCEEDED", True)


def test_a_run_that_is_deleted_while_it_is_looked_at(
    service: PipelinesService, api: Any, run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminate = api.terminate_run

    def gone(**arguments: Any) -> Any:
        api.delete_run(run)
        return terminate(**arguments)

    monkeypatch.setattr(api, "terminate_run", gone)
    assert service.stop("run") == [Done("deleted", run)]
    assert api.runs == {}


def test_a_run_whose_workflow_is_gone(service: PipelinesService, api: Any, run: str) -> None:
    """The first attempt to stop it is answered 500 and leaves it CANCELING for ever, the second 400."""
    api.lose(run)
    assert service.stop("run") == [Done("deleted", run)]
    assert (api.runs[run]["state"], is_archived(api, run)) == ("CANCELING", True)
    api.settle()
    assert api.runs[run]["state"] == "CANCELING"
    api.runs[run]["storage_state"] = "AVAILABLE"
    assert service.stop("run") == [Done("deleted", run)]
    assert is_archived(api, run)


def test_a_server_that_is_not_well_is_an_error(service: PipelinesService, api: Any, run: str) -> None:
    api.fail_next("terminate_run", 500)
    with pytest.raises(StageFailed, match="500"):
        service.stop("run")
    assert not is_archived(api, run)


def test_what_cannot_go_on_is_started_anew(service: PipelinesService, api: Any, run: str, version: Version) -> None:
    """Counted as failed, and the platform does not take it up: 409."""
    api.finish(run, "FAILED")
    api.fail_next("retry_run", 409)
    second = service.submit("run", version, PARAMETERS)
    assert second.what == "updated"
    assert second.id != run
    assert is_archived(api, run)

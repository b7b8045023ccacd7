"""Runs that ended, are being stopped or have lost their Workflow are put away without an error."""

from types import SimpleNamespace
from typing import Any

import pytest
from kfp_server_api.exceptions import ApiException

from pipelines.client import Done, PipelinesService, Version, ending
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


class Runs:
    """Answers of the API's run service: the status with which each operation is refused, and the run's state."""

    def __init__(self, state: str = "RUNNING", **refusals: int) -> None:
        self.state, self.refusals, self.asked = state, refusals, list[str]()

    def _answer(self, operation: str) -> None:
        self.asked.append(operation)
        if operation in self.refusals:
            raise ApiException(status=self.refusals[operation], reason="refused")

    def run_service_retry_run(self, run_id: str) -> None:
        self._answer("retry")

    def run_service_archive_run(self, run_id: str) -> None:
        self._answer("archive")

    def run_service_terminate_run(self, run_id: str) -> None:
        self._answer("terminate")

    def run_service_get_run(self, run_id: str) -> Any:
        return SimpleNamespace(state=self.state)


def around(runs: Runs) -> Any:
    return SimpleNamespace(runs=runs)


def seen(state: str | None) -> Any:
    return SimpleNamespace(run_id="7", state=state)


@pytest.mark.parametrize("status", [400, 404, 409])
def test_a_run_that_cannot_go_on_is_said(status: int, caplog: pytest.LogCaptureFixture) -> None:
    assert ending.retried(around(Runs()), seen("FAILED")) is True
    assert ending.retried(around(Runs(retry=status)), seen("FAILED")) is False
    assert "run 7 cannot go on, a new one takes its place" in caplog.text


@pytest.mark.parametrize("status", [401, 403, 405, 410, 500, 503])
def test_other_refusals_are_errors(status: int) -> None:
    with pytest.raises(ApiException, match=str(status)):
        ending.retried(around(Runs(retry=status)), seen("FAILED"))
    with pytest.raises(ApiException, match=str(status)):
        ending.retire(around(Runs(archive=status)), seen("FAILED"))
    with pytest.raises(ApiException, match=str(status)):
        ending.terminate(around(Runs(terminate=status)), "7")


@pytest.mark.parametrize("state", ["PENDING", "RUNNING", "PAUSED", None])
def test_what_is_active_is_stopped_before_it_is_archived(state: str | None) -> None:
    runs = Runs(terminate=400, archive=404)
    ending.retire(around(runs), seen(state))
    assert runs.asked == ["terminate", "archive"]


@pytest.mark.parametrize("state", ["SUCCEEDED", "FAILED", "CANCELED", "CANCELING"])
def test_what_has_ended_is_only_archived(state: str) -> None:
    runs = Runs()
    ending.retire(around(runs), seen(state))
    assert runs.asked == ["archive"]


def test_a_run_without_a_workflow_is_told_from_a_server_that_is_not_well(caplog: pytest.LogCaptureFixture) -> None:
    ending.terminate(around(Runs("CANCELING", terminate=500)), "7")
    assert caplog.messages == ["run 7 has no Workflow any more: it is archived, and nothing of it runs"]
    for status in (501, 503):
        with pytest.raises(ApiException):
            ending.terminate(around(Runs("CANCELING", terminate=status)), "7")
    ending.terminate(around(Runs(terminate=404)), "7")
    assert len(caplog.messages) == 1

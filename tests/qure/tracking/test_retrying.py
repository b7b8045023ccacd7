"""What passes by nature is tried again, what does not is not, and nothing without a bound."""

import logging
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.tracking import connect, stage_run
from qure.tracking.retrying import impatient, passes_in_mlflow, patient, retry


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qure.tracking.retrying._FIRST_PAUSE", 0.01)


class Moody:
    """Fails so many times."""

    def __init__(self, times: int, error: Exception) -> None:
        self.left, self.error, self.calls = times, error, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.left:
            self.left -= 1
            raise self.error
        return "done"


def test_it_is_tried_again_and_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_PATIENCE_SECONDS", "20")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sentinel-secret")
    act = Moody(3, OSError("sentinel-secret did not answer"))
    with caplog.at_level(logging.WARNING):
        assert retry(act, passes=lambda error: isinstance(error, OSError), what="the store") == "done"
    assert act.calls == 4
    assert [record.message.split(";")[0] for record in caplog.records] == ["the store: *** did not answer"] * 3


def test_what_does_not_pass_is_raised_at_once() -> None:
    act = Moody(1, ValueError("no"))
    with pytest.raises(ValueError, match="no"):
        retry(act, passes=lambda error: isinstance(error, OSError), what="x", patience=60)
    assert act.calls == 1


def test_patience_ends() -> None:
    act = Moody(10**9, OSError("away"))
    begun = time.monotonic()
    with pytest.raises(OSError, match="away"):
        retry(act, passes=lambda error: True, what="x", patience=0.3)
    assert 2 < act.calls < 30
    assert time.monotonic() - begun < 5


def test_who_asks_to_be_left_alone_is(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr("qure.tracking.retrying.time.sleep", pauses.append)
    act = Moody(2, OSError("away"))
    assert retry(act, passes=lambda error: True, what="x", patience=60, least_pause=lambda error: 7.0) == "done"
    assert pauses == [7.0, 7.0]
    with pytest.raises(OSError, match="away"):
        retry(Moody(1, OSError("away")), passes=lambda error: True, what="x", patience=60, least_pause=lambda _: 61.0)
    assert pauses == [7.0, 7.0], "longer than there is patience"


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TrackingSettings:
    monkeypatch.chdir(tmp_path)
    return TrackingSettings(uri=f"sqlite:///{tmp_path}/mlflow.db")


def test_two_tasks_that_log_one_dataset_at_one_moment(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """MLflow answers the second with 400 and the database's words; its own retries leave a 400 alone."""
    from mlflow.exceptions import RestException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    log_inputs, refusals = SqlAlchemyStore.log_inputs, [1, 1]

    def raced(*arguments: Any, **named: Any) -> Any:
        if refusals:
            refusals.pop()
            words = "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.experiment_id, datasets.name"
            raise RestException({"error_code": "BAD_REQUEST", "message": words})
        return log_inputs(*arguments, **named)

    monkeypatch.setattr(SqlAlchemyStore, "log_inputs", raced)
    with stage_run(settings, stage="precompute", inputs={"data": "md5:1"}) as run:
        assert run.run_id is not None
    assert "MLflow (log_inputs)" in caplog.text
    kept = connect(settings).get_run(run.run_id)
    assert [one.dataset.name for one in kept.inputs.dataset_inputs] == ["data"]


def test_work_does_not_wait_for_a_server_that_is_away(
    settings: TrackingSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A metric in the midst of training is kept for later; at the end it is waited for."""
    from mlflow.exceptions import RestException
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    log_batch = SqlAlchemyStore.log_batch
    calls: list[int] = []
    with stage_run(settings, stage="train") as run:
        with monkeypatch.context() as patch:

            def away(*arguments: Any, **named: Any) -> Any:
                calls.append(1)
                raise RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "restarting"})

            patch.setattr(SqlAlchemyStore, "log_batch", away)
            run.log_metrics({"loss": 0.5}, step=1)
            assert len(calls) == 1
        once = [1]

        def restarting(*arguments: Any, **named: Any) -> Any:
            if once:
                once.pop()
                raise RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "restarting"})
            return log_batch(*arguments, **named)

        monkeypatch.setattr(SqlAlchemyStore, "log_batch", restarting)
    assert run.run_id is not None
    assert connect(settings).get_run(run.run_id).data.metrics == {"loss": 0.5}


@pytest.fixture
def server() -> Iterator[Any]:
    """A tracking server that is not well twice, then answers."""

    class Handler(BaseHTTPRequestHandler):
        answers = [503, 502]

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status = self.answers.pop(0) if self.answers else 200
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b"{}" if status == 200 else b"not well")

        do_GET = do_POST

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    made = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()
    made.server_close()


def test_a_server_that_restarts(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Also where MLflow's own retries have given up."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    client = connect(TrackingSettings(uri=f"http://127.0.0.1:{server.server_port}"))
    assert type(impatient(client)).__name__ == "MlflowClient"
    assert impatient(impatient(client)) is impatient(client)
    assert client.tracking_uri.startswith("http://127.0.0.1")


def test_which_errors_of_mlflow_pass() -> None:
    from mlflow.exceptions import MlflowException, RestException
    from requests.exceptions import ConnectionError as NoConnection

    def answered(code: str, words: str = "x") -> RestException:
        return RestException({"error_code": code, "message": words})

    unique = "UNIQUE constraint failed: experiments.name"
    assert passes_in_mlflow(NoConnection("x"))
    assert passes_in_mlflow(answered("TEMPORARILY_UNAVAILABLE"))
    assert passes_in_mlflow(answered("INTERNAL_ERROR"))
    assert passes_in_mlflow(answered("BAD_REQUEST", unique))
    assert passes_in_mlflow(MlflowException("API request to http://x failed with exception Read timed out"))
    assert not passes_in_mlflow(answered("RESOURCE_ALREADY_EXISTS", unique))
    assert not passes_in_mlflow(answered("RESOURCE_DOES_NOT_EXIST"))
    assert not passes_in_mlflow(answered("INVALID_PARAMETER_VALUE"))
    assert not passes_in_mlflow(MlflowException("no such model flavour"))
    assert not passes_in_mlflow(ValueError("timed out"))


def test_a_patient_client_is_the_client_otherwise(settings: TrackingSettings) -> None:
    client = connect(settings)
    assert patient(impatient(client)).tracking_uri == settings.uri
    with pytest.raises(AttributeError):
        client.no_such_call  # noqa: B018

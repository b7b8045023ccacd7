"""What passes by nature is tried again, what does not is not, and nothing without a bound."""

import json
import logging
import threading
import time
from collections.abc import Iterator
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.tracking import connect, retrying, stage_run
from qure.tracking.retrying import download, impatient, passes_in_mlflow, patient, retry


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


def test_pauses_double_up_to_half_a_minute_and_a_terminal_waits_for_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    jitter: list[tuple[float, float]] = []
    monkeypatch.setattr("qure.tracking.retrying._FIRST_PAUSE", 1.0)
    monkeypatch.setattr("qure.tracking.retrying.time.sleep", pauses.append)
    monkeypatch.setattr("qure.tracking.retrying.time.monotonic", lambda: sum(pauses))
    monkeypatch.setattr("qure.tracking.retrying.random.uniform", lambda *ends: (jitter.append(ends), 1.0)[1])
    assert retry(Moody(8, OSError("away")), passes=lambda error: True, what="x", patience=1000) == "done"
    assert pauses == [1, 2, 4, 8, 16, 30, 30, 30]
    assert set(jitter) == {(0.75, 1.25)}
    pauses.clear()
    with pytest.raises(OSError, match="away"):
        retry(Moody(10, OSError("away")), passes=lambda error: True, what="x", patience=7)
    assert pauses == [1, 2, 4], "a further attempt may begin when it is over to the second"
    for variable, made in (("", [1, 2]), ("1", [1]), ("0", []), ("3.5", [1, 2])):
        pauses.clear()
        monkeypatch.setenv("QURE_PATIENCE_SECONDS", variable)
        with pytest.raises(OSError, match="away"):
            retry(Moody(10, OSError("away")), passes=lambda error: True, what="x")
        assert pauses == made, variable


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
    threading.Thread(target=made.serve_forever, args=(0.01,), daemon=True).start()
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


@pytest.mark.parametrize(
    ("status", "body", "passes"),
    [
        (502, "<html>Bad Gateway</html>", True),  # of a proxy before the server: no JSON
        (503, "<html></html>", True),
        (504, "<html></html>", True),
        (429, "slow", True),
        (404, "<html></html>", False),
        (403, "<html></html>", False),
        (400, "(1205, 'Lock wait timeout exceeded; try restarting transaction')", True),
        (400, "(2006, 'MySQL server has gone away')", True),
        (400, "(2013, 'Lost connection to MySQL server during query')", True),
        (400, "FATAL: the database system is starting up", True),
        (400, "terminating connection due to administrator command", True),
        (400, "Invalid value for parameter 'key'", False),
    ],
)
def test_what_a_server_or_its_proxy_answers(status: int, body: str, passes: bool) -> None:
    from mlflow.utils.rest_utils import verify_rest_response
    from requests import Response

    if status == 400:
        body = json.dumps({"error_code": "BAD_REQUEST", "message": body})
    answer = Response()
    answer.status_code, answer._content = status, body.encode()
    with pytest.raises(Exception, match=r"\w") as refusal:
        verify_rest_response(answer, "/api/2.0/mlflow/runs/create")
    assert passes_in_mlflow(refusal.value) == passes


def test_statuses_that_pass_are_those_of_a_server_that_is_busy_restarting_or_out_of_order() -> None:
    from requests import exceptions as transport
    from requests.models import Response

    found = []
    for status in HTTPStatus:
        answer = Response()
        answer.status_code = status.value
        if passes_in_mlflow(transport.HTTPError("x", response=answer)):
            found.append(status.phrase)
    assert found == [
        *("Request Timeout", "Too Early", "Too Many Requests", "Internal Server Error", "Bad Gateway"),
        *("Service Unavailable", "Gateway Timeout"),
    ]


def test_what_a_store_raises_where_mlflow_writes_to_it_itself() -> None:
    from boto3.exceptions import S3UploadFailedError
    from botocore import exceptions as s3
    from mlflow.exceptions import MlflowException
    from requests import exceptions as transport
    from requests.models import Response

    def told(code: str, status: int) -> s3.ClientError:
        return s3.ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "PutObject")

    def answered(status: int) -> transport.HTTPError:
        answer = Response()
        answer.status_code = status
        return transport.HTTPError("x", response=answer)

    several = "The following failures occurred while downloading one or more artifacts: ##### File x #####\n"
    for error in (
        told("SlowDown", 503),
        s3.EndpointConnectionError(endpoint_url="http://s3"),
        s3.ReadTimeoutError(endpoint_url="http://s3"),
        s3.ConnectionClosedError(endpoint_url="http://s3"),
        S3UploadFailedError("Failed to upload x: An error occurred (SlowDown): Please reduce your request rate."),
        transport.ChunkedEncodingError("Connection broken: IncompleteRead(3 bytes read)"),
        answered(503),
        MlflowException(several + "503 Server Error: Service Unavailable for url: http://x"),
        MlflowException(several + "An error occurred (InternalError): We encountered an internal error."),
        ConnectionResetError("x"),
    ):
        assert passes_in_mlflow(error), error
    for refusal in (
        told("AccessDenied", 403),
        told("NoSuchKey", 404),
        s3.NoCredentialsError(),
        answered(403),
        MlflowException(several + "404 Client Error: Not Found for url: http://x"),
    ):
        assert not passes_in_mlflow(refusal), refusal


@pytest.mark.parametrize(
    ("said", "passes"),
    [
        ("[Errno 104] Connection reset by peer", True),
        ("[Errno 16] Please reduce your request rate.", True),
        ("An error occurred (ServiceUnavailable) when calling the GetObject operation", True),
        ("An error occurred (503) when calling the HeadObject operation (reached max retries: 4)", True),
        ("An error occurred (InternalError): We encountered an internal error. Please try again.", True),
        ("Server disconnected", True),
        ("Response payload is not completed", True),
        ("unexpected http resp 502 for http://x/info/refs", True),
        ("Could not resolve host: git.example.com", True),
        ("An error occurred (NoSuchBucket) when calling the ListObjectsV2 operation", False),
        ("An error occurred (403) when calling the HeadObject operation: Forbidden", False),
        ("missing-files: files/md5/50/2b", False),
        ("unexpected http resp 404 for http://x/info/refs", False),
    ],
)
def test_what_git_and_dvc_say_of_a_server_that_is_away(said: str, passes: bool) -> None:
    assert (retrying.AWAY.search(said) is not None) == passes


def test_a_download_that_breaks_off_is_made_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The champion's files come by a function of MLflow's that is no call of its client."""
    from mlflow import artifacts
    from requests.exceptions import ChunkedEncodingError

    act = Moody(2, ChunkedEncodingError("Connection broken: IncompleteRead(3 bytes read)"))
    monkeypatch.setattr(artifacts, "download_artifacts", lambda **asked: (act(), asked["dst_path"])[1])
    assert download("models:/qure-cirr/1/model", tmp_path) == tmp_path
    assert act.calls == 3
    assert "MLflow (models:/qure-cirr/1/model)" in caplog.text


def test_no_file_comes_of_mlflow_past_the_patience() -> None:
    """Every way to a registered model's files asks again."""
    sources = Path(retrying.__file__).parents[1]
    direct = [str(file) for file in sources.rglob("*.py") if "artifacts.download_artifacts(" in file.read_text()]
    assert direct == [retrying.__file__]


def test_a_patient_client_is_the_client_otherwise(settings: TrackingSettings) -> None:
    client = connect(settings)
    assert patient(impatient(client)).tracking_uri == settings.uri
    with pytest.raises(AttributeError):
        client.no_such_call  # noqa: B018

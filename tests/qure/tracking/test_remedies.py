"""What MLflow and its transports raise, as one line with the way out."""

import pytest

from qure.tracking.remedies import explained, first_line

REFUSED = (
    "API request to http://127.0.0.1:5000/api/2.0/mlflow/runs/get failed with exception HTTPConnectionPool(host="
    "'127.0.0.1', port=5000): Max retries exceeded with url: /api (Caused by NewConnectionError('HTTPConnection: "
    "Failed to establish a new connection: [Errno 111] Connection refused'))"
)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (REFUSED, "it went away (Connection refused). Start it again, then start the same command again"),
        ("('Connection aborted.', RemoteDisconnected('Remote end closed'))", "it went away (Connection aborted). "),
        ("API request to http://h/x failed: too many 503 error responses", "it went away (too many 503 error resp"),
        (
            "API request to http://h/api/2.0/mlflow-artifacts/artifacts/1/x failed with exception HTTPConnectionPool("
            "host='h', port=5000): Max retries exceeded (Caused by ResponseError('too many 500 error responses'))",
            "it cannot use the storage that keeps its artifacts; its log says why. Start the storage, or make its b",
        ),
        (
            "An error occurred (NoSuchBucket) when calling the PutObject operation: none",
            "the bucket that keeps its artifacts is not there. Make it again, then start the same command again",
        ),
        (
            "An error occurred (AccessDenied) when calling the GetObject operation: The difference between the request "
            "time and the server's time exceeds the maximum allowed.",
            "the clocks of this machine and of the storage differ too much. Set this machine's clock (timedatectl",
        ),
        ("API request to /api failed with error code 401 != 200", "Set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_P"),
        (
            'connection to server at "10.0.0.1" failed: FATAL:  password authentication failed for user "q"',
            "Correct user and password in MLFLOW_TRACKING_URI",
        ),
        ('connection to server at "10.0.0.1" failed: FATAL:  database "x" does not exist', 'FATAL:  database "x" does'),
        ("No module named 'psycopg2'", "pip install 'qure[postgres]'"),
    ],
)
def test_what_failed_and_what_to_do(said: str, told: str) -> None:
    found = explained(RuntimeError(f"{said}\nand a page of other lines"))
    assert told in found
    assert "\n" not in found


def test_services_of_this_machine_are_started_by_their_own_command(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "make services" not in explained(RuntimeError(REFUSED))
    monkeypatch.setenv("QURE_PROFILE", "services")
    assert "Start it again (make services), then" in explained(RuntimeError(REFUSED))


def test_a_mistake_that_no_one_knows_stays_itself_without_credentials() -> None:
    assert explained(ValueError("bad row 3 at http://anna:hunter2@host/x")) == "bad row 3 at http://***@host/x"
    assert first_line(KeyboardInterrupt()) == "KeyboardInterrupt"

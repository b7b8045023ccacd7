"""The probes of a run's surroundings against real ones: MLflow on SQLite, a webhook and an object store over HTTP."""

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from components.runtime import SECRET_PREFIX, put_secrets_in_place
from infra.probing.findings import MARK, Finding, found, heard, say
from infra.probing.services import probe_services

TRACKING = {"name": "qure-tracking", "optional": False, "keys": {"uri": ["MLFLOW_TRACKING_URI", "QURE_CHECK_0_0"]}}
NOTIFICATION = {
    "name": "qure-notification",
    "optional": True,
    "keys": {"url": ["QURE_NOTIFICATION_URL", "QURE_CHECK_1_0"]},
}
VARIABLES = [
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_TOKEN",
    "QURE_NOTIFICATION_URL",
    "QURE_NOTIFICATION_SECRET",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
]


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [*VARIABLES, "MLFLOW_HTTP_REQUEST_TIMEOUT", "MLFLOW_HTTP_REQUEST_MAX_RETRIES", "AWS_ENDPOINT_URL"]:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def webhook() -> Iterator[Any]:
    """Answers with `status` and keeps what it was sent."""
    got: dict[str, Any] = {"status": 200, "bodies": []}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got["bodies"].append(self.rfile.read(int(self.headers["Content-Length"])))
            got["signature"] = self.headers["webhook-signature"]
            self.send_response(got["status"])
            self.end_headers()

        def do_GET(self) -> None:
            self.send_response(got["status"])
            self.end_headers()
            self.wfile.write(got.get("answer", b""))

        def log_message(self, format: str, *args: Any) -> None:
            """Quiet."""

    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    got["address"] = f"http://127.0.0.1:{server.server_address[1]}"
    yield got
    server.shutdown()
    server.server_close()


def probed(*secrets: dict[str, Any], storage_needed: bool = False) -> dict[str, Finding]:
    taken: dict[str, Any] = {"prefix": SECRET_PREFIX, "put_in_place": put_secrets_in_place}
    return {one.subject: one for one in probe_services(secrets, storage_needed=storage_needed, **taken)}


def test_a_real_mlflow_is_written_read_and_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    monkeypatch.setenv("QURE_CHECK_0_0", uri)
    for _ in range(2):
        monkeypatch.setenv("QURE_CHECK_0_0", uri)
        findings = probed(TRACKING)
        assert findings["secret qure-tracking"].state == "ok"
        assert findings["MLflow"].state == "ok", findings["MLflow"].text
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("qure-check")
    assert experiment is not None
    assert client.search_runs([experiment.experiment_id]) == []


def test_an_mlflow_that_keeps_something_else_is_said_and_left_clean(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    uri = f"sqlite:///{tmp_path}/mlflow.db"
    for method, answer, words in (
        ("get_run", SimpleNamespace(data=SimpleNamespace(params={"probe": "other"})), "is not what is read"),
        ("list_artifacts", [], "the artifact store does not list what was written"),
    ):
        monkeypatch.setenv("QURE_CHECK_0_0", uri)
        with monkeypatch.context() as patch:
            patch.setattr(mlflow.MlflowClient, method, lambda *_, answer=answer: answer)
            finding = probed(TRACKING)["MLflow"]
        assert (finding.state, words in finding.text) == ("failed", True), finding.text
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("qure-check")
    assert experiment is not None
    assert client.search_runs([experiment.experiment_id]) == []


def test_a_missing_key_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = {
        "uri": ["MLFLOW_TRACKING_URI", "QURE_CHECK_0_0"],
        "password": ["MLFLOW_TRACKING_PASSWORD", "QURE_CHECK_0_1"],
    }
    monkeypatch.setenv("QURE_CHECK_0_0", "http://127.0.0.1:9")
    finding = probed(TRACKING | {"keys": keys})["secret qure-tracking"]
    assert (finding.state, finding.text) == ("failed", "lacks password")
    assert "Secrets" in finding.remedy


def test_an_optional_secret_may_be_missing_whole_and_not_in_part(monkeypatch: pytest.MonkeyPatch) -> None:
    assert probed(NOTIFICATION)["secret qure-notification"].state == "skipped"
    both = NOTIFICATION | {"keys": NOTIFICATION["keys"] | {"token": ["T", "QURE_CHECK_1_1"]}}
    monkeypatch.setenv("QURE_CHECK_1_1", "x")
    monkeypatch.setenv("T", "")
    finding = probed(both)["secret qure-notification"]
    assert (finding.state, finding.text) == ("failed", "lacks url")
    assert finding.remedy.startswith("QURE_NOTIFICATION_URL would not be set"), "nothing waits for an optional one"


def test_an_mlflow_that_is_not_there_is_said_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_CHECK_0_0", "http://127.0.0.1:9")
    finding = probed(TRACKING)["MLflow"]
    assert finding.state == "failed"
    assert "qure-tracking" in finding.remedy
    assert "\n" not in finding.text
    assert probed()["MLflow"].text.startswith(("ValueError: no address", "MlflowException"))


def test_the_notification_is_sent_and_a_refusal_told(webhook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_CHECK_1_0", webhook["address"])
    assert probed(NOTIFICATION)["notification"].state == "ok"
    assert "check of the installation" in json.loads(webhook["bodies"][0])["text"]
    webhook["status"] = 403
    monkeypatch.setenv("QURE_CHECK_1_0", webhook["address"])
    assert "403" in probed(NOTIFICATION)["notification"].text


def test_the_notification_is_signed_as_every_message_is(webhook: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    keys = NOTIFICATION["keys"] | {"secret": ["QURE_NOTIFICATION_SECRET", "QURE_CHECK_1_1"]}
    monkeypatch.setenv("QURE_CHECK_1_0", webhook["address"])
    monkeypatch.setenv("QURE_CHECK_1_1", "sentinel-secret")
    assert probed(NOTIFICATION | {"keys": keys})["notification"].state == "ok"
    assert webhook["signature"].startswith("v1,")


def test_what_kubeflows_plugin_knows_of_its_server_is_not_sent_to_ours(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://kubeflows.test")
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "theirs")
    monkeypatch.setenv("QURE_CHECK_0_0", f"sqlite:///{tmp_path}/mlflow.db")
    assert probed(TRACKING)["MLflow"].state == "ok"
    assert "MLFLOW_TRACKING_TOKEN" not in os.environ


@pytest.mark.parametrize(
    ("status", "code", "state"),
    [
        (200, "", "ok"),
        (403, "AccessDenied", "ok"),
        (403, "InvalidAccessKeyId", "failed"),
        (403, "SignatureDoesNotMatch", "failed"),
    ],
)
def test_a_store_that_knows_the_key_is_told_from_one_that_does_not(
    status: int, code: str, state: str, webhook: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhook["status"] = status
    webhook["answer"] = (
        f"<Error><Code>{code}</Code><Message>m</Message></Error>".encode()
        if code
        else b"<ListAllMyBucketsResult><Buckets><Bucket><Name>b</Name></Bucket></Buckets></ListAllMyBucketsResult>"
    )
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "sentinel-secret")
    monkeypatch.setenv("AWS_ENDPOINT_URL", webhook["address"])
    finding = probed()["S3"]
    assert finding.state == state, finding.text
    assert "sentinel-secret" not in finding.text


@pytest.mark.parametrize(("needed", "state"), [(True, "failed"), (False, "skipped")])
def test_storage_is_missed_where_data_comes_from_it(needed: bool, state: str) -> None:
    assert probed(storage_needed=needed)["S3"].state == state


def test_findings_are_read_again_from_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> str:
        raise OSError("two\nlines")

    findings = [found("a", "mend it", broken), Finding("b", "ok", "fine")]
    say(findings)
    lines = ["[KFP Executor] noise", *capsys.readouterr().out.splitlines()]
    assert heard(lines) == findings
    assert findings[0].text == "OSError: two lines"
    assert heard([f"2026-11-27T08:00:00Z {MARK}" + '{"subject": "c", "state": "ok", "text": "t", "remedy": ""}'])

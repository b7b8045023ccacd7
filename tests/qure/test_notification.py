"""Notifications, against a real webhook on this machine."""

import json
import logging
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest

from qure import webhook
from qure.errors import BadInput, StageFailed
from qure.notification import BrokenTask, Outcome, notify


class Webhook:
    """Takes messages; answers with `status`."""

    def __init__(self) -> None:
        self.messages: list[dict[str, Any]] = []
        self.status = 200
        hook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                hook.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
                self.send_response(hook.status)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/sentinel-path"


@pytest.fixture
def webhook_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[Webhook]:
    hook = Webhook()
    thread = threading.Thread(target=hook.server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    monkeypatch.setenv("QURE_NOTIFICATION_URL", hook.url)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    yield hook
    hook.server.shutdown()
    hook.server.server_close()


FAILED = Outcome(
    "qure-training",
    "cirr",
    "FAILED",
    "train-qure: error: loss is not finite",
    (BrokenTask("train-qure", "FAILED", "main: Error (exit code 1)", "pod-7", "error: loss is not finite"),),
    384,
    {"run": "https://kubeflow.test/run-7"},
)


def test_a_failure_is_posted_with_the_run(webhook_here: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", "run-7")
    assert notify(FAILED)
    assert webhook_here.messages == [
        {
            "text": "qure-training of cirr FAILED after 6 min 24 s: train-qure: error: loss is not finite",
            "pipeline": "qure-training",
            "training_set": "cirr",
            "state": "FAILED",
            "message": "train-qure: error: loss is not finite",
            "tasks": [
                {
                    "task": "train-qure",
                    "state": "FAILED",
                    "message": "main: Error (exit code 1)",
                    "pod": "pod-7",
                    "error": "error: loss is not finite",
                }
            ],
            "seconds": 384,
            "links": {"run": "https://kubeflow.test/run-7"},
            "run": "run-7",
        }
    ]


@pytest.mark.parametrize("secret", ["sentinel-password", 'sentinel"pass\\word', "sentinel-pässword"])
@pytest.mark.parametrize("place", ["message", "task", "link"])
def test_secrets_are_not_posted(
    webhook_here: Webhook, monkeypatch: pytest.MonkeyPatch, secret: str, place: str
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", secret)
    said = f"login with {secret} refused"
    broken = BrokenTask("train-qure", "FAILED", error=said if place == "task" else "")
    links = {"run": said if place == "link" else "https://kubeflow.test/run-7"}
    notify(Outcome("p", "cirr", "FAILED", said if place == "message" else "", (broken,), links=links))
    assert secret not in "".join(_texts(webhook_here.messages))
    assert "login with *** refused" in _texts(webhook_here.messages)


def test_a_key_that_is_cut_off_leaves_the_body_whole(webhook_here: Webhook) -> None:
    notify(Outcome("p", "cirr", "FAILED", "-----BEGIN PRIVATE KEY-----\nabc", seconds=3))
    (posted,) = webhook_here.messages
    assert (posted["message"], posted["seconds"]) == ("***", 3)


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    return [text for one in value for text in _texts(one)] if isinstance(value, list) else [str(value)]


def test_without_an_address_the_log_says_it(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.delenv("QURE_NOTIFICATION_URL", raising=False)
    with caplog.at_level(logging.INFO):
        assert not notify(FAILED)
        assert not notify(Outcome("qure-training", "cirr", "SUCCEEDED"))
    assert [record.levelname for record in caplog.records] == ["ERROR", "ERROR", "INFO", "INFO"]
    assert "train-qure FAILED: main: Error (exit code 1), pod pod-7, error: loss is not finite" in caplog.text
    assert "run: https://kubeflow.test/run-7" in caplog.text


def test_a_refusal_fails_at_once_without_showing_the_address(webhook_here: Webhook) -> None:
    webhook_here.status = 403
    with pytest.raises(StageFailed, match="403") as failure:
        notify(FAILED)
    assert "sentinel-path" not in str(failure.value)
    assert len(webhook_here.messages) == 1


@pytest.mark.parametrize("url", ["file:///etc/passwd", "not an address"])
def test_only_web_addresses_are_taken(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("QURE_NOTIFICATION_URL", url)
    with pytest.raises(BadInput, match="QURE_NOTIFICATION_URL") as failure:
        notify(FAILED)
    assert url not in str(failure.value)


def test_an_address_where_nobody_answers_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_NOTIFICATION_URL", "http://127.0.0.1:9/sentinel-path")
    monkeypatch.setattr(webhook, "TOTAL_SECONDS", 0.5)
    with pytest.raises(StageFailed, match="could not be sent") as failure:
        notify(FAILED)
    assert "sentinel-path" not in str(failure.value)


def test_the_runbooks_message_is_what_is_posted(webhook_here: Webhook, monkeypatch: pytest.MonkeyPatch) -> None:
    runbook = (Path(__file__).parents[2] / "docs" / "runbook.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```json\n(.*?)```", runbook, re.DOTALL)
    told = json.loads(shown)
    outcome = {key: value for key, value in told.items() if key not in ("text", "run", "tasks")}
    monkeypatch.setenv("QURE_PIPELINE_RUN", told["run"])
    assert notify(Outcome(**outcome, tasks=tuple(BrokenTask(**task) for task in told["tasks"])))
    assert webhook_here.messages == [told]

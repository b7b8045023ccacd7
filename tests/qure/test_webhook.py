"""Messages to a real webhook on this machine: signed, tried again, bounded in time."""

import base64
import hashlib
import hmac
import socket
import threading
import time
from collections.abc import Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from qure.errors import BadInput, StageFailed
from qure.webhook import post


class Receiver:
    """Takes messages; answers with the next of `statuses`, then with 200."""

    def __init__(self) -> None:
        self.taken: list[tuple[dict[str, str], bytes]] = []
        self.statuses: list[int] = []
        self.headers: dict[str, str] = {}
        self.silent = threading.Event()
        self.silent.set()
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.taken.append(({name.lower(): value for name, value in self.headers.items()}, content))
                receiver.silent.wait(30)
                self.send_response(receiver.statuses.pop(0) if receiver.statuses else 200)
                for name, value in receiver.headers.items():
                    self.send_header(name, value)
                self.end_headers()

            def log_message(self, *arguments: Any) -> None:
                """Quiet."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/sentinel-path"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    one = Receiver()
    threading.Thread(target=one.server.serve_forever, args=(0.01,), daemon=True).start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("QURE_NOTIFICATION_SECRET", raising=False)
    monkeypatch.setattr("qure.tracking.retrying._FIRST_PAUSE", 0.02)
    yield one
    one.silent.set()
    one.server.shutdown()
    one.server.server_close()


@pytest.mark.parametrize("secret", ["whsec_" + base64.b64encode(b"k" * 24).decode(), "any text"])
def test_a_receiver_can_tell_that_it_is_ours(receiver: Receiver, monkeypatch: pytest.MonkeyPatch, secret: str) -> None:
    monkeypatch.setenv("QURE_NOTIFICATION_SECRET", secret)
    post(receiver.url, '{"text": "ä"}')
    ((headers, content),) = receiver.taken
    key = b"k" * 24 if secret.startswith("whsec_") else b"any text"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + content
    wanted = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}"
    assert abs(int(headers["webhook-timestamp"]) - time.time()) < 60
    assert content == '{"text": "ä"}'.encode()


def test_without_a_secret_there_is_no_signature(receiver: Receiver) -> None:
    post(receiver.url, "{}")
    assert "webhook-signature" not in receiver.taken[0][0]


def test_a_broken_secret_is_named_and_not_shown(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_NOTIFICATION_SECRET", "whsec_not base64!")
    with pytest.raises(BadInput, match="QURE_NOTIFICATION_SECRET") as failure:
        post(receiver.url, "{}")
    assert "base64!" not in str(failure.value)
    assert receiver.taken == []


def test_a_webhook_that_is_away_is_asked_again_with_the_same_message(receiver: Receiver) -> None:
    receiver.statuses = [503, 429]
    post(receiver.url, "{}")
    assert len({headers["webhook-id"] for headers, _ in receiver.taken}) == 1
    assert len(receiver.taken) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 301, 307])
def test_a_refusal_is_final(receiver: Receiver, status: int) -> None:
    receiver.statuses, receiver.headers = [status], {"Location": receiver.url}
    with pytest.raises(StageFailed, match=str(status)) as failure:
        post(receiver.url, "{}")
    assert len(receiver.taken) == 1
    assert "sentinel-path" not in str(failure.value)


def test_the_time_of_all_attempts_is_bounded(receiver: Receiver) -> None:
    receiver.statuses = [503] * 10_000
    begun = time.monotonic()
    with pytest.raises(StageFailed, match=r"503 .*, \d+ times"):
        post(receiver.url, "{}", total=0.5)
    assert time.monotonic() - begun < 20


def test_a_webhook_that_never_answers_holds_nobody(receiver: Receiver) -> None:
    receiver.silent.clear()
    with pytest.raises(StageFailed, match=r"could not be sent: TimeoutError|not answered within"):
        post(receiver.url, "{}", total=0.3)


@pytest.mark.parametrize("way", ["seconds", "date"])
def test_a_webhook_that_asks_for_more_time_than_there_is_is_asked_once(receiver: Receiver, way: str) -> None:
    after = "3600" if way == "seconds" else formatdate(time.time() + 3600, usegmt=True)
    receiver.statuses, receiver.headers = [503], {"Retry-After": after}
    with pytest.raises(StageFailed, match="503"):
        post(receiver.url, "{}", total=0.5)
    assert len(receiver.taken) == 1


@pytest.mark.parametrize("after", ["0", "-5", "soon", formatdate(0, usegmt=True)])
def test_a_webhook_that_asks_for_no_time_is_asked_again_at_once(receiver: Receiver, after: str) -> None:
    receiver.statuses, receiver.headers = [503], {"Retry-After": after}
    post(receiver.url, "{}", total=10)
    assert len(receiver.taken) == 2


def test_a_name_that_is_looked_up_for_ever_holds_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """No timeout of a socket bounds it."""
    over = threading.Event()
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: over.wait(30))
    try:
        with pytest.raises(StageFailed, match=r"the notification was not answered within 0\.2 s"):
            post("http://webhook.example/sentinel-path", "{}", total=0.2)
    finally:
        over.set()

"""Posts a JSON message to a webhook: signed, tried again, and over within a bounded time.

Signatures follow the Standard Webhooks specification (standardwebhooks.com), for which receivers have libraries in most
languages: three headers, and HMAC-SHA256 over `<id>.<timestamp>.<body>`.

| header | holds |
|---|---|
| webhook-id | `msg_` and 32 characters: the same for every attempt, so that a receiver takes a message once |
| webhook-timestamp | Unix seconds of the attempt; a receiver refuses what is older than some minutes |
| webhook-signature | `v1,` and the base64 of the HMAC; left out where no secret is set |

The secret is QURE_NOTIFICATION_SECRET: `whsec_` and base64 of 24 to 64 bytes, as the specification has it, or any text.
"""

import base64
import binascii
import hashlib
import hmac
import os
import threading
import time
import urllib.error
import urllib.request
import uuid
from email.utils import parsedate_to_datetime
from typing import Any

from qure.errors import BadInput, StageFailed
from qure.tracking.retrying import PASSING_STATUSES, retry

SECRET_VARIABLE = "QURE_NOTIFICATION_SECRET"
#: Seconds after which no message is worth more waiting, all attempts together.
TOTAL_SECONDS = 60.0
_ATTEMPT_SECONDS = 15.0
_PREFIX = "whsec_"


class _Away(Exception):
    """The webhook may answer later."""

    def __init__(self, said: str, after: float = 0.0) -> None:
        super().__init__(said)
        self.after = after


def post(url: str, body: str, *, total: float | None = None) -> None:
    """Posts a body, once if that succeeds, until `total` seconds have passed if not.

    Args:
        url: http(s) address; a secret, which no error names.
        body: JSON.
        total: seconds, all attempts and pauses together; `TOTAL_SECONDS` when left out.

    Raises:
        BadInput: the secret is no base64 where it says that it is.
        StageFailed: the webhook refuses, or has not taken the message in time.
    """
    key, message, content = _key(), f"msg_{uuid.uuid4().hex}", body.encode()
    total = TOTAL_SECONDS if total is None else total
    end, attempts = time.monotonic() + total, 0

    def attempt() -> None:
        nonlocal attempts
        attempts += 1
        _within(min(_ATTEMPT_SECONDS, max(0.1, end - time.monotonic())), url, content, message, key)

    try:
        retry(
            attempt,
            passes=lambda error: isinstance(error, _Away),
            what="the notification",
            patience=total,
            least_pause=lambda error: getattr(error, "after", 0.0),
        )
    except _Away as error:
        tries = f", {attempts} times" if attempts > 1 else ""
        raise StageFailed(f"the notification {error}{tries}") from None


def signature(key: bytes, message: str, timestamp: int, content: bytes) -> str:
    """The value of `webhook-signature`.

    >>> key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    >>> signature(key, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    'v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE='
    """
    digest = hmac.new(key, f"{message}.{timestamp}.".encode() + content, hashlib.sha256).digest()
    return f"v1,{base64.b64encode(digest).decode()}"


def _key() -> bytes | None:
    secret = os.environ.get(SECRET_VARIABLE, "").strip()
    if not secret:
        return None
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        raise BadInput(f"not base64 after {_PREFIX!r}", field=SECRET_VARIABLE) from None


def _within(seconds: float, url: str, content: bytes, message: str, key: bytes | None) -> None:
    """One attempt. A thread of its own, because no timeout of sockets bounds a name's lookup or a server that drips."""
    outcome: list[Exception | None] = []

    def attempt() -> None:
        try:
            _send(seconds, url, content, message, key)
            outcome.append(None)
        except Exception as error:
            outcome.append(error)

    thread = threading.Thread(target=attempt, name="notification", daemon=True)
    thread.start()
    thread.join(seconds)
    if not outcome:
        raise _Away(f"was not answered within {seconds:.2g} s")
    if outcome[0] is not None:
        raise outcome[0]


def _send(seconds: float, url: str, content: bytes, message: str, key: bytes | None) -> None:
    now = int(time.time())
    headers = {"Content-Type": "application/json", "webhook-id": message, "webhook-timestamp": str(now)}
    if key is not None:
        headers["webhook-signature"] = signature(key, message, now, content)
    request = urllib.request.Request(url, data=content, headers=headers, method="POST")
    try:
        with urllib.request.build_opener(_NoRedirects).open(request, timeout=seconds):
            return
    except urllib.error.HTTPError as error:
        said = f"was refused: {error.code} {error.reason}"
        if error.code in PASSING_STATUSES:
            raise _Away(said, _seconds(error.headers.get("Retry-After"))) from None
        raise StageFailed(f"the notification {said}") from None
    except OSError as error:
        # Never the address: it is a secret.
        raise _Away(f"could not be sent: {type(error).__name__}") from None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A message goes where it was addressed, or nowhere."""

    def redirect_request(self, *_: Any) -> None:
        return None


def _seconds(after: str | None) -> float:
    """What Retry-After asks for: seconds, or a day."""
    try:
        return max(0.0, float(after)) if after else 0.0
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(str(after)).timestamp() - time.time())
    except (ValueError, TypeError):
        return 0.0

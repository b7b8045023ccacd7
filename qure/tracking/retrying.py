"""Tries again what passes by nature: a server that restarts, a connection that breaks, two writers at one moment.

A stock Kubeflow Pipelines does not start a task again whose command fails, so a task tries again itself. Nothing here
waits longer than the patience: `QURE_PATIENCE_SECONDS`, which the pipelines set; a few seconds at a terminal.
"""

import functools
import logging
import os
import random
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from qure.tracking.redaction import redacted

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

PATIENCE_VARIABLE = "QURE_PATIENCE_SECONDS"
_AT_A_TERMINAL = 4.0
_FIRST_PAUSE, _LONGEST_PAUSE = 1.0, 30.0

#: HTTP statuses of a server that is busy, restarting or out of order.
PASSING_STATUSES = {408, 425, 429, 500, 502, 503, 504}
#: What databases say when another writer was first, or they restart; MLflow passes it on as 400, which its own retries
#: leave alone.
_DATABASE = re.compile(
    r"UNIQUE constraint failed|duplicate key value|Duplicate entry|database is locked|deadlock|could not serialize"
    r"|lock wait timeout|too many (clients|connections)|QueuePool limit|server closed the connection"
    r"|server has gone away|lost connection to|database system is (starting up|shutting down|in recovery)"
    r"|terminating connection|closed unexpectedly",
    re.IGNORECASE,
)
#: What transports say of a server that does not answer, or not now: HTTP, S3, git and DVC.
AWAY = re.compile(
    r"timed? ?-?out|connection (was |is |has been )?(refused|reset|closed|aborted|error|broken|lost)"
    r"|could not (connect|resolve)|cannot connect|max retries exceeded|temporary failure|name or service not known"
    r"|slow ?down|reduce your request rate|too many (requests|50\d error responses)|service ?unavailable|bad gateway"
    r"|internal ?(server )?error|server disconnected|remote end closed|incomplete ?read|payload is not completed"
    r"|broken pipe|EOF occurred|unexpected EOF|API request to .* failed with exception"
    r"|\b(http resp|status|error|code|error occurred)\D{0,3}(408|425|429|50[0234])\b",
    re.IGNORECASE,
)
#: Error codes of a server that has answered, whatever words it repeats.
_ANSWERS = {"RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"}


def retry(
    operation: Callable[[], Result],
    *,
    passes: Callable[[Exception], bool],
    what: str,
    patience: float | None = None,
    least_pause: Callable[[Exception], float] = lambda error: 0.0,
) -> Result:
    """Does something, and again while what stopped it passes by nature, with pauses of 1, 2, 4 ... 30 s, jittered.

    Args:
        operation: what to do; safe to do again.
        passes: whether an error may be gone next time.
        what: what it is, for the log.
        patience: seconds from the first attempt in which a further one may begin; the variable's when left out.
        least_pause: seconds that an error asks to be left alone, as Retry-After does.

    Raises:
        Exception: the last attempt's, once patience is over; the first that does not pass, at once.
    """
    end = time.monotonic() + (_patience() if patience is None else patience)
    pause = _FIRST_PAUSE
    while True:
        try:
            return operation()
        except Exception as error:
            wait = max(pause * random.uniform(0.75, 1.25), least_pause(error))
            if not passes(error) or time.monotonic() + wait > end:
                raise
            lines = redacted(str(error)).strip().splitlines() or [type(error).__name__]
            logger.warning("%s: %s; trying again in %.0f s", what, lines[0][:300], wait)
        time.sleep(wait)
        pause = min(2 * pause, _LONGEST_PAUSE)


def patient(client: "MlflowClient") -> "MlflowClient":
    """The client, whose calls are made again when what stopped them passes by nature."""
    return cast("MlflowClient", _Patient(client))


def impatient(client: "MlflowClient") -> "MlflowClient":
    """The client without that: for calls in the midst of work, which must not wait, and for locks."""
    return client._client if isinstance(client, _Patient) else client


def passes_in_mlflow(error: Exception) -> bool:
    """Whether what MLflow or its transport raised may be gone next time."""
    from mlflow.exceptions import MlflowException, RestException
    from requests import exceptions as transport  # type: ignore[import-untyped]
    from urllib3.exceptions import HTTPError

    broken = transport.ConnectionError | transport.Timeout | transport.ChunkedEncodingError | transport.RetryError
    if isinstance(error, broken | HTTPError | ConnectionError | TimeoutError):
        return True
    if isinstance(error, transport.HTTPError):
        return error.response is not None and error.response.status_code in PASSING_STATUSES
    if type(error).__module__.split(".")[0] in ("botocore", "boto3"):  # a client that writes to the store itself
        answer = getattr(error, "response", None) or {}
        status = answer.get("ResponseMetadata", {}).get("HTTPStatusCode")
        return status in PASSING_STATUSES or AWAY.search(str(error)) is not None
    if not isinstance(error, MlflowException) or error.error_code in _ANSWERS:
        return False
    if isinstance(error, RestException) and error.get_http_status_code() in PASSING_STATUSES:
        return True
    return bool(_DATABASE.search(str(error)) or AWAY.search(str(error)))


def download(uri: str, folder: str | Path) -> Path:
    """Brings what an address of MLflow names (`models:/...`, `runs:/...`) into a folder; what is away is asked again.

    Raises:
        Exception: what MLflow or its store raised last.
    """
    from mlflow import artifacts

    def ask() -> str:
        return str(artifacts.download_artifacts(artifact_uri=uri, dst_path=str(folder)))

    return Path(retry(ask, passes=passes_in_mlflow, what=f"MLflow ({uri})"))


class _Patient:
    def __init__(self, client: "MlflowClient") -> None:
        self._client = client

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._client, name)
        if not callable(found):
            return found

        @functools.wraps(found)
        def call(*arguments: Any, **named: Any) -> Any:
            return retry(lambda: found(*arguments, **named), passes=passes_in_mlflow, what=f"MLflow ({name})")

        return call


def _patience() -> float:
    value = os.environ.get(PATIENCE_VARIABLE, "").strip()
    return float(value) if re.fullmatch(r"[0-9]+(\.[0-9]+)?", value) else _AT_A_TERMINAL

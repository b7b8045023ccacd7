"""Tells people how a pipeline run ended: one line in the log, one JSON message to a webhook."""

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from qure.errors import BadInput
from qure.tracking.identity import PIPELINE_VARIABLE
from qure.tracking.redaction import redacted
from qure.webhook import post

logger = logging.getLogger(__name__)

#: Where messages go; a secret, because whoever has the address of a webhook can post to it.
URL_VARIABLE = "QURE_NOTIFICATION_URL"


@dataclass(frozen=True)
class BrokenTask:
    """A task that did not do what it was for.

    Attributes:
        task: its name in the pipeline.
        state: FAILED, TIMED OUT or OUT OF MEMORY.
        message: Kubernetes' words for its end.
        pod: the name of its last pod.
        error: the line of its log that says why.
    """

    task: str
    state: str
    message: str = ""
    pod: str = ""
    error: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a pipeline run ended.

    Attributes:
        pipeline: the pipeline's name.
        training_set: fashioniq or cirr.
        state: SUCCEEDED, FAILED, STOPPED, TIMED OUT or OUT OF MEMORY; UNKNOWN where nothing could tell.
        message: the first error, if any.
        tasks: those that failed.
        seconds: how long the run took; None where that is not known.
        links: addresses for people by what they lead to: run, mlflow, report.
    """

    pipeline: str
    training_set: str
    state: str
    message: str = ""
    tasks: tuple[BrokenTask, ...] = ()
    seconds: int | None = None
    links: Mapping[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """One line for people.

        >>> Outcome("training", "cirr", "FAILED", "fetch-data: no data", seconds=384).text
        'training of cirr FAILED after 6 min 24 s: fetch-data: no data'
        """
        after = "" if self.seconds is None else f" after {duration(self.seconds)}"
        return f"{self.pipeline} of {self.training_set} {self.state}{after}" + (
            f": {self.message}" if self.message else ""
        )


def duration(seconds: int) -> str:
    """A duration for people.

    >>> duration(384), duration(7384), duration(9)
    ('6 min 24 s', '2 h 3 min', '9 s')
    """
    hours, rest = divmod(int(seconds), 3600)
    minutes, rest = divmod(rest, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def notify(outcome: Outcome) -> bool:
    """Logs the outcome and posts it to the webhook in QURE_NOTIFICATION_URL, when there is one.

    The body is JSON: `text` (what Slack and its kin show), the outcome's fields and `run`, the pipeline run's id. It is
    signed with QURE_NOTIFICATION_SECRET, and sent again while the webhook is away, for a minute at most: see
    `qure.webhook`.

    Returns:
        Whether a message was posted.

    Raises:
        BadInput: the variable holds no http(s) address.
        StageFailed: the webhook does not answer in time, or refuses.
    """
    level = logging.INFO if outcome.state == "SUCCEEDED" else logging.ERROR
    logger.log(level, "%s", redacted(outcome.text))
    for task in outcome.tasks:
        parts = ", ".join(part for part in (task.message, f"pod {task.pod}" if task.pod else "", task.error) if part)
        logger.log(level, "%s", redacted(f"{task.task} {task.state}: {parts}"))
    for what, address in outcome.links.items():
        logger.info("%s: %s", what, address)
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url:
        return False
    if not url.startswith(("https://", "http://")):
        raise BadInput("not an http(s) address", field=URL_VARIABLE)
    body = {"text": outcome.text, **asdict(outcome), "run": os.environ.get(PIPELINE_VARIABLE, "")}
    post(url, json.dumps(_redacted(body)))
    return True


def _redacted(value: Any) -> Any:
    """Text by text: in JSON a secret's quotes and letters would be escaped and not be found."""
    if isinstance(value, str):
        return redacted(value)
    if isinstance(value, Mapping):
        return {key: _redacted(one) for key, one in value.items()}
    return [_redacted(one) for one in value] if isinstance(value, list | tuple) else value

"""Tells people how a pipeline run ended: one line in the log, one JSON message to a webhook."""

import json
import logging
import os
from dataclasses import asdict, dataclass

from qure.errors import BadInput
from qure.tracking.identity import PIPELINE_VARIABLE
from qure.tracking.redaction import redacted
from qure.webhook import post

logger = logging.getLogger(__name__)

#: Where messages go; a secret, because whoever has the address of a webhook can post to it.
URL_VARIABLE = "QURE_NOTIFICATION_URL"


@dataclass(frozen=True)
class Outcome:
    """How a pipeline run ended.

    Attributes:
        pipeline: the pipeline's name.
        training_set: fashioniq or cirr.
        state: SUCCEEDED, FAILED or CANCELLED.
        failed_task: the part of the run that ended so.
        message: the first error, if any.
    """

    pipeline: str
    training_set: str
    state: str
    failed_task: str = ""
    message: str = ""

    @property
    def text(self) -> str:
        """One line for people.

        >>> Outcome("training", "cirr", "FAILED", message="no data").text
        'training of cirr FAILED: no data'
        """
        return f"{self.pipeline} of {self.training_set} {self.state}" + (f": {self.message}" if self.message else "")


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
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url:
        return False
    if not url.startswith(("https://", "http://")):
        raise BadInput("not an http(s) address", field=URL_VARIABLE)
    body = {"text": outcome.text, **asdict(outcome), "run": os.environ.get(PIPELINE_VARIABLE, "")}
    post(url, redacted(json.dumps(body)))
    return True

"""Runs that end, and runs that go on after their end; whatever became of them meanwhile is no error."""

import logging
from typing import Any

from pipelines.client.connection import Api, message
from pipelines.client.runs import ACTIVE, STOPPING

logger = logging.getLogger(__name__)


def retried(api: Api, run: Any) -> bool:
    """Whether a failed run goes on. One that cannot is to be replaced."""
    from kfp_server_api.exceptions import ApiException

    try:
        api.runs.run_service_retry_run(run.run_id)
    except ApiException as error:
        if error.status not in (400, 404, 409):
            raise
        logger.warning("run %s cannot go on, a new one takes its place: %s", run.run_id, message(error))
        return False
    return True


def retire(api: Api, run: Any) -> None:
    """Stops a run that is active and archives it, whatever becomes of it meanwhile."""
    from kfp_server_api.exceptions import ApiException

    if run.state in ACTIVE:
        terminate(api, run.run_id)
    try:
        api.runs.run_service_archive_run(run.run_id)
    except ApiException as error:
        if error.status != 404:
            raise


def terminate(api: Api, run_id: str) -> None:
    """Stops a run. It may have ended by itself, be stopped by another, or have lost its Workflow.

    The API then answers 400, or 404 for one that was deleted. Of a run whose Workflow is gone it answers 500 and
    counts it as being stopped from then on; other errors of the server are errors.
    """
    from kfp_server_api.exceptions import ApiException

    try:
        api.runs.run_service_terminate_run(run_id)
    except ApiException as error:
        if error.status in (400, 404):
            return
        if error.status == 500 and api.runs.run_service_get_run(run_id).state == STOPPING:
            logger.warning("run %s has no Workflow any more: it is archived, and nothing of it runs", run_id)
            return
        raise

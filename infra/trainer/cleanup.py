"""Deletes what a pipeline run has left: for the run's exit handler, which runs however the run ended."""

import logging
import time

from infra.trainer.api import ApiUnavailable
from infra.trainer.cluster import ClusterTrainJobs
from qure.errors import StageFailed

logger = logging.getLogger(__name__)

ATTEMPTS = 6


def delete_jobs_of(run: str, *, namespace: str | None = None) -> list[str]:
    """Deletes the train jobs that carry a run's id, their pods with them.

    Args:
        run: the pipeline run's id (the label `pipeline/runid` of its pods; QURE_PIPELINE_RUN in a task).
        namespace: where the jobs are (`distributed.namespace`); the task's own when left out.

    Returns:
        Names of the jobs that were deleted; none where nothing was left or Trainer is not installed.

    Raises:
        StageFailed: the cluster's API does not answer.
        BadInput: it refuses; says which right is missing.
    """
    jobs = ClusterTrainJobs(namespace)
    deleted: list[str] = []
    problem: Exception | None = None
    for attempt in range(ATTEMPTS):
        try:
            for name in jobs.of_run(run):
                jobs.delete(name)
                deleted.append(name)
                logger.warning("deleted train job %s, which run %s had left", name, run)
            return sorted(set(deleted))
        except ApiUnavailable as error:
            problem = error
            logger.warning("the train jobs of run %s could not be deleted (attempt %d): %s", run, attempt + 1, error)
            time.sleep(0.5 * 2**attempt)
    raise StageFailed(
        f"the train jobs of run {run} may still be running: {problem}. "
        f"Delete them with `kubectl delete trainjob --selector qure/run-id={run}`"
    )

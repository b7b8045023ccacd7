"""Adds to what the API knows of runs what their Workflows know: why a run ended, and which pod to look at.

For whoever has a kubeconfig of the cluster, as long as the Workflow is there (a day, as Kubeflow is shipped).
"""

import logging
from typing import Any, Protocol

from infra.argo.cluster import Cluster, error_line
from infra.argo.workflow import SUCCEEDED, ending
from qure.errors import QureError

logger = logging.getLogger(__name__)

#: The namespace of an installation for one user.
SINGLE_USER = "kubeflow"


class Reader(Protocol):
    """What is asked of the cluster."""

    def workflow(self, name: str) -> dict[str, Any]: ...

    def log(self, pod: str) -> list[str]: ...


def explain(runs: list[dict[str, Any]], namespace: str | None, reader: Reader | None = None) -> None:
    """Gives rows of `PipelinesService.status` their end's state, and their tasks' states, messages and pods, in place.

    Where the cluster or a Workflow cannot be read, the row stays, and `unexplained` in it says why.

    Args:
        runs: rows with tasks; those that are under way or have succeeded with every task written down are left alone.
        namespace: the configured one; Kubeflow's own when None.
        reader: of the cluster; a kubeconfig's when left out.
    """
    for run in runs:
        recorded = all(task["state"] != "not recorded" for task in run.get("tasks", []))
        if not run.get("workflow") or run["state"] not in ("failed", "stopped", "succeeded"):
            continue
        if run["state"] == "succeeded" and recorded:
            continue
        try:
            reader = reader or Cluster(namespace or SINGLE_USER)
            _explain(run, reader)
        except (QureError, ValueError, KeyError) as error:
            run["unexplained"] = str(error)
            if reader is None:
                return


def _explain(run: dict[str, Any], reader: Reader) -> None:
    found = ending(reader.workflow(run["workflow"]))
    run["state"] = found.state.lower()
    run["tasks"] = [
        {
            "name": task.name,
            "state": task.state.lower(),
            "started": task.started,
            "finished": task.finished,
            "seconds": task.seconds,
            "cached": task.state == SUCCEEDED and not task.attempts,
            "attempts": task.attempts,
            "message": task.message,
            "pod": task.pod,
            "error": _error(task.pod, reader) if task in found.broken else "",
        }
        for task in found.tasks
    ]


def _error(pod: str, reader: Reader) -> str:
    try:
        return error_line(reader.log(pod)) if pod else ""
    except QureError as error:
        logger.info("%s", error)
        return ""

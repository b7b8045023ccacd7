"""Adds to what the API knows of runs what their Workflows know: why a run ended, which pod to look at, where its MLflow
run and report are.

For whoever has a kubeconfig of the cluster, as long as the Workflow is there (a day, as Kubeflow is shipped).
"""

import logging
from collections.abc import Mapping
from typing import Any

from infra.argo.cluster import Cluster, error_line
from infra.argo.report import Reader, link_to_run, links_to_mlflow
from infra.argo.workflow import SUCCEEDED, Ending, ending
from qure.errors import QureError

logger = logging.getLogger(__name__)

#: The namespace of an installation for one user.
SINGLE_USER = "kubeflow"


def explain(
    runs: list[dict[str, Any]], namespace: str | None, pages: Mapping[str, str], reader: Reader | None = None
) -> None:
    """Gives rows of `PipelinesService.status` their end's state, their tasks' states, messages and pods, and `links`.

    Where the cluster or a Workflow cannot be read, the row stays, and `unexplained` in it says why.

    Args:
        runs: rows with tasks. Of those that are under way the Workflow is left alone; of those that have succeeded with
            every task written down it is read only for what they have logged of MLflow.
        namespace: the configured one; Kubeflow's own when None.
        pages: addresses for people: "kubeflow" and "mlflow"; either may be missing.
        reader: of the cluster; a kubeconfig's when left out.
    """
    for run in runs:
        run["links"] = link_to_run(run["id"], pages)
    for run in runs:
        clear = run["state"] == "succeeded" and all(task["state"] != "not recorded" for task in run.get("tasks", []))
        if not run.get("workflow") or run["state"] not in ("failed", "stopped", "succeeded"):
            continue
        if clear and not pages.get("mlflow"):
            continue
        try:
            reader = reader or Cluster(namespace or SINGLE_USER)
            found = ending(reader.workflow(run["workflow"]))
            run["links"] |= links_to_mlflow(found, reader, pages)
            if not clear:
                _explain(run, found, reader)
        except (QureError, ValueError, KeyError) as error:
            if clear:
                logger.info("%s", error)
            else:
                run["unexplained"] = str(error)
            if reader is None:
                return


def _explain(run: dict[str, Any], found: Ending, reader: Reader) -> None:
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

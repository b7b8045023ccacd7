"""What is told of a run's end: its tasks, the line of the log that says why, where to look."""

import logging
import os
import re
from collections.abc import Iterable, Mapping
from typing import Any, Protocol

from infra.argo.cluster import Cluster, error_line
from infra.argo.workflow import SUCCEEDED, Ending, Task, ending
from qure.errors import QureError
from qure.notification import BrokenTask, Outcome

logger = logging.getLogger(__name__)

#: Variables of a task's pod (pipelines.placement): its Workflow, its namespace, its run.
WORKFLOW_VARIABLE, NAMESPACE_VARIABLE = "QURE_WORKFLOW", "QURE_NAMESPACE"
RUN_VARIABLE = "QURE_PIPELINE_RUN"

#: What `qure.tracking.stage_run` logs.
_MLFLOW = re.compile(
    r"MLflow: (?P<stage>[\w.-]+) is run (?P<run>\w+) in run (?P<parent>\w+) of experiment (?P<experiment>\w+)"
)
#: What Kubeflow's words for a run's end mean; RUNNING means nothing.
_STATES = {"COMPLETE": "SUCCEEDED", "SUCCEEDED": "SUCCEEDED", "FAILED": "FAILED"}
#: How many tasks' logs are looked through for the MLflow run.
_MOST_LOGS = 6


class Reader(Protocol):
    """What is asked of the cluster."""

    def workflow(self, name: str) -> dict[str, Any]: ...

    def log(self, pod: str) -> list[str]: ...


def outcome(
    pipeline: str,
    training_set: str,
    status: str,
    message: str,
    pages: Mapping[str, str],
    reader: Reader | None = None,
) -> Outcome:
    """How the run of this task ended.

    Args:
        pipeline, training_set: what ran.
        status: Kubeflow's word (COMPLETE, FAILED, RUNNING), used where the Workflow cannot be read.
        message: Kubeflow's, for the same.
        pages: addresses for people: "kubeflow" and "mlflow"; either may be missing.
        reader: of the cluster; this pod's own when left out.
    """
    links = link_to_run(os.environ.get(RUN_VARIABLE, ""), pages)
    name, namespace = os.environ.get(WORKFLOW_VARIABLE, ""), os.environ.get(NAMESPACE_VARIABLE, "")
    told = _STATES.get(status, "UNKNOWN")
    if not name:  # not in a cluster
        return Outcome(pipeline, training_set, told, message, links=links)
    try:
        reader = reader or Cluster(namespace)
        found = ending(reader.workflow(name))
    except (QureError, ValueError, KeyError) as error:
        logger.warning("how the run ended is not known: %s", error)
        return Outcome(pipeline, training_set, told, f"Kubeflow says {status}; {error}", links=links)
    links |= links_to_mlflow(found, reader, pages)
    broken = tuple(BrokenTask(one.name, one.state, one.message, one.pod, _reason(one, reader)) for one in found.broken)
    first = broken[0] if broken and found.state != SUCCEEDED else None
    message = f"{first.task}: {first.error or first.message}" if first else ""
    return Outcome(pipeline, training_set, found.state, message, broken, found.seconds, links)


def _reason(task: Task, reader: Reader) -> str:
    try:
        return error_line(reader.log(task.pod)) if task.pod else ""
    except QureError as error:
        logger.info("%s", error)
        return ""


def link_to_run(run: str, pages: Mapping[str, str]) -> dict[str, str]:
    """The run's page in Kubeflow, as "run"; nothing where its address is not known."""
    return {"run": f"{pages['kubeflow'].rstrip('/')}/#/runs/details/{run}"} if run and pages.get("kubeflow") else {}


def links_to_mlflow(found: Ending, reader: Reader, pages: Mapping[str, str]) -> dict[str, str]:
    """The MLflow run, and the report that is kept with it, out of what the latest tasks have logged."""
    links: dict[str, str] = {}
    if not pages.get("mlflow"):
        return links
    address = pages["mlflow"].rstrip("/")
    for task in _latest(found.tasks):
        try:
            lines = reader.log(task.pod)
        except QureError as error:
            logger.info("%s", error)
            continue
        for line in lines:
            told = _MLFLOW.search(line)
            if told is None:
                continue
            runs = f"{address}/#/experiments/{told['experiment']}/runs"
            links.setdefault("mlflow", f"{runs}/{told['parent']}")
            if told["stage"] == "evaluate":
                links.setdefault("report", f"{runs}/{told['run']}/artifacts")
        if "report" in links:
            break
    return links


def _latest(tasks: Iterable[Task]) -> list[Task]:
    with_pods = [task for task in tasks if task.pod and not task.is_handler and not task.name.endswith("-driver")]
    return with_pods[::-1][:_MOST_LOGS]

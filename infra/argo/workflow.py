"""How a pipeline run ended, out of its Workflow object.

Kubeflow's final status says RUNNING of a run that was stopped, that ran out of time or memory, or whose loop came from
the cache, and names no task. The nodes of the Workflow know. Kubeflow Pipelines 2.17 lays several of them around each
task: a driver, levels (DAG), and one for attempts (Retry) around each of these.
"""

import base64
import gzip
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

SUCCEEDED, FAILED, STOPPED = "SUCCEEDED", "FAILED", "STOPPED"
TIMED_OUT, OUT_OF_MEMORY, RUNNING = "TIMED OUT", "OUT OF MEMORY", "RUNNING"

#: Templates of a task's level and of its own pod; "retry-" before them where the task has attempts of its own.
_TASK, _POD, _DRIVER = "system-container-executor", "system-container-impl", "-driver"
_ATTEMPT = re.compile(r"\(\d+\)$")
_ON_EXIT = ".onExit"
_BROKEN = ("Failed", "Error")
_DEADLINE = re.compile(r"longer than the specified deadline|exceeded its deadline|Max duration limit exceeded")


@dataclass(frozen=True)
class Task:
    """A task of the pipeline, or a driver that failed before its task could begin.

    Attributes:
        name: as in the pipeline, for example "train-qure".
        state: SUCCEEDED, FAILED, TIMED OUT, OUT OF MEMORY, RUNNING or SKIPPED.
        message: Kubernetes' or Argo's words for its end.
        pod: name of its last pod; empty when it had none, as when the cache answered.
        attempts: how many pods it had.
        seconds: from its start to its end; None when it is not over.
        is_handler: whether it belongs to the exit handler.
        started, finished: in ISO 8601; None where it has not.
    """

    name: str
    state: str
    message: str = ""
    pod: str = ""
    attempts: int = 0
    seconds: int | None = None
    is_handler: bool = False
    started: str | None = None
    finished: str | None = None


@dataclass(frozen=True)
class Ending:
    """How a run ended, or that it has not.

    Attributes:
        state: SUCCEEDED, FAILED, STOPPED, TIMED OUT, OUT OF MEMORY or RUNNING.
        tasks: in the order of their starts.
        seconds: from the run's start to its end, or to now.
    """

    state: str
    tasks: tuple[Task, ...]
    seconds: int

    @property
    def broken(self) -> tuple[Task, ...]:
        """The tasks that did not do what they were for, without the exit handler's."""
        return tuple(task for task in self.tasks if task.state in (FAILED, TIMED_OUT, OUT_OF_MEMORY))


def ending(workflow: dict[str, Any], now: datetime | None = None) -> Ending:
    """Reads a Workflow, also while its exit handler is at work.

    Args:
        workflow: the object, with `status.nodes` or `status.compressedNodes`.
        now: for a run that is not over; the present when left out.

    Raises:
        ValueError: the nodes are kept in a database of Argo's, or are not there.
    """
    found = nodes(workflow)
    spec, status = workflow.get("spec") or {}, workflow.get("status") or {}
    tasks = tuple(_tasks(workflow, found))
    begun = _time(status.get("startedAt")) or _time(workflow["metadata"].get("creationTimestamp"))
    end = _time(status.get("finishedAt")) or now or datetime.now(UTC)
    seconds = round((end - begun).total_seconds()) if begun else 0
    return Ending(_state(spec, status, found, tasks, seconds), tasks, seconds)


def nodes(workflow: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The nodes by their ids; Argo compresses them once they pass a mebibyte.

    Raises:
        ValueError: they are kept in a database of Argo's, or are not there.
    """
    status = workflow.get("status") or {}
    if packed := status.get("compressedNodes"):
        return dict(json.loads(gzip.decompress(base64.b64decode(packed))))
    if status.get("nodes"):
        return dict(status["nodes"])
    if status.get("offloadNodeStatusVersion"):
        raise ValueError("Argo keeps this Workflow's nodes in its database (nodeStatusOffLoad)")
    raise ValueError("the Workflow has no nodes yet")


def _state(
    spec: dict[str, Any], status: dict[str, Any], found: dict[str, Any], tasks: tuple[Task, ...], seconds: int
) -> str:
    # Kubeflow stops a run by setting its deadline to nothing; `argo stop` and `argo terminate` have a field.
    if spec.get("activeDeadlineSeconds") == 0 or spec.get("shutdown"):
        return STOPPED
    states = {task.state for task in tasks if not task.is_handler}
    deadline = spec.get("activeDeadlineSeconds")
    if deadline and seconds >= deadline and states & {FAILED, TIMED_OUT, RUNNING}:
        return TIMED_OUT
    for state in (OUT_OF_MEMORY, TIMED_OUT, FAILED):
        if state in states:
            return state
    if status.get("phase") in _BROKEN:
        return FAILED
    inner = [node for node in found.values() if node.get("displayName", "").startswith("exit-handler-")]
    body = [node for node in inner if _ON_EXIT not in node["name"] and not node["displayName"].endswith(_DRIVER)]
    phases = {node["phase"] for node in body if not _ATTEMPT.search(node["displayName"])}
    if phases & set(_BROKEN):
        return FAILED
    if status.get("phase") == "Succeeded" or phases == {"Succeeded"}:
        return SUCCEEDED
    return RUNNING


def _tasks(workflow: dict[str, Any], found: dict[str, Any]) -> list[Task]:
    """One for each task. Its level and the level's attempts have one name but for the attempt's number."""
    heads: dict[str, dict[str, Any]] = {}
    for node in found.values():
        if not (node.get("templateName") or "").endswith((_TASK, _DRIVER)):
            continue
        key = _ATTEMPT.sub("", node["name"])
        # The node around the attempts has the outcome; without one the only attempt has it.
        if key not in heads or node["type"] == "Retry":
            heads[key] = node
    told = []
    for key, head in heads.items():
        if head.get("templateName", "").endswith(_DRIVER) and head["phase"] not in _BROKEN:
            continue  # a driver is told of where it has failed, and no other attempt has mended it
        told.append((head.get("startedAt") or "", key, _task(workflow, found, key, head)))
    return [task for _, _, task in sorted(told, key=lambda one: one[:2])]


def _task(workflow: dict[str, Any], found: dict[str, Any], key: str, head: dict[str, Any]) -> Task:
    pods = sorted(
        (
            node
            for node in found.values()
            if node["type"] == "Pod"
            and (node["name"].startswith(f"{key}(") or node["name"].startswith(f"{key}.") or node["name"] == key)
        ),
        key=lambda node: (node.get("startedAt") or "", node["name"]),
    )
    last = pods[-1] if pods else {}
    message = last.get("message") or head.get("message") or ""
    start, end = _time(head.get("startedAt")), _time(head.get("finishedAt"))
    return Task(
        name=_ATTEMPT.sub("", head["displayName"]),
        state=_task_state(head["phase"], message),
        message=message,
        pod=_pod_name(workflow, last) if last else "",
        attempts=len(pods),
        seconds=round((end - start).total_seconds()) if start and end else None,
        is_handler=_ON_EXIT in key,
        started=head.get("startedAt"),
        finished=head.get("finishedAt"),
    )


def _task_state(phase: str, message: str) -> str:
    if phase in _BROKEN:
        if "OOMKilled" in message:
            return OUT_OF_MEMORY
        return TIMED_OUT if _DEADLINE.search(message) else FAILED
    return {"Succeeded": SUCCEEDED, "Skipped": "SKIPPED", "Omitted": "SKIPPED"}.get(phase, RUNNING)


def _pod_name(workflow: dict[str, Any], node: dict[str, Any]) -> str:
    """Argo's name of a node's pod: v1 is the node's id; v2 has the template in it."""
    metadata = workflow["metadata"]
    if (metadata.get("annotations") or {}).get("workflows.argoproj.io/pod-name-format", "v2") == "v1":
        return str(node["id"])
    return f"{metadata['name']}-{node['templateName']}"[:242] + f"-{node['id'].rsplit('-', 1)[-1]}"


def _time(text: str | None) -> datetime | None:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC) if text else None

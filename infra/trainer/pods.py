"""Reads pods and events of a train job: who runs, how it ended, and why it does not start.

Trainer 2.2 shows no condition while pods cannot start; only the pods, and the events where no pod is made, say why.
What is hopeless is told by the reasons and messages that kubelet, scheduler and admission give.
"""

import re
from collections.abc import Mapping
from typing import Any

from infra.trainer.api import End, Problem, Worker
from infra.trainer.job import NODE

#: The names of images and of the things that a pod refers to do not come to be by waiting; a loaded registry recovers.
_GONE = re.compile(
    r"not found|manifest unknown|unauthorized|authentication required|access denied|access forbidden|"
    r"may require|no match for platform|does not exist|couldn't find key",
    re.IGNORECASE,
)
_HOPELESS_REASONS = {"InvalidImageName", "ErrImageNeverPull", "CreateContainerConfigError"}
_IMAGE_REASONS = {"ErrImagePull", "ImagePullBackOff", "ImageInspectError", "RegistryUnavailable"}
#: Said while everything is in order, or after an end that is told as such.
_QUIET_REASONS = {"ContainerCreating", "PodInitializing", "CrashLoopBackOff"}
_TELLING_EVENTS = {
    "FailedMount",
    "FailedAttachVolume",
    "FailedCreatePodSandBox",  # no network, or no runtime class, on the node
    "JobCreationFailed",
    "TrainJobResourcesCreationFailed",
}
_QUOTA = re.compile(r"exceeded quota: (?P<quota>[^,]+), requested: (?P<asked>\S+), used: \S+, limited: (?P<limit>\S+)")
_MISSING_CLAIM = re.compile(r'persistentvolumeclaim "[^"]*" (not found|is being deleted)')


def worker_of(pod: Mapping[str, Any]) -> Worker:
    """A worker, out of a pod as the Kubernetes API gives it (a mapping, not the client's object)."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    container: Mapping[str, Any] = next(
        (one for one in status.get("containerStatuses") or [] if one.get("name") == NODE), {}
    )
    state = container.get("state") or {}
    start = int(container.get("restartCount") or 0)
    ends = []
    for number, one in ((start - 1, container.get("lastState") or {}), (start, state)):
        if (terminated := one.get("terminated")) is not None:
            ends.append(_end(name, max(number, 0), terminated))
    if "waiting" in state and ends:  # in its pause before the next start: the last one's log is the present one
        ends = [End(name, start, one.status, one.reason, one.at) for one in ends]
    return Worker(
        name,
        start,
        began=bool("running" in state or ends),
        running="running" in state,
        ends=tuple(ends),
        problem=pod_problem(pod),
    )


def pod_problem(pod: Mapping[str, Any]) -> Problem | None:
    """Why a pod does not start; None when it does, or nobody has said yet."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    for container in [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]:
        waiting = (container.get("state") or {}).get("waiting")
        if waiting and waiting.get("reason") and waiting["reason"] not in _QUIET_REASONS:
            reason, message = waiting["reason"], _line(waiting.get("message"))
            hopeless = reason in _HOPELESS_REASONS or (reason in _IMAGE_REASONS and bool(_GONE.search(message)))
            return Problem(f"{name}: {reason}: {message}".rstrip(": "), hopeless)
    for condition in status.get("conditions") or []:
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = _line(condition.get("message"))
            return Problem(f"{name}: {condition.get('reason')}: {message}", bool(_MISSING_CLAIM.search(message)))
    if status.get("phase") == "Failed" and status.get("reason"):  # evicted, or its node is gone
        return Problem(f"{name}: {status['reason']}: {_line(status.get('message'))}".rstrip(": "))
    return None


def event_problem(event: Mapping[str, Any], *, pods_missing: bool) -> Problem | None:
    """A problem, out of a Warning about the job's objects; None for one that says nothing about starting.

    Args:
        event: as the Kubernetes API gives it.
        pods_missing: whether the job has fewer pods than nodes; if not, what once kept one from being made is over.
    """
    reason, message = event.get("reason") or "", _line(event.get("message"))
    if reason == "FailedCreate" and pods_missing:
        return Problem(f"no pod can be made: {message}", hopeless=_refused_for_good(message))
    if reason in _TELLING_EVENTS:
        return Problem(f"{reason}: {message}", hopeless=bool(_MISSING_CLAIM.search(message)))
    return None


def event_time(event: Mapping[str, Any]) -> str:
    """When an event was seen last, to the second, as 2026-11-27T08:31:59."""
    series = (event.get("series") or {}).get("lastObservedTime")
    return str(series or event.get("lastTimestamp") or event.get("eventTime") or "9")[:19]


def _end(pod: str, start: int, terminated: Mapping[str, Any]) -> End:
    return End(
        pod,
        start,
        int(terminated.get("exitCode") or 0),
        terminated.get("reason") or "",
        terminated.get("finishedAt") or "",
    )


def _refused_for_good(message: str) -> bool:
    """A quota that others use up becomes free; one that is smaller than what is asked for does not."""
    quota = _QUOTA.search(message)
    if quota is None:
        return bool(re.search(r"forbidden|not found|is invalid|must specify|denied", message))
    from kubernetes.utils.quantity import parse_quantity

    limits = dict(one.split("=", 1) for one in quota["limit"].rstrip(",").split(","))
    asked = dict(one.split("=", 1) for one in quota["asked"].rstrip(",").split(","))
    return any(parse_quantity(value) > parse_quantity(limits[name]) for name, value in asked.items() if name in limits)


def _line(text: str | None) -> str:
    return " ".join((text or "").split())

"""Pods and events, in the words that Kubernetes gives them."""

from typing import Any

import pytest

from infra.trainer.api import End
from infra.trainer.pods import event_problem, worker_of


def pod(
    state: dict[str, Any] | None = None, *, restarts: int = 0, last: dict[str, Any] | None = None, **status: Any
) -> dict[str, Any]:
    container = {"name": "node", "restartCount": restarts, "state": state or {}, "lastState": last or {}}
    return {"metadata": {"name": "p"}, "status": {"containerStatuses": [container]} | status}


def ended(code: int, reason: str = "Error", at: str = "2026-11-27T08:40:00Z") -> dict[str, Any]:
    return {"terminated": {"exitCode": code, "reason": reason, "finishedAt": at}}


def test_a_pod_that_nobody_has_looked_at_yet_has_neither_log_nor_problem() -> None:
    worker = worker_of({"metadata": {"name": "p"}, "status": {"phase": "Pending"}})
    assert (worker.began, worker.running, worker.problem) == (False, False, None)


def test_a_running_container_after_a_restart_tells_how_the_one_before_ended() -> None:
    worker = worker_of(pod({"running": {}}, restarts=2, last=ended(137, "OOMKilled")))
    assert (worker.start, worker.began, worker.running) == (2, True, True)
    assert worker.ends == (End("p", 1, 137, "OOMKilled", "2026-11-27T08:40:00Z"),)


def test_an_ended_container_is_an_end_of_this_start() -> None:
    worker = worker_of(pod(ended(2), restarts=1, last=ended(1)))
    assert [(end.start, end.status) for end in worker.ends] == [(0, 1), (1, 2)]
    assert not worker.running


def test_in_the_pause_before_a_restart_the_present_log_is_the_last_ones() -> None:
    worker = worker_of(
        pod({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off"}}, restarts=1, last=ended(1))
    )
    assert (worker.start, worker.began, worker.running, worker.problem) == (1, True, False, None)
    assert [(end.start, end.status) for end in worker.ends] == [(1, 1)]


PULL = 'failed to pull and unpack image "x": failed to resolve reference "x": x: '


@pytest.mark.parametrize(
    ("reason", "message", "hopeless"),
    [
        ("ErrImagePull", PULL + "not found", True),
        ("ImagePullBackOff", f'Back-off pulling image "x": ErrImagePull: {PULL}not found', True),
        ("ErrImagePull", PULL + "pull access denied, repository does not exist or may require authorization", True),
        ("ErrImagePull", PULL + "unexpected status from HEAD request: 503 Service Unavailable", False),
        ("ImagePullBackOff", 'Back-off pulling image "x"', False),
        ("InvalidImageName", 'Failed to apply default image tag "X"', True),
        ("CreateContainerConfigError", "couldn't find key uri in Secret kubeflow/qure-tracking", True),
        ("CreateContainerConfigError", 'secret "qure-tracking" not found', True),
        ("RunContainerError", "context deadline exceeded", False),
    ],
)
def test_why_a_container_waits(reason: str, message: str, hopeless: bool) -> None:
    problem = worker_of(pod({"waiting": {"reason": reason, "message": message}})).problem
    assert problem is not None
    assert problem.text == f"p: {reason}: {message}"
    assert problem.hopeless == hopeless


@pytest.mark.parametrize("reason", ["ContainerCreating", "PodInitializing"])
def test_a_start_that_takes_its_time_is_no_problem(reason: str) -> None:
    assert worker_of(pod({"waiting": {"reason": reason}})).problem is None


@pytest.mark.parametrize(
    ("message", "hopeless"),
    [
        ("0/1 nodes are available: 1 Insufficient nvidia.com/gpu.", False),
        ('persistentvolumeclaim "qure-workspace" not found', True),
        ("pod has unbound immediate PersistentVolumeClaims", False),
    ],
)
def test_why_a_pod_has_no_node(message: str, hopeless: bool) -> None:
    conditions = [
        {"type": "Ready", "status": "False"},
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message},
    ]
    problem = worker_of({"metadata": {"name": "p"}, "status": {"conditions": conditions}}).problem
    assert problem is not None
    assert problem.text == f"p: Unschedulable: {message}"
    assert problem.hopeless == hopeless


def test_an_evicted_pod_says_so() -> None:
    problem = worker_of({"metadata": {"name": "p"}, "status": {"phase": "Failed", "reason": "Evicted"}}).problem
    assert problem is not None
    assert problem.text == "p: Evicted"


QUOTA = 'pods "p" is forbidden: exceeded quota: q, requested: requests.cpu=4,requests.memory=8Gi, used: {}, limited: {}'


@pytest.mark.parametrize(
    ("message", "hopeless"),
    [
        ('error looking up service account kubeflow/x: serviceaccount "x" not found', True),
        ('pods "p" is forbidden: violates PodSecurity "restricted:latest": allowPrivilegeEscalation != false', True),
        ('pods "p" is forbidden: failed quota: q: must specify limits.cpu for: node', True),
        (QUOTA.format("requests.cpu=6,requests.memory=0", "requests.cpu=8,requests.memory=16Gi"), False),
        (QUOTA.format("requests.cpu=0,requests.memory=0", "requests.cpu=3900m,requests.memory=16Gi"), True),
        ("Internal error occurred: failed calling webhook: connection refused", False),
    ],
)
def test_why_no_pod_is_made(message: str, hopeless: bool) -> None:
    event = {"reason": "FailedCreate", "message": f"Error creating: {message}"}
    problem = event_problem(event, pods_missing=True)
    assert problem is not None
    assert problem.hopeless == hopeless
    assert event_problem(event, pods_missing=False) is None


@pytest.mark.parametrize("reason", ["FailedMount", "FailedCreatePodSandBox", "JobCreationFailed"])
def test_what_events_alone_say_is_told(reason: str) -> None:
    problem = event_problem({"reason": reason, "message": "it cannot\n be made"}, pods_missing=False)
    assert problem is not None
    assert (problem.text, problem.hopeless) == (f"{reason}: it cannot be made", False)

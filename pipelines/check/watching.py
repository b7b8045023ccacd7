"""Follows a run of the check: findings out of its tasks' logs, and out of what keeps its pods from starting."""

import json
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from infra.probing.findings import Finding, heard
from infra.trainer.pods import pod_problem
from pipelines.check.pipeline import accelerated_tasks
from pipelines.config import PipelineConfig

logger = logging.getLogger(__name__)

SECONDS = 290.0
ENDED = {"succeeded", "failed", "stopped", "skipped", "canceled"}

#: Task -> the subject whose finding it makes, where a pod that does not start is the finding.
SUBJECTS = {
    "probe-surroundings": "rights",
    "probe-mounted": "workspace",
    "probe-accelerator": "GPU",
    "probe-attempts": "retries",
    "probe-end": "exit handler",
}
REMEDIES = {
    "workspace": "Make the claim (`qure-pipelines install`), or one that several pods can mount",
    "GPU": "Check the accelerator's type, tolerations and node selector of train_qure, and the image",
    "retries": "The administrator's setting of Kubeflow's workflow controller (docs/runbook.md, Retries)",
    "exit handler": "Look at the run's page: without it nobody hears how a run ended",
}
#: What is asked last -> the ends of a run at which it has been asked.
_LAST = {"retries": {"succeeded"}, "exit handler": {"succeeded", "failed"}}


@dataclass
class RunPods:
    """Pods of one run, read with the person's own kubeconfig."""

    namespace: str
    run: str
    problems: dict[str, str] = field(default_factory=dict)
    findings: dict[str, Finding] = field(default_factory=dict)
    seen: set[str] = field(default_factory=set)
    #: Subjects whose task has had a pod that ended.
    ended: set[str] = field(default_factory=set)
    #: Why the pods have never been seen.
    unseen: str = "they have not been looked at"

    def look(self) -> None:
        """Reads the logs of pods that have ended, and why others do not start."""
        from kubernetes import client
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        core = client.CoreV1Api()
        selector = f"pipeline/runid={self.run}"
        try:
            answer = core.list_namespaced_pod(self.namespace, label_selector=selector, _preload_content=False)
        except (ApiException, HTTPError) as error:
            said = " ".join(str(error).split())
            logger.warning("the run's pods cannot be seen: %s", said)
            self.unseen = self.unseen and said[:300]
            return
        self.problems, self.unseen = {}, ""
        for pod in json.loads(answer.data)["items"]:
            name = pod["metadata"]["name"]
            subject = subject_of(pod)
            problem = pod_problem(pod)
            if subject is not None and problem is not None:
                self.problems[subject] = problem.text
            if (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"} and name not in self.seen:
                if subject is not None:
                    self.ended.add(subject)
                try:
                    log = core.read_namespaced_pod_log(name, self.namespace, container="main", _preload_content=False)
                except (ApiException, HTTPError) as error:
                    status = getattr(error, "status", None)
                    if status in (401, 403):
                        self.unseen = " ".join(str(error).split())[:300]
                    if status in (400, 404):  # a container that never began has no log
                        self.seen.add(name)
                    continue
                self.seen.add(name)
                for finding in heard(log.data.decode(errors="replace").splitlines()):
                    self.findings[finding.subject] = finding


def subject_of(pod: dict[str, Any]) -> str | None:
    """Which probe a pod belongs to; drivers belong to none."""
    node = (pod["metadata"].get("annotations") or {}).get("workflows.argoproj.io/node-name", "")
    return next((subject for task, subject in SUBJECTS.items() if f".{task}(" in node and ".executor(" in node), None)


def expected(config: PipelineConfig) -> list[str]:
    """The subjects of a configuration, in the order of the table."""
    return [
        "rights",
        *(["claim", "workspace"] if config.workspace is not None else []),
        *(f"secret {secret.name}" for secret in config.secrets),
        "MLflow",
        "S3",
        "notification",
        *(["GPU"] if accelerated_tasks(config) else []),
        *(["TrainJob"] if config.distributed is not None else []),
        "retries",
        "exit handler",
    ]


def watch(
    state: Callable[[], str], pods: RunPods | None, *, seconds: float = SECONDS, poll_seconds: float = 3.0
) -> str:
    """Waits for the run's end, at most `seconds`; returns the last state."""
    end = time.monotonic() + seconds
    while True:
        last = state().lower()
        if pods is not None:
            pods.look()
        if last in ENDED or time.monotonic() > end:
            return last
        time.sleep(poll_seconds)


def table(subjects: Iterable[str], state: str, pods: RunPods | None, *, account: str) -> list[Finding]:
    """A finding for every subject: what its task has said, else why that did not start, else that nothing was heard."""
    if pods is None:
        text = f"the run {state}; what it found stands in its tasks' logs, in lines that begin with QURE-CHECK"
        return [Finding("run", "failed", text, "Call again with a kubeconfig (KUBECONFIG), or read them on its page")]
    if pods.unseen:
        text = f"the run {state}; its pods in {pods.namespace} cannot be seen: {pods.unseen}"
        return [Finding("run", "failed", text, "Use a kubeconfig that may list pods and read their logs there")]
    if state == "failed" and not pods.findings and not pods.problems and not pods.ended:
        text = f"the run failed before its first task: service account {account} has no rights in {pods.namespace}"
        return [Finding("rights", "failed", text, f"qure-pipelines install --namespace {pods.namespace} --apply")]
    found: list[Finding] = []
    for subject in subjects:
        finding = pods.findings.get(subject)
        if finding is None and subject in pods.problems:
            finding = Finding(subject, "failed", pods.problems[subject], REMEDIES.get(subject, ""))
        if finding is None and subject == "retries" and subject in pods.ended:
            finding = Finding(subject, "failed", "a command that fails is not tried again", REMEDIES[subject])
        if finding is None and subject in _LAST and state not in _LAST[subject]:
            before = [one.subject for one in found if one.state == "failed"]
            if before:  # the one of them that waits, or has ended the run, came first
                finding = Finding(subject, "skipped", f"not reached: mend first {', '.join(before)}")
        if finding is None:
            remedy = REMEDIES.get(subject, "Mend what failed above, and check again")
            finding = Finding(subject, "failed", "nothing was heard of it", remedy)
        found.append(finding)
    return found

"""Train jobs of a real cluster, through the official Kubernetes client."""

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from infra.trainer.api import ApiUnavailable, JobExists, JobInTheWay, Problem, Worker
from infra.trainer.job import API_GROUP, API_VERSION, MANIFEST_ANNOTATION, NODE, RUN_LABEL
from infra.trainer.pods import event_problem, event_time, worker_of
from qure.errors import BadInput

logger = logging.getLogger(__name__)

PLURAL = "trainjobs"
#: Kubeflow Pipelines puts the run's id on its Workflow, as on all its pods.
WORKFLOW_RUN_LABEL = "pipeline/runid"
_WORKFLOWS = ("argoproj.io", "v1alpha1")
_ENDED = {"Succeeded", "Failed", "Error"}
_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class NotThere(ApiUnavailable):
    """404: the object, or its kind, is not there."""


class Conflict(ApiUnavailable):
    """409: the name is taken."""


class ClusterTrainJobs:
    """TrainJobs of one namespace, with the credentials of the pod that this runs in (or of a kubeconfig).

    Args:
        namespace: whose jobs; the pod's own (or the kubeconfig's) when left out.

    Raises:
        BadInput: there are no credentials.
    """

    def __init__(self, namespace: str | None = None) -> None:
        from kubernetes import client, config

        try:
            config.load_incluster_config()
            own = _NAMESPACE_FILE.read_text(encoding="utf-8").strip() if _NAMESPACE_FILE.exists() else "default"
        except config.ConfigException:
            try:
                config.load_kube_config()
            except config.ConfigException as error:
                raise BadInput(
                    f"no credentials for the cluster: {error}",
                    field="distributed",
                    remedy="Let the account's token be mounted (automountServiceAccountToken), or set KUBECONFIG",
                ) from None
            own = config.list_kube_config_contexts()[1]["context"].get("namespace", "default")
        self.namespace = namespace or own
        self._own = own
        self._created: dict[str, str] = {}
        self._objects = client.CustomObjectsApi()
        self._core = client.CoreV1Api()

    def owner(self, run: str) -> dict[str, Any] | None:
        if self.namespace != self._own:
            logger.warning(
                "the train job runs in namespace %s, its run in %s: Kubernetes cannot remove one with the other",
                self.namespace,
                self._own,
            )
            return None
        living = [one for one in self._workflows(run) or [] if not one["metadata"].get("deletionTimestamp")]
        if not living:
            logger.warning("the Workflow of run %s is not there: nothing owns the train job", run)
            return None
        group, version = _WORKFLOWS
        metadata = living[0]["metadata"]
        # Neither controller nor blocking: the latter asks for a right of its own on some clusters.
        return {
            "apiVersion": f"{group}/{version}",
            "kind": "Workflow",
            "name": metadata["name"],
            "uid": metadata["uid"],
        }

    def create(self, job: dict[str, Any]) -> None:
        try:
            with _api_errors():
                self._objects.create_namespaced_custom_object(API_GROUP, API_VERSION, self.namespace, PLURAL, job)
        except Conflict:
            raise self._who_is_there(job) from None
        except NotThere as error:
            if "namespaces" in str(error):
                raise BadInput(f"the train job was refused: {error}", field="distributed.namespace") from None
            raise BadInput(
                "the cluster knows no TrainJob",
                field="distributed",
                remedy="Install Kubeflow Trainer 2.2 or later, or set `distributed: null` to train in the task",
            ) from None

    def conditions(self, name: str) -> dict[str, str] | None:
        job = self._job(name)
        if job is None:
            return None
        stated = (job.get("status") or {}).get("conditions") or []
        return {
            condition["type"]: condition.get("message") or condition.get("reason") or ""
            for condition in stated
            if condition.get("status") == "True"
        }

    def delete(self, name: str) -> None:
        """In the background: in the foreground the JobSet goes first, and Trainer makes it anew, pods and all."""
        with suppress(NotThere), _api_errors():
            self._objects.delete_namespaced_custom_object(
                API_GROUP, API_VERSION, self.namespace, PLURAL, name, propagation_policy="Background"
            )

    def of_run(self, run: str) -> list[str]:
        """Names of a run's jobs; none where Trainer is not installed."""
        found: dict[str, Any] = {}
        with suppress(NotThere), _api_errors():
            found = self._objects.list_namespaced_custom_object(
                API_GROUP, API_VERSION, self.namespace, PLURAL, label_selector=f"{RUN_LABEL}={run}"
            )
        return [job["metadata"]["name"] for job in found.get("items", [])]

    def pods(self, name: str) -> list[Worker]:
        selector = f"jobset.sigs.k8s.io/jobset-name={name},jobset.sigs.k8s.io/replicatedjob-name={NODE}"
        with _api_errors():
            answer = self._core.list_namespaced_pod(self.namespace, label_selector=selector, _preload_content=False)
            return [worker_of(pod) for pod in json.loads(answer.data)["items"]]

    def problems(self, name: str, *, pods_missing: bool) -> list[Problem]:
        """From the Warnings about the TrainJob, its JobSet (of the same name), its Job and its pods.

        Events outlive what they tell of: those of an older job of this name do not count.
        """
        try:
            with _api_errors():
                answer = self._core.list_namespaced_event(
                    self.namespace, field_selector="type=Warning", limit=500, _preload_content=False
                )
                events = json.loads(answer.data)["items"]
        except BadInput as error:  # a Role of before; training does not depend on it
            return [Problem(f"the reason cannot be told: {error}")]
        return [
            problem
            for event in events
            if _concerns(event, name)
            and event_time(event) >= self._created.get(name, "")
            and (problem := event_problem(event, pods_missing=pods_missing)) is not None
        ]

    def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
        try:
            with _api_errors():
                stream = self._core.read_namespaced_pod_log(
                    pod, self.namespace, container=NODE, follow=not previous, previous=previous, _preload_content=False
                )
                yield from _lines(stream.stream(amt=None))
        except NotThere:
            return

    def _job(self, name: str) -> dict[str, Any] | None:
        try:
            with _api_errors():
                job: dict[str, Any] = self._objects.get_namespaced_custom_object(
                    API_GROUP, API_VERSION, self.namespace, PLURAL, name
                )
        except NotThere:
            return None
        self._created[name] = (job["metadata"].get("creationTimestamp") or "")[:19]
        return job

    def _workflows(self, run: str) -> list[dict[str, Any]] | None:
        """The Workflows of a run; None when they cannot be read."""
        group, version = _WORKFLOWS
        try:
            with _api_errors():
                found: list[dict[str, Any]] = self._objects.list_namespaced_custom_object(
                    group, version, self._own, "workflows", label_selector=f"{WORKFLOW_RUN_LABEL}={run}"
                )["items"]
                return found
        except (NotThere, BadInput) as error:
            logger.warning("the Workflow of run %s cannot be read: %s", run, error)
            return None

    def _who_is_there(self, job: dict[str, Any]) -> Exception:
        there = self._job(job["metadata"]["name"])
        if there is None:
            return ApiUnavailable("the one that was there is gone now")
        metadata = there["metadata"]
        if metadata.get("deletionTimestamp"):
            return JobInTheWay("one of this name is being deleted")
        if _manifest(there) is not None and _manifest(there) == _manifest(job):
            return JobExists("it is there already")
        run, own = _run(there), _run(job)
        if run and run == own:
            return JobInTheWay("one of this run does something else", stale=True)
        if not run:
            name = metadata["name"]
            return BadInput(
                f"a train job {name} is there that belongs to no run",
                remedy=f"Look what it does, then: kubectl --namespace {self.namespace} delete trainjob {name}",
            )
        if self._has_ended(run):
            return JobInTheWay(f"one of run {run} is left, which has ended", stale=True)
        return JobInTheWay(f"run {run} trains the same at this moment", busy=True)

    def _has_ended(self, run: str) -> bool:
        """Only what is known to have ended has: a Workflow that cannot be read may be going on."""
        found = self._workflows(run)
        return found is not None and all((one.get("status") or {}).get("phase") in _ENDED for one in found)


def _concerns(event: dict[str, Any], name: str) -> bool:
    concerned = (event.get("involvedObject") or {}).get("name") or ""
    return concerned in (name, f"{name}-{NODE}-0") or concerned.startswith(f"{name}-{NODE}-0-")


def _manifest(job: dict[str, Any]) -> str | None:
    found: str | None = (job["metadata"].get("annotations") or {}).get(MANIFEST_ANNOTATION)
    return found


def _run(job: dict[str, Any]) -> str:
    found: str = (job["metadata"].get("labels") or {}).get(RUN_LABEL, "")
    return found


def _lines(chunks: Iterator[bytes]) -> Iterator[str]:
    """Whole lines of a stream whose pieces end anywhere, also inside a character."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode(errors="replace")
    if rest:
        yield rest.decode(errors="replace")


@contextmanager
def _api_errors() -> Iterator[None]:
    """Sorts errors: 404 and 409 are answers, other 4xx a refusal that stays one; the rest may pass by itself."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if error.status == 404:
            raise NotThere(_said(error)) from error
        if error.status == 409:
            raise Conflict(_said(error)) from error
        if error.status in (401, 408, 429) or not error.status or error.status >= 500:
            raise ApiUnavailable(f"{error.status} {error.reason}") from error
        remedy = None
        if "cannot" in _said(error) and "forbidden" in _said(error):
            remedy = "Give the task's service account the Role that `qure-pipelines install` renders"
        raise BadInput(f"the cluster refuses: {_said(error)}", field="distributed", remedy=remedy) from None
    except HTTPError as error:
        raise ApiUnavailable(str(error)) from error


def _said(error: Any) -> str:
    """The message of Kubernetes' Status object, in one line."""
    try:
        text = str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        text = str(error.body or error.reason or error.status)
    return " ".join(text.split())

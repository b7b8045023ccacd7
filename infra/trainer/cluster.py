"""Train jobs of a real cluster, through the official Kubernetes client."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from infra.trainer.job import API_GROUP, API_VERSION, NODE
from infra.trainer.run import ApiUnavailable, JobExists

PLURAL = "trainjobs"
STARTED = {"Running", "Succeeded", "Failed"}


class ClusterTrainJobs:
    """TrainJobs of one namespace, with the credentials of the pod that this runs in (or of a kubeconfig)."""

    def __init__(self, namespace: str) -> None:
        from kubernetes import client, config

        try:
            config.load_incluster_config()
        except config.ConfigException:
            config.load_kube_config()
        self._namespace = namespace
        self._objects = client.CustomObjectsApi()
        self._core = client.CoreV1Api()

    def create(self, job: dict[str, Any]) -> None:
        with _api_errors(conflict=JobExists):
            self._objects.create_namespaced_custom_object(API_GROUP, API_VERSION, self._namespace, PLURAL, job)

    def conditions(self, name: str) -> dict[str, str] | None:
        job: dict[str, Any] | None = None
        with _api_errors():
            job = self._objects.get_namespaced_custom_object(API_GROUP, API_VERSION, self._namespace, PLURAL, name)
        if job is None:
            return None
        stated = (job.get("status") or {}).get("conditions") or []
        return {
            condition["type"]: condition.get("message") or condition.get("reason") or ""
            for condition in stated
            if condition.get("status") == "True"
        }

    def delete(self, name: str) -> None:
        with _api_errors():
            self._objects.delete_namespaced_custom_object(
                API_GROUP, API_VERSION, self._namespace, PLURAL, name, propagation_policy="Foreground"
            )

    def pods(self, name: str) -> dict[str, bool]:
        selector = f"jobset.sigs.k8s.io/jobset-name={name},jobset.sigs.k8s.io/replicatedjob-name={NODE}"
        found: list[Any] = []
        with _api_errors():
            found = self._core.list_namespaced_pod(self._namespace, label_selector=selector).items
        return {pod.metadata.name: pod.status.phase == "Running" for pod in found if pod.status.phase in STARTED}

    def follow(self, pod: str) -> Iterator[str]:
        with _api_errors():
            stream = self._core.read_namespaced_pod_log(
                pod, self._namespace, container=NODE, follow=True, _preload_content=False
            )
            yield from _lines(stream.stream(amt=None))


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
def _api_errors(conflict: type[Exception] | None = None) -> Iterator[None]:
    """Sorts errors: 404 is an answer (nothing there), 409 a conflict, 4xx our mistake; the rest may pass by itself."""
    from kubernetes.client.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        if error.status == 404:
            return
        if error.status == 409 and conflict is not None:
            raise conflict(error.reason) from error
        if error.status in (408, 409, 429) or not error.status or error.status >= 500:
            raise ApiUnavailable(f"{error.status} {error.reason}") from error
        raise
    except HTTPError as error:
        raise ApiUnavailable(str(error)) from error

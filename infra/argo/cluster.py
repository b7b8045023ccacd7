"""A run's Workflow and its pods' logs, through the official Kubernetes client."""

import re
from typing import Any

from qure.errors import StageFailed
from qure.tracking.retrying import PASSING_STATUSES, retry

_TAIL_LINES = 400
#: Lines of Kubeflow's launcher and driver, of use where the task itself has nothing to say: an output that the store
#: does not take, an account without rights.
_LAUNCHER = re.compile(r"(?P<level>[IWEF])\d{4} \d\d:\d\d:\d\d(\S*\s+\d+ [^\]]*\] )?(?P<said>.*)")
_SAYS_NOTHING = re.compile(r"exit status \d+$")
_ERROR = re.compile(r"error: |[\w.]*(Error|Exception|Interrupt|Exit)\b: ?|[\w.]+Error$|Killed$|ERROR ")
_LONGEST_LINE = 500


class Cluster:
    """Reads Workflows and logs of one namespace, with the credentials of this pod (or of a kubeconfig).

    Raises:
        StageFailed: there are no credentials.
    """

    def __init__(self, namespace: str) -> None:
        from kubernetes import client, config

        try:
            config.load_incluster_config()
        except config.ConfigException:
            try:
                config.load_kube_config()
            except config.ConfigException as error:
                raise StageFailed(f"no credentials for the cluster: {error}") from None
        self._namespace = namespace
        self._objects, self._core = client.CustomObjectsApi(), client.CoreV1Api()

    def workflow(self, name: str) -> dict[str, Any]:
        """The Workflow object.

        Raises:
            StageFailed: it is not there, may not be read, or the cluster does not answer.
        """

        def read() -> Any:
            return self._objects.get_namespaced_custom_object(
                "argoproj.io", "v1alpha1", self._namespace, "workflows", name, _request_timeout=30
            )

        return dict(self._read(read, f"Workflow {name!r}"))

    def log(self, pod: str) -> list[str]:
        """The last lines of a task's pod.

        Raises:
            StageFailed: the pod is not there any more, its log may not be read, or the cluster does not answer.
        """

        def read() -> Any:
            return self._core.read_namespaced_pod_log(
                pod, self._namespace, container="main", tail_lines=_TAIL_LINES, _request_timeout=30
            )

        return str(self._read(read, f"log of {pod!r}")).splitlines()

    def _read(self, read: Any, what: str) -> Any:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        def passes(error: Exception) -> bool:
            if isinstance(error, ApiException):
                return not error.status or error.status in PASSING_STATUSES
            return isinstance(error, HTTPError | OSError)

        try:
            return retry(read, passes=passes, what=f"the cluster ({what})")
        except ApiException as error:
            remedy = ". The account lacks a right that `qure-pipelines install` gives" if error.status == 403 else ""
            raise StageFailed(f"{what} cannot be read: {error.status} {error.reason}{remedy}") from None
        except (HTTPError, OSError) as error:
            raise StageFailed(f"{what} cannot be read: {error}") from None


def error_line(lines: list[str]) -> str:
    """The line of a log that says why it ended; empty when none does.

    >>> error_line(["INFO qure: reading", "error: data/a.json, row 3: no target", "I1127 08:07:26 launcher.go:1] x"])
    'error: data/a.json, row 3: no target'
    >>> error_line(["F1127 08:07:26.100000       1 main.go:79] KFP driver: failed to list pods: forbidden"])
    'KFP driver: failed to list pods: forbidden'
    """
    platform = [(line, _LAUNCHER.match(line)) for line in lines if line.strip()]
    told = [line.strip() for line, match in platform if match is None and _ERROR.match(line.strip())]
    fatal = [match["said"].strip() for _, match in platform if match is not None and match["level"] in "EF"]
    told = told or [said for said in fatal if not _SAYS_NOTHING.search(said)]
    return (told or [""])[-1][:_LONGEST_LINE]

"""The platform under a run, as its service account sees it: rights, the claim, the GPU, train jobs, attempts."""

import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from infra.probing.findings import Finding, found

#: Argo's name of the pod's node, from an annotation: it ends in the number of the attempt, as in `executor(0)`.
NODE_VARIABLE = "QURE_CHECK_NODE"
JOB_SECONDS = 150.0
_INSTALL = "Apply what `qure-pipelines install` renders for this namespace"


def probe_platform(rules: Sequence[Mapping[str, Any]], claim: str, train_job: dict[str, Any]) -> Iterator[Finding]:
    """Looks at rights and, where they are configured, the claim's state and a train job of two seconds.

    Args:
        rules: the rights that tasks need (`infra.kubernetes.manifests.rules`).
        claim: the workspace's; empty for none.
        train_job: `TrainJobSettings`; empty where training stays in the task.
    """
    yield found("rights", _INSTALL, lambda: _rights(rules))
    if claim:
        yield found("claim", _INSTALL, lambda: _claim(claim))
    if train_job:
        remedy = "Install Kubeflow Trainer 2.2 or later with its runtimes, or set `distributed: null`"
        yield found("TrainJob", remedy, lambda: _train_job(train_job))


def probe_workspace(folder: str) -> Finding:
    """Whether the image's user can write where checkpoints go; asked in a task that mounts the claim."""
    remedy = f"Make the volume writable for user {os.getuid()} (an fsGroup, or the storage class's permissions)"

    def look() -> str:
        with tempfile.TemporaryDirectory(prefix=".qure-check-", dir=folder) as scratch:
            file = Path(scratch) / "probe"
            content = secrets.token_hex(8)
            file.write_text(content, encoding="utf-8")
            if file.read_text(encoding="utf-8") != content:
                raise ValueError("what was written is not what is read")
        return f"user {os.getuid()} writes, reads and deletes in {folder}"

    return found("workspace", remedy, look)


def probe_gpu() -> Finding:
    """Whether torch computes on a GPU; asked in a task that got one."""

    def look() -> str:
        import torch

        if not torch.cuda.is_available():
            raise RuntimeError(f"torch {torch.__version__} sees no GPU")
        total = float(torch.ones(64, 64, device="cuda").sum())
        if total != 4096:
            raise RuntimeError(f"64 x 64 ones sum to {total}")
        return f"torch {torch.__version__} computes on {torch.cuda.get_device_name()}"

    return found("GPU", "Check `images.cuda`, the accelerator's type and the nodes' driver", look)


def probe_retries() -> Finding | None:
    """None in the first attempt, which must fail; in the second one, that there is one."""
    node = os.environ.get(NODE_VARIABLE, "")
    if node.endswith("(0)") or not node:
        return None
    return Finding("retries", "ok", "a command that fails is tried again")


def _rights(rules: Sequence[Mapping[str, Any]]) -> str:
    from kubernetes import client

    from infra.trainer.cluster import ClusterTrainJobs

    namespace = ClusterTrainJobs().namespace
    api = client.AuthorizationV1Api()
    asked, missing = 0, []
    for rule in rules:
        for resource in rule["resources"]:
            kind, _, part = resource.partition("/")
            for verb in rule["verbs"]:
                attributes = client.V1ResourceAttributes(
                    namespace=namespace,
                    group=rule["apiGroups"][0],
                    resource=kind,
                    subresource=part or None,
                    verb=verb,
                    name=(rule.get("resourceNames") or [None])[0],
                )
                review = client.V1SelfSubjectAccessReview(
                    spec=client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
                )
                asked += 1
                answer = api.create_self_subject_access_review(review, _request_timeout=10)
                if not answer.status.allowed:
                    missing.append(f"{verb} {resource}")
    if missing:
        raise PermissionError(f"in namespace {namespace} this account may not {', '.join(missing)}")
    return f"all {asked} in namespace {namespace}"


def _claim(name: str) -> str:
    from kubernetes import client
    from kubernetes.client.exceptions import ApiException

    from infra.trainer.cluster import ClusterTrainJobs

    namespace = ClusterTrainJobs().namespace
    try:
        claim = client.CoreV1Api().read_namespaced_persistent_volume_claim(name, namespace, _request_timeout=10)
    except ApiException as error:
        raise ValueError(f"{name} in namespace {namespace}: {error.status} {error.reason}") from None
    modes = ", ".join(claim.spec.access_modes or [])
    return f"{name} is {claim.status.phase}, {modes}"


def _train_job(settings: dict[str, Any]) -> str:
    """A job that does nothing, on one node, with the run's image, volume, account and secrets."""
    from infra.trainer.cluster import ClusterTrainJobs
    from infra.trainer.job import TrainJobSettings, build_train_job
    from infra.trainer.run import run_train_job

    small = {"nodes": 1, "processes_per_node": 1, "cpu": "500m", "memory": "1Gi", "timeout_seconds": 300}
    chosen = TrainJobSettings.model_validate(settings | small)
    jobs = ClusterTrainJobs(chosen.namespace)
    run = os.environ.get("QURE_PIPELINE_RUN", "")
    name = f"qure-check-{secrets.token_hex(4)}"
    job = build_train_job(chosen, name, ["--no-python", "true"], run=run, owner=jobs.owner(run) if run else None)
    run_train_job(jobs, job, timeout_seconds=JOB_SECONDS, poll_seconds=3)
    return f"{name} was accepted, started and completed"

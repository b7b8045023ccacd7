"""A Kubeflow TrainJob (trainer.kubeflow.org/v1alpha1, Trainer 2.2 and later) as a pure function of its settings."""

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from infra.kubernetes.settings import PRODUCT, PRODUCT_LABEL
from qure.config import Frozen
from qure.files import fingerprint

API_GROUP = "trainer.kubeflow.org"
API_VERSION = "v1alpha1"
MANAGER = "qure.pipelines/train"

#: Name of the trainer's replicated job and of its container in the runtimes that come with Trainer.
NODE = "node"

#: Label: the pipeline run that a job belongs to. Labels of a TrainJob do not reach its pods.
RUN_LABEL = "qure/run-id"
#: Annotation: digest of what a job runs and for whom; only a job with the same one is gone on with.
MANIFEST_ANNOTATION = "qure/manifest"
#: torchrun with the exit status of the process that failed.
COMMAND = ("python", "-m", "infra.trainer.worker")


class SecretVariable(Frozen):
    """An environment variable whose value is a key of a Kubernetes secret."""

    variable: str
    secret: str
    key: str
    optional: bool = False


class TrainJobSettings(Frozen):
    """What a train job needs besides its command; made from the pipelines' configuration, holds no secret."""

    image: str
    namespace: str | None = Field(None, description="The task's own when left out, which is where its run can own it.")
    runtime: str = "torch-distributed"
    nodes: int = Field(1, ge=1)
    processes_per_node: int = Field(1, ge=1)
    cpu: str = "4"
    memory: str = "32Gi"
    accelerator: str | None = None
    shared_memory: str | None = None
    workspace_claim: str
    workspace_path: str = "/workspace"
    service_account: str | None = None
    node_selector: dict[str, str] = {}
    tolerations: tuple[dict[str, str], ...] = ()
    secrets: tuple[SecretVariable, ...] = ()
    timeout_seconds: int = Field(86400, ge=60)


def build_train_job(
    settings: TrainJobSettings,
    name: str,
    command: Sequence[str],
    *,
    environment: dict[str, str] | None = None,
    run: str = "",
    owner: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """The TrainJob that runs `command` under torchrun on every node.

    Args:
        settings: image, resources, storage.
        name: name of the job, a DNS label of at most 63 characters.
        command: what torchrun starts, for example ("-m", "qure.cli", "train", ...). The runtime sets torchrun's
            rendezvous through PET_* variables, so the command is the same as on one machine.
        environment: further variables; nothing secret, whoever reads the job sees them.
        run: id of the pipeline run that it belongs to.
        owner: ownerReference to that run's Workflow, with which Kubernetes then removes the job.

    Returns:
        The manifest as a dict, ready for the Kubernetes API.
    """
    trainer = {
        "image": settings.image,
        "command": list(COMMAND),
        "args": list(command),
        "numNodes": settings.nodes,
        "numProcPerNode": settings.processes_per_node,
        "resourcesPerNode": _resources(settings),
        "env": _environment(settings, environment or {}),
    }
    spec = {
        "runtimeRef": {"apiGroup": API_GROUP, "kind": "ClusterTrainingRuntime", "name": settings.runtime},
        "activeDeadlineSeconds": settings.timeout_seconds,
        "trainer": trainer,
        "runtimePatches": [{"manager": MANAGER, "trainingRuntimeSpec": {"template": {"spec": _pods(settings)}}}],
    }
    labels = {"app.kubernetes.io/name": "qure", "app.kubernetes.io/component": "training"}
    metadata: dict[str, Any] = {
        "name": name,
        "labels": labels | ({RUN_LABEL: run} if run else {}),
        "annotations": {MANIFEST_ANNOTATION: fingerprint([run, spec])},
    }
    if settings.namespace is not None:
        metadata["namespace"] = settings.namespace
    if owner is not None:
        metadata["ownerReferences"] = [owner]
    return {"apiVersion": f"{API_GROUP}/{API_VERSION}", "kind": "TrainJob", "metadata": metadata, "spec": spec}


def _resources(settings: TrainJobSettings) -> dict[str, dict[str, str]]:
    """Request equals limit: a node that lends memory and takes it back kills the job hours into it."""
    amounts = {"cpu": settings.cpu, "memory": settings.memory}
    if settings.accelerator:
        amounts[settings.accelerator] = str(settings.processes_per_node)
    return {"requests": dict(amounts), "limits": dict(amounts)}


def _environment(settings: TrainJobSettings, plain: dict[str, str]) -> list[dict[str, Any]]:
    values: list[dict[str, Any]] = [{"name": name, "value": value} for name, value in sorted(plain.items())]
    for secret in settings.secrets:
        reference = {"name": secret.secret, "key": secret.key, "optional": secret.optional}
        values.append({"name": secret.variable, "valueFrom": {"secretKeyRef": reference}})
    return values


def _pods(settings: TrainJobSettings) -> dict[str, Any]:
    """The part of the JobSet that RuntimePatches may change: volumes, placement, who the pods run as."""
    volumes: list[dict[str, Any]] = [
        {"name": "workspace", "persistentVolumeClaim": {"claimName": settings.workspace_claim}}
    ]
    mounts: list[dict[str, Any]] = [{"name": "workspace", "mountPath": settings.workspace_path}]
    if settings.shared_memory:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": settings.shared_memory}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    pod: dict[str, Any] = {
        "volumes": volumes,
        "containers": [
            {
                "name": NODE,
                "volumeMounts": mounts,
                "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
            }
        ],
        "securityContext": {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}},
    }
    if settings.service_account:
        pod["serviceAccountName"] = settings.service_account
    if settings.node_selector:
        pod["nodeSelector"] = dict(settings.node_selector)
    if settings.tolerations:
        pod["tolerations"] = [dict(toleration) for toleration in settings.tolerations]
    # Here, because labels of the TrainJob do not reach its pods. Istio's proxy would outlive the training beside it.
    labels = {PRODUCT_LABEL: PRODUCT, "sidecar.istio.io/inject": "false"}
    template = {"metadata": {"labels": labels}, "spec": pod}
    return {"replicatedJobs": [{"name": NODE, "template": {"spec": {"template": template}}}]}

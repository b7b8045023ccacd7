"""The objects of an installation, as plain Kubernetes manifests; no secret is among them."""

from typing import Any

import yaml

from infra.kubernetes.settings import PRODUCT, PRODUCT_LABEL, Installation

#: One node's disk, or what FashionIQ's features (40 GB) and CIRCO's gallery (65 GB) need with room for checkpoints.
_SIZES = {"small": "10Gi", "production": "300Gi"}
_QUOTAS = {
    "small": {
        "requests.cpu": "8",
        "requests.memory": "24Gi",
        "limits.cpu": "16",
        "limits.memory": "48Gi",
        "requests.nvidia.com/gpu": "0",
        "persistentvolumeclaims": "4",
        "pods": "40",
    },
    "production": {
        "requests.cpu": "48",
        "requests.memory": "256Gi",
        "limits.cpu": "96",
        "limits.memory": "512Gi",
        "requests.nvidia.com/gpu": "8",
        "persistentvolumeclaims": "4",
        "pods": "60",
    },
}


def render(installation: Installation) -> list[dict[str, Any]]:
    """The manifests for a namespace that is there already, in the order in which to apply them."""
    made = [*_account(installation), *_storage(installation), *_network(installation)]
    if installation.dedicated:
        made += _bounds(installation)
    if installation.secret_store is not None:
        made += [_external_secret(name, installation.secret_store) for name in installation.secrets]
    for one in made:
        one["metadata"] |= {"namespace": installation.namespace, "labels": {PRODUCT_LABEL: PRODUCT}}
    return made


def as_text(manifests: list[dict[str, Any]]) -> str:
    """Manifests as the YAML that `kubectl apply --filename` takes."""
    return yaml.safe_dump_all(manifests, sort_keys=False, width=120)


def rules(installation: Installation) -> list[dict[str, Any]]:
    """The rights that tasks use, and no more. Variables from secrets are put in by the kubelet: no right is needed.

    Argo's executor reports a task's result; Kubeflow's launcher reads where artifacts go and the store's credentials;
    its driver looks at pods and the claim; a task finds its run's Workflow, in which the exit handler reads how the run
    ended; the train task manages train jobs, reads their pods' logs and the events that say why none start.
    """
    found = [
        _rule("argoproj.io", "workflowtaskresults", "create", "patch"),
        _rule("argoproj.io", "workflows", "get", "list"),
        _rule("", "configmaps", "get", names=["kfp-launcher"]),
        _rule("", "secrets", "get", names=["mlpipeline-minio-artifact"]),
        _rule("", "pods", "get", "list", "watch"),
        _rule("", "pods/log", "get"),
        _rule("", "events", "list"),
        _rule("trainer.kubeflow.org", "trainjobs", "create", "get", "list", "delete"),
    ]
    if installation.claim is not None:
        found.append(_rule("", "persistentvolumeclaims", "get", names=[installation.claim]))
    return found


def _rule(group: str, resource: str, *verbs: str, names: list[str] | None = None) -> dict[str, Any]:
    rule: dict[str, Any] = {"apiGroups": [group], "resources": [resource], "verbs": list(verbs)}
    return rule | ({"resourceNames": names} if names else {})


def _account(installation: Installation) -> list[dict[str, Any]]:
    made: list[dict[str, Any]] = []
    if installation.service_account is not None:
        account: dict[str, Any] = _object("v1", "ServiceAccount", installation.account)
        account["automountServiceAccountToken"] = True
        if installation.pull_secrets:
            account["imagePullSecrets"] = [{"name": name} for name in installation.pull_secrets]
        made.append(account)
    role, group = "qure-runner", "rbac.authorization.k8s.io"
    binding = _object(f"{group}/v1", "RoleBinding", role)
    binding["roleRef"] = {"apiGroup": group, "kind": "Role", "name": role}
    binding["subjects"] = [
        {"kind": "ServiceAccount", "name": installation.account, "namespace": installation.namespace}
    ]
    return [*made, _object(f"{group}/v1", "Role", role) | {"rules": rules(installation)}, binding]


def _storage(installation: Installation) -> list[dict[str, Any]]:
    """Data, features and checkpoints. All tasks mount it at once: on one node that works with ReadWriteOnce too."""
    if installation.claim is None:
        return []
    size = installation.storage_size or _SIZES[installation.profile]
    spec: dict[str, Any] = {
        "accessModes": ["ReadWriteOnce" if installation.profile == "small" else "ReadWriteMany"],
        "resources": {"requests": {"storage": size}},
    }
    if installation.storage_class is not None:
        spec["storageClassName"] = installation.storage_class
    return [_object("v1", "PersistentVolumeClaim", installation.claim) | {"spec": spec}]


def _network(installation: Installation) -> list[dict[str, Any]]:
    """Nobody calls a task; tasks call names, Kubeflow's services and the stated ports. Other pods are left alone.

    torchrun's rendezvous and NCCL choose their ports: all are open inside a train job.
    """
    dns = [{"protocol": protocol, "port": 53} for protocol in ("UDP", "TCP")]
    name_servers: list[dict[str, Any]] = [_namespace_selector("kube-system")]
    if installation.node_local_dns is not None:
        address = installation.node_local_dns
        name_servers.append({"ipBlock": {"cidr": f"{address}/{address.max_prefixlen}"}})
    ports = installation.ports
    wanted = sorted({*ports.api_server, *ports.further, ports.mlflow, ports.s3, ports.webhook})
    product = {"matchLabels": {PRODUCT_LABEL: PRODUCT}}
    workers = product | {"matchExpressions": [{"key": "jobset.sigs.k8s.io/jobset-name", "operator": "Exists"}]}
    tasks = {
        "podSelector": product,
        "policyTypes": ["Ingress", "Egress"],
        "egress": [
            {"to": name_servers, "ports": dns},
            {"to": [_namespace_selector(installation.kubeflow_namespace)]},
            {"ports": [{"protocol": "TCP", "port": port} for port in wanted]},
        ],
    }
    among = {
        "podSelector": workers,
        "policyTypes": ["Ingress", "Egress"],
        "ingress": [{"from": [{"podSelector": workers}]}],
        "egress": [{"to": [{"podSelector": workers}]}],
    }
    kind = ("networking.k8s.io/v1", "NetworkPolicy")
    return [_object(*kind, "qure-tasks") | {"spec": tasks}, _object(*kind, "qure-train-jobs") | {"spec": among}]


def _namespace_selector(name: str) -> dict[str, Any]:
    return {"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": name}}}


def _bounds(installation: Installation) -> list[dict[str, Any]]:
    """What all runs together may take, and the limits that Kubeflow's own containers do not state."""
    limits = {
        "type": "Container",
        "default": {"cpu": "1", "memory": "1Gi"},
        "defaultRequest": {"cpu": "100m", "memory": "128Mi"},
    }
    return [
        _object("v1", "ResourceQuota", "qure") | {"spec": {"hard": dict(_QUOTAS[installation.profile])}},
        _object("v1", "LimitRange", "qure") | {"spec": {"limits": [limits]}},
    ]


def _external_secret(name: str, store: str) -> dict[str, Any]:
    """A secret by reference: the External Secrets operator copies it from the organisation's store."""
    spec = {
        "refreshInterval": "1h",
        "secretStoreRef": {"kind": "ClusterSecretStore", "name": store},
        "target": {"name": name},
        "dataFrom": [{"extract": {"key": name.replace("-", "/", 1)}}],
    }
    return _object("external-secrets.io/v1", "ExternalSecret", name) | {"spec": spec}


def _object(version: str, kind: str, name: str) -> dict[str, Any]:
    return {"apiVersion": version, "kind": kind, "metadata": {"name": name}}

"""The manifests of an installation: valid Kubernetes, for any namespace, and nothing that others feel.

`kubectl kustomize` is the real kustomize; where there is no kubectl, those tests are skipped and say so.
"""

import shutil
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from pydantic import ValidationError

from infra.kubernetes.manifests import as_text, render, rules
from infra.kubernetes.settings import Installation

NAMESPACES = ["kubeflow", "team-vision", "a" * 63]
CUSTOM_KINDS = {"ExternalSecret"}  # the operator's, of which Kubernetes has no schema


def installation(namespace: str = "team-vision", **changes: Any) -> Installation:
    values = {"namespace": namespace, "multi_user": namespace != "kubeflow"}
    return Installation.model_validate(values | changes)


def everything(namespace: str = "team-vision", **changes: Any) -> list[dict[str, Any]]:
    values: dict[str, Any] = {
        "dedicated": namespace != "kubeflow",
        "secret_store": "organisation",
        "secrets": ("qure-tracking", "qure-storage"),
        "pull_secrets": ("registry",),
        "storage_class": "shared",
    }
    return render(installation(namespace, **(values | changes)))


def one(manifests: list[dict[str, Any]], kind: str, name: str | None = None) -> dict[str, Any]:
    (found,) = (m for m in manifests if m["kind"] == kind and name in (None, m["metadata"]["name"]))
    return found


@pytest.mark.parametrize("namespace", NAMESPACES)
@pytest.mark.parametrize("profile", ["small", "production"])
def test_every_manifest_is_valid_kubernetes(namespace: str, profile: str) -> None:
    checked = 0
    for manifest in everything(namespace, profile=profile):
        if manifest["kind"] not in CUSTOM_KINDS:
            kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)
            checked += 1
    assert checked >= 6


def test_the_check_notices_an_unknown_field() -> None:
    manifest = everything()[0]
    manifest["metadata"]["namess"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(manifest, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_the_real_kustomize_renders_them_and_puts_them_nowhere_else(namespace: str, tmp_path: Path) -> None:
    """Where a team keeps its manifests in a kustomization, the output is a resource of it like any other."""
    if shutil.which("kubectl") is None:
        pytest.skip("needs kubectl, whose `kustomize` is the real one")
    (tmp_path / "qure.yaml").write_text(as_text(everything(namespace)))
    (tmp_path / "kustomization.yaml").write_text(
        yaml.safe_dump({"resources": ["qure.yaml"], "namespace": namespace, "commonAnnotations": {"team": "vision"}})
    )
    done = subprocess.run(["kubectl", "kustomize", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rendered = {(m["kind"], m["metadata"]["name"]): m for m in yaml.safe_load_all(done.stdout)}
    for manifest in everything(namespace):
        found = rendered.pop((manifest["kind"], manifest["metadata"]["name"]))
        assert found["metadata"].pop("annotations") == {"team": "vision"}
        assert found == manifest, "kustomize changes neither the namespace nor the binding's subject"
    assert rendered == {}


@pytest.mark.parametrize("namespace", NAMESPACES)
def test_everything_lies_in_the_namespace_and_nothing_is_the_namespace(namespace: str) -> None:
    manifests = everything(namespace)
    assert {m["metadata"]["namespace"] for m in manifests} == {namespace}
    assert "Namespace" not in {m["kind"] for m in manifests}
    (subject,) = one(manifests, "RoleBinding")["subjects"]
    assert subject["namespace"] == namespace


def test_names_are_unique_and_no_secret_is_among_them() -> None:
    manifests = everything()
    assert len({(m["kind"], m["metadata"]["name"]) for m in manifests}) == len(manifests)
    assert "Secret" not in {m["kind"] for m in manifests}


def test_network_policies_select_this_products_pods_alone() -> None:
    policies = [m for m in everything() if m["kind"] == "NetworkPolicy"]
    assert len(policies) == 2
    for policy in policies:
        assert policy["spec"]["podSelector"]["matchLabels"] == {"app.kubernetes.io/part-of": "qure"}
    workers = one(policies, "NetworkPolicy", "qure-train-jobs")["spec"]
    assert workers["ingress"] == [{"from": [{"podSelector": workers["podSelector"]}]}]


def test_ports_and_name_servers_are_those_that_were_chosen() -> None:
    def egress(**changes: Any) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = one(render(installation(**changes)), "NetworkPolicy", "qure-tasks")["spec"][
            "egress"
        ]
        return found

    assert [port["port"] for port in egress()[2]["ports"]] == [443, 5000, 6443, 8443, 9000]
    ports = {"mlflow": 8080, "s3": 9001, "webhook": 8065, "api_server": (7443,), "further": (22,)}
    assert [port["port"] for port in egress(ports=ports)[2]["ports"]] == [22, 7443, 8065, 8080, 9001]
    assert {"ipBlock": {"cidr": "169.254.20.10/32"}} in egress()[0]["to"]
    assert {"ipBlock": {"cidr": "10.0.0.10/32"}} in egress(node_local_dns="10.0.0.10")[0]["to"]
    assert {"ipBlock": {"cidr": "fd00:10::a/128"}} in egress(node_local_dns="fd00:10::a")[0]["to"]
    assert len(egress(node_local_dns=None)[0]["to"]) == 1
    names = egress(kubeflow_namespace="pipelines")[1]["to"][0]["namespaceSelector"]["matchLabels"]
    assert names == {"kubernetes.io/metadata.name": "pipelines"}


def test_quota_and_limits_are_for_a_namespace_of_its_own() -> None:
    bounds = {"ResourceQuota", "LimitRange"}
    assert not bounds & {m["kind"] for m in render(installation())}
    assert bounds <= {m["kind"] for m in render(installation(dedicated=True))}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"namespace": "kubeflow", "multi_user": True}, "Kubeflow's own"),
        ({"namespace": "team-vision", "multi_user": False}, "single-user"),
        ({"namespace": "kubeflow", "multi_user": False, "dedicated": True}, "shared"),
        ({"namespace": "Team"}, "namespace"),
        ({"namespace": "a" * 64}, "namespace"),
        ({"ports": {"mlflow": 0}}, "mlflow"),
        ({"node_local_dns": "10.0.0"}, "node_local_dns"),
        ({"storage_size": "300 GB"}, "storage_size"),
        ({"storage_class": "Fast Disks"}, "storage_class"),
        ({"secret_store": ""}, "secret_store"),
        ({"kubeflow_namespace": "Kubeflow"}, "kubeflow_namespace"),
        ({"pull_secrets": ("a", "B")}, "pull_secrets"),
        ({"pull_secrets": ("registry",), "service_account": None}, "'default-editor' is Kubeflow's"),
    ],
)
def test_what_cannot_be_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Installation.model_validate({"namespace": "team-vision", "multi_user": True} | changes)


def test_a_kubeflow_elsewhere_can_be_named() -> None:
    assert Installation(namespace="pipelines", kubeflow_namespace="pipelines").account == "qure-runner"


@pytest.mark.parametrize(("multi_user", "account"), [(True, "default-editor"), (False, "pipeline-runner")])
def test_without_an_account_of_its_own_kubeflows_gets_the_rights(multi_user: bool, account: str) -> None:
    manifests = render(installation("team-vision" if multi_user else "kubeflow", service_account=None))
    assert "ServiceAccount" not in {m["kind"] for m in manifests}
    assert one(manifests, "RoleBinding")["subjects"][0]["name"] == account


def test_rights_are_named_one_by_one() -> None:
    for rule in rules(installation()):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        if set(rule["resources"]) & {"secrets", "configmaps", "persistentvolumeclaims"}:
            assert rule["resourceNames"]


def test_what_a_train_job_asks_of_the_cluster_is_granted() -> None:
    """The requests of infra/trainer, each of which a test sees made over HTTP (tests/infra/trainer)."""
    granted = {
        (resource, verb) for rule in rules(installation()) for resource in rule["resources"] for verb in rule["verbs"]
    }
    assert {("trainjobs", verb) for verb in ("create", "get", "list", "delete")} <= granted
    assert {("workflows", "list"), ("events", "list"), ("pods", "list"), ("pods/log", "get")} <= granted


def test_a_claim_is_one_that_the_profile_can_have() -> None:
    def claim(**changes: Any) -> dict[str, Any]:
        found: dict[str, Any] = one(render(installation(**changes)), "PersistentVolumeClaim")["spec"]
        return found

    assert claim(profile="small")["accessModes"] == ["ReadWriteOnce"]
    assert claim()["accessModes"] == ["ReadWriteMany"]
    assert "storageClassName" not in claim()
    chosen = claim(storage_class="fast", storage_size="1Ti")
    assert chosen["storageClassName"] == "fast"
    assert chosen["resources"]["requests"]["storage"] == "1Ti"
    assert "PersistentVolumeClaim" not in {m["kind"] for m in render(installation(claim=None))}


def test_pull_secrets_are_the_accounts() -> None:
    assert one(everything(), "ServiceAccount")["imagePullSecrets"] == [{"name": "registry"}]

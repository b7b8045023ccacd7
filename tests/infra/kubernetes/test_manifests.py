"""The Kubernetes manifests against the Kubernetes schemas, offline; no cluster and no kustomize program is needed.

`rendered` does the part of kustomize that the manifests use: resources, strategic-merge patches of mappings, namespace.
Custom resources have no schema here: their kinds are listed, so that a new one is skipped knowingly or not at all.
"""

from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

from pipelines.config import PipelineConfig

ROOT = Path(__file__).resolve().parents[3] / "infra" / "kubernetes"
KUSTOMIZATIONS = ["base", "overlays/development", "overlays/production"]
CUSTOM_KINDS = {"ExternalSecret"}
KNOWN_FIELDS = {"apiVersion", "kind", "namespace", "resources", "patches", "labels"}


def documents(file: Path) -> list[dict[str, Any]]:
    return [document for document in yaml.safe_load_all(file.read_text()) if document]


def merged(base: Any, patch: Any) -> Any:
    if not isinstance(base, dict) or not isinstance(patch, dict):
        return patch
    return base | {key: merged(base.get(key), value) for key, value in patch.items()}


def rendered(folder: Path) -> list[dict[str, Any]]:
    kustomization = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert kustomization.keys() <= KNOWN_FIELDS, "the renderer of this test does not know a field"
    resources: list[dict[str, Any]] = []
    for name in kustomization["resources"]:
        path = (folder / name).resolve()
        resources += rendered(path) if path.is_dir() else documents(path)
    for patch in kustomization.get("patches", []):
        for change in documents(folder / patch["path"]):
            targets = [number for number, one in enumerate(resources) if identity(one) == identity(change)]
            assert len(targets) == 1, f"{patch['path']} patches {identity(change)}, which is there {len(targets)} times"
            resources[targets[0]] = merged(resources[targets[0]], change)
    return resources


def identity(resource: dict[str, Any]) -> tuple[str, str]:
    return resource["kind"], resource["metadata"]["name"]


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_every_resource_is_valid_kubernetes(name: str) -> None:
    checked = 0
    for resource in rendered(ROOT / name):
        if resource["kind"] in CUSTOM_KINDS:
            continue
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)
        checked += 1
    assert checked >= 9


def test_the_check_notices_an_unknown_field() -> None:
    resource = rendered(ROOT / "base")[0]
    resource["metadata"]["namess"] = "x"
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(resource, kubernetes_validate.latest_version(), strict=True)


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_names_are_unique_and_every_file_is_used(name: str) -> None:
    resources = rendered(ROOT / name)
    assert len({identity(one) for one in resources}) == len(resources)
    kustomization = yaml.safe_load((ROOT / name / "kustomization.yaml").read_text())
    used = set(kustomization["resources"]) | {patch["path"] for patch in kustomization.get("patches", [])}
    there = {file.name for file in (ROOT / name).glob("*.yaml")} - {"kustomization.yaml"}
    assert there == {entry for entry in used if entry.endswith(".yaml")}


@pytest.mark.parametrize("name", KUSTOMIZATIONS)
def test_no_secret_is_in_the_manifests(name: str) -> None:
    assert not [one for one in rendered(ROOT / name) if one["kind"] == "Secret"]


def test_rights_are_named_one_by_one() -> None:
    role = next(one for one in rendered(ROOT / "base") if one["kind"] == "Role")
    for rule in role["rules"]:
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        if set(rule["resources"]) & {"secrets", "configmaps", "persistentvolumeclaims"}:
            assert rule["resourceNames"]


def test_manifests_and_pipelines_speak_of_the_same_things() -> None:
    config = PipelineConfig.load()
    base = {identity(one) for one in rendered(ROOT / "base")}
    assert config.workspace is not None
    assert ("PersistentVolumeClaim", config.workspace.claim) in base
    assert ("ServiceAccount", config.service.service_account) in base
    production = {identity(one) for one in rendered(ROOT / "overlays" / "production")}
    assert {("ExternalSecret", secret.name) for secret in config.secrets} <= production


def test_the_quota_admits_what_the_pipelines_ask_for() -> None:
    config = PipelineConfig.load()
    quota = next(one for one in rendered(ROOT / "base") if one["kind"] == "ResourceQuota")["spec"]["hard"]
    share = config.task("precompute_embeddings")
    assert config.parallelism * int(share.cpu.limit) <= int(quota["limits.cpu"])
    assert config.parallelism * int(share.memory.limit.removesuffix("Gi")) <= int(
        quota["limits.memory"].removesuffix("Gi")
    )
    assert share.accelerator is not None
    assert config.parallelism * share.accelerator.count <= int(quota["requests.nvidia.com/gpu"])

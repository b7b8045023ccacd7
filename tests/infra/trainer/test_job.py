"""The train job's manifest: golden, and valid for the pinned Trainer API."""

import json
from pathlib import Path
from typing import Any

import pytest
from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
from pydantic import BaseModel

from infra.trainer.job import SecretVariable, TrainJobSettings, build_train_job

GOLDEN = Path(__file__).parent / "train_job.golden.json"


def settings(**changes: Any) -> TrainJobSettings:
    values: dict[str, Any] = {
        "namespace": "qure",
        "image": "registry.example.com/qure-cuda@sha256:" + "1" * 64,
        "nodes": 2,
        "processes_per_node": 4,
        "accelerator": "nvidia.com/gpu",
        "cpu": "8",
        "memory": "64Gi",
        "shared_memory": "8Gi",
        "workspace_claim": "qure-workspace",
        "service_account": "qure-runner",
        "node_selector": {"node.kubernetes.io/instance-type": "gpu"},
        "tolerations": ({"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"},),
        "secrets": (SecretVariable(variable="MLFLOW_TRACKING_URI", secret="qure-tracking", key="uri"),),
        "timeout_seconds": 7200,
    }
    return TrainJobSettings.model_validate(values | changes)


def build(**changes: Any) -> dict[str, Any]:
    return build_train_job(
        settings(**changes),
        "qure-train-fashioniq-0123456789ab",
        ["-m", "qure.cli", "train", "--training-set", "fashioniq"],
        environment={"QURE_PIPELINE_RUN": "run-1"},
        run="run-1",
        owner={"apiVersion": "argoproj.io/v1alpha1", "kind": "Workflow", "name": "w", "uid": "u"},
    )


def test_manifest_is_the_golden_one() -> None:
    assert build() == json.loads(GOLDEN.read_text())


def test_manifest_holds_no_field_that_the_trainer_api_does_not_know() -> None:
    job = build()
    model = TrainerV1alpha1TrainJob.from_dict(job)
    assert model is not None
    assert as_plain(model) == job


def test_an_unknown_field_would_be_noticed() -> None:
    job = build()
    job["spec"]["podTemplateOverrides"] = []
    model = TrainerV1alpha1TrainJob.from_dict(job)
    assert model is not None
    assert as_plain(model) != job


def test_building_is_pure() -> None:
    assert build() == build()


def test_accelerators_follow_the_processes_of_a_node() -> None:
    resources = build(processes_per_node=2)["spec"]["trainer"]["resourcesPerNode"]
    assert resources["limits"]["nvidia.com/gpu"] == resources["requests"]["nvidia.com/gpu"] == "2"


def test_without_an_accelerator_no_gpu_is_asked_for() -> None:
    assert set(build(accelerator=None)["spec"]["trainer"]["resourcesPerNode"]["limits"]) == {"cpu", "memory"}


def test_the_digest_tells_what_is_run_and_for_whom() -> None:
    """A job with the same one may be gone on with; whose Workflow was made again under a new uid is still the same."""

    def digest(command: str = "train", run: str = "run-1", **changes: Any) -> str:
        job = build_train_job(settings(**changes), "job", [command], run=run, owner={"uid": str(changes)})
        found: str = job["metadata"]["annotations"]["qure/manifest"]
        return found

    assert digest() == digest()
    assert len({digest(), digest("other"), digest(run="run-2"), digest(nodes=3), digest(memory="1Gi")}) == 5


def test_without_a_run_or_a_namespace_none_is_named() -> None:
    metadata = build_train_job(settings(namespace=None), "job", ["train"])["metadata"]
    assert metadata.keys() == {"name", "labels", "annotations"}
    assert "qure/run-id" not in metadata["labels"]


def test_secrets_are_references(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "postgresql://user:sentinel-secret@host/db")
    assert "sentinel-secret" not in json.dumps(build())
    variables = {variable["name"]: variable for variable in build()["spec"]["trainer"]["env"]}
    assert variables["MLFLOW_TRACKING_URI"]["valueFrom"]["secretKeyRef"]["name"] == "qure-tracking"


def as_plain(model: BaseModel) -> Any:
    """A model as it goes over the wire: the generated classes wrap each quantity ("8Gi") in an object of its own."""
    return unwrapped(json.loads(model.model_dump_json(by_alias=True, exclude_none=True)))


def unwrapped(value: Any) -> Any:
    if isinstance(value, dict):
        if "actual_instance" in value:
            return value["actual_instance"]
        return {key: unwrapped(item) for key, item in value.items()}
    return [unwrapped(item) for item in value] if isinstance(value, list) else value

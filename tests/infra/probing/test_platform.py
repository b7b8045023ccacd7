"""The probes of the platform: rights and claim over HTTP, the workspace on a real folder, attempts by Argo's names."""

import os
from pathlib import Path
from typing import Any

import pytest

from infra.kubernetes.manifests import rules
from infra.kubernetes.settings import Installation
from infra.probing import platform
from infra.probing.platform import probe_gpu, probe_platform, probe_retries, probe_workspace

RULES = rules(Installation(namespace="kubeflow"))


def findings(claim: str = "", train_job: dict[str, Any] | None = None) -> dict[str, Any]:
    return {one.subject: one for one in probe_platform(RULES, claim, train_job or {})}


def test_every_right_of_the_role_is_asked_for(cluster: Any) -> None:
    assert findings()["rights"].state == "ok"
    asked = {(one["verb"], one.get("resource"), one.get("subresource"), one.get("name")) for one in cluster.reviews}
    assert ("create", "trainjobs", None, None) in asked
    assert ("get", "pods", "log", None) in asked
    assert ("get", "secrets", None, "mlpipeline-minio-artifact") in asked
    assert {one["namespace"] for one in cluster.reviews} == {"kubeflow"}


def test_missing_rights_are_listed(cluster: Any) -> None:
    cluster.denied = {("list", "events"), ("delete", "trainjobs")}
    finding = findings()["rights"]
    assert finding.state == "failed"
    assert "may not list events, delete trainjobs" in finding.text
    assert "qure-pipelines install" in finding.remedy


def test_a_claim_is_there_or_not(cluster: Any) -> None:
    cluster.claims["w"] = "Bound"
    assert "w is Bound" in findings("w")["claim"].text
    missing = findings("other")["claim"]
    assert missing.state == "failed"
    assert "404" in missing.text


def test_a_train_job_is_made_waited_for_and_removed(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"image": "qure@sha256:" + "0" * 64, "workspace_claim": "w", "accelerator": "nvidia.com/gpu"}
    cluster.status_of_new = "complete"
    finding = findings(train_job=settings)["TrainJob"]
    assert finding.state == "ok", finding.text
    assert len(cluster.deletions) == 1
    cluster.trainer = False
    assert "knows no TrainJob" in findings(train_job=settings)["TrainJob"].text


def test_a_workspace_is_written_to_and_left_clean(tmp_path: Path) -> None:
    assert probe_workspace(str(tmp_path)).state == "ok"
    assert list(tmp_path.iterdir()) == []


def test_a_workspace_that_gives_back_something_else_is_no_workspace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "read_text", lambda self, **_: "of another pod")
    finding = probe_workspace(str(tmp_path))
    assert (finding.state, finding.text) == ("failed", "ValueError: what was written is not what is read")


@pytest.mark.parametrize(
    ("total", "state", "text"),
    [(4096.0, "ok", "computes on Pretended GPU"), (0.0, "failed", "64 x 64 ones sum to 0.0")],
)
def test_a_gpu_is_asked_to_compute(monkeypatch: pytest.MonkeyPatch, total: float, state: str, text: str) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: "Pretended GPU")
    monkeypatch.setattr(torch, "ones", lambda *size, device: torch.tensor([total]))
    finding = probe_gpu()
    assert finding.state == state
    assert text in finding.text


def test_a_workspace_that_cannot_be_written_names_the_user(tmp_path: Path) -> None:
    finding = probe_workspace(str(tmp_path / "none"))
    assert finding.state == "failed"
    assert str(os.getuid()) in finding.remedy


def test_a_missing_gpu_is_a_failure_and_not_an_error() -> None:
    import torch

    assert probe_gpu().state == ("ok" if torch.cuda.is_available() else "failed")


@pytest.mark.parametrize(("number", "told"), [(0, False), (1, True)])
def test_the_attempt_is_read_from_argos_name(number: int, told: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """As recorded: probe-exit-bad-f4nhd(0).root(0).exit-handler-1(0).fail(0).executor(0)."""
    node = f"check-f4nhd(0).root(0).exit-handler-1(0).probe-attempts(0).executor({number})"
    monkeypatch.setenv(platform.NODE_VARIABLE, node)
    assert (probe_retries() is not None) == told

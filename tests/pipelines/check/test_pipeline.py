"""The check's pipeline: what its tasks mount and name, and one run of it through kfp's local runner."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import compiler

from infra.probing.findings import heard
from pipelines.check import pipeline
from pipelines.config import DEFAULT_CONFIG, PipelineConfig

SMALL = DEFAULT_CONFIG.with_name("small.yaml")


def compiled(tmp_path: Path, config: PipelineConfig) -> tuple[dict[str, Any], dict[str, Any]]:
    file = tmp_path / "check.yaml"
    compiler.Compiler().compile(pipeline.check(config), str(file))
    spec, platform = yaml.safe_load_all(file.read_text())
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def test_a_task_that_says_what_is_missing_waits_for_nothing(tmp_path: Path) -> None:
    config = PipelineConfig.load()
    _, placed = compiled(tmp_path, config)
    around = placed["exec-probe-surroundings"]
    assert "pvcMount" not in around
    assert [one["secretName"] for one in around["secretAsEnv"]] == [one.name for one in config.secrets]
    assert all(one["optional"] for one in around["secretAsEnv"])
    variables = [key["envVar"] for one in around["secretAsEnv"] for key in one["keyToEnv"]]
    assert len(set(variables)) == len(variables)
    assert all(name.startswith("QURE_CHECK_") for name in variables), "MLFLOW_* may be Kubeflow's own plugin's"
    for name in ("exec-probe-end", "exec-probe-attempts", "exec-probe-mounted"):
        assert "secretAsEnv" not in placed[name], name
    assert placed["exec-probe-mounted"]["pvcMount"][0]["constant"] == "qure-workspace"
    for one in placed.values():
        assert one["securityContext"]["runAsUser"] == "10001"
        assert one["podMetadata"]["labels"]["app.kubernetes.io/part-of"] == "qure"


def test_what_must_fail_comes_last(tmp_path: Path) -> None:
    """Argo starts nothing new in a graph in which something has failed."""
    spec, _ = compiled(tmp_path, PipelineConfig.load())
    tasks = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]
    assert set(tasks["probe-attempts"]["dependentTasks"]) == set(tasks) - {"probe-attempts"}
    assert tasks["probe-attempts"]["retryPolicy"]["maxRetryCount"] == 1
    assert not any(task.get("cachingOptions") for task in tasks.values())


def test_without_workspace_or_gpu_nobody_asks_for_them(tmp_path: Path) -> None:
    values = yaml.safe_load(SMALL.read_text()) | {"workspace": None}
    _, placed = compiled(tmp_path, PipelineConfig.model_validate(values))
    assert set(placed) == {"exec-probe-surroundings", "exec-probe-attempts", "exec-probe-end"}


@pytest.mark.parametrize("namespace", ["kubeflow", "pipelines", "team"])
def test_rights_are_those_of_any_namespace_that_is_configured(namespace: str, tmp_path: Path) -> None:
    """Also of a single-user installation whose namespace is named, Kubeflow's own."""
    values = yaml.safe_load(SMALL.read_text())
    values["service"]["namespace"] = namespace
    spec, _ = compiled(tmp_path, PipelineConfig.model_validate(values))
    task = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]["probe-surroundings"]
    assert task["inputs"]["parameters"]["rules"]["runtimeValue"]["constant"]


def test_a_train_job_of_a_namespace_is_probed_with_its_settings(tmp_path: Path) -> None:
    values = yaml.safe_load(DEFAULT_CONFIG.read_text())
    values["distributed"] = {"nodes": 2}
    values["service"]["namespace"] = "team"
    spec, _ = compiled(tmp_path, PipelineConfig.model_validate(values))
    task = spec["components"]["comp-exit-handler-1"]["dag"]["tasks"]["probe-surroundings"]
    given = task["inputs"]["parameters"]["train_job"]["runtimeValue"]["constant"]
    assert given["workspace_claim"] == "qure-workspace"


@pytest.mark.kfp_local
def test_through_the_local_runner_the_exit_handler_and_the_findings_are_heard(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """There is no cluster: rights and claim fail, the real MLflow and the folder are found in order."""
    from pipelines.local import run_locally

    values = yaml.safe_load(SMALL.read_text())
    (tmp_path / "workspace").mkdir()
    values["workspace"]["path"] = str(tmp_path / "workspace")
    config = PipelineConfig.model_validate(values)
    tracking = next(one for one in pipeline.stated_secrets(config) if one["name"] == "qure-tracking")
    for key, (_, given) in tracking["keys"].items():
        monkeypatch.setenv(given, f"sqlite:///{tmp_path}/mlflow.db" if key == "uri" else "x")
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[3]))
    node = "check(0).root(0).exit-handler-1(0).probe-attempts(0).executor(1)"
    monkeypatch.setenv("QURE_CHECK_NODE", node)
    monkeypatch.chdir(tmp_path)
    run_locally(pipeline.check(config), {}, runner="subprocess", root=tmp_path / "output", run="check-1")
    log = capfd.readouterr()
    findings = {one.subject: one for one in heard([*log.out.splitlines(), *log.err.splitlines()])}
    states = {subject: one.state for subject, one in findings.items()}
    assert states["exit handler"] == states["workspace"] == states["retries"] == "ok"
    assert states["MLflow"] == states["secret qure-tracking"] == "ok", findings["MLflow"].text
    assert states["rights"] == states["claim"] == "failed"
    assert list((tmp_path / "workspace").iterdir()) == []


def test_the_gpu_is_asked_for_on_the_nodes_that_have_one(tmp_path: Path) -> None:
    values = yaml.safe_load(DEFAULT_CONFIG.read_text())
    for one in values["tasks"].values():
        if one.get("accelerator"):
            one |= {"node_selector": {"gpu": "h100"}, "tolerations": [{"key": "gpu"}]}
    _, placed = compiled(tmp_path, PipelineConfig.model_validate(values))
    assert placed["exec-probe-accelerator"]["nodeSelector"] == {"labels": {"gpu": "h100"}}
    assert [one["key"] for one in placed["exec-probe-accelerator"]["tolerations"]] == ["gpu"]

"""`qure-pipelines install`: prints or applies; a kubectl of the test says what it was given."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from infra.kubernetes.manifests import render
from pipelines.cli import app
from pipelines.config import DEFAULT_CONFIG, PipelineConfig
from pipelines.installing import installation_of

SMALL = DEFAULT_CONFIG.with_name("small.yaml")
GIBI = {"Mi": 1 / 1024, "Gi": 1.0}


@dataclass(frozen=True)
class Called:
    """What a command came to."""

    exit_code: int
    stdout: str
    output: str


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Calls `qure-pipelines install` in this process."""

    def call(*arguments: str) -> Called:
        code = 0
        try:
            app(["install", *arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        said = capsys.readouterr()
        return Called(code, said.out, said.out + said.err)

    return call


def test_what_is_printed_can_be_applied(run: Callable[..., Called]) -> None:
    result = run("--namespace", "kubeflow", "--profile", "small")
    assert result.exit_code == 0, result.output
    kinds = [one["kind"] for one in yaml.safe_load_all(result.stdout)]
    assert kinds == ["ServiceAccount", "Role", "RoleBinding", "PersistentVolumeClaim", "NetworkPolicy", "NetworkPolicy"]


def test_a_namespace_in_which_no_run_takes_place_is_one_line(run: Callable[..., Called]) -> None:
    result = run("--namespace", "elsewhere")
    assert result.exit_code == 2
    assert "single-user" in result.output
    assert "Traceback" not in result.output


@pytest.fixture
def kubectl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A kubectl that knows the namespace kubeflow and, perhaps the claim; keeps what it is given."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = folder / "kubectl"
    program.write_text(
        f"""#!/bin/sh
echo "$@" >> {tmp_path}/calls
case "$1 $2" in
  "get namespace") [ "$3" = kubeflow ] && echo namespace/kubeflow; exit 0 ;;
  "get persistentvolumeclaim") [ -e {tmp_path}/claim ] && echo "$2/$3"; exit 0 ;;
  "apply --namespace") cat > {tmp_path}/applied
    [ -e {tmp_path}/refuse ] && {{ echo "forbidden: you may not" >&2; exit 1; }}
    echo applied ;;
esac
"""
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin:/bin")
    return tmp_path


def applied(kubectl: Path) -> list[str]:
    return [one["kind"] for one in yaml.safe_load_all((kubectl / "applied").read_text())]


def test_apply_hands_everything_to_kubectl(run: Callable[..., Called], kubectl: Path) -> None:
    result = run("--namespace", "kubeflow", "--apply")
    assert result.exit_code == 0, result.output
    assert "PersistentVolumeClaim" in applied(kubectl)
    assert "Role" in applied(kubectl)


def test_a_claim_that_is_there_is_left_as_it_is(run: Callable[..., Called], kubectl: Path) -> None:
    (kubectl / "claim").touch()
    result = run("--namespace", "kubeflow", "--apply")
    assert result.exit_code == 0, result.output
    assert "PersistentVolumeClaim" not in applied(kubectl)
    assert "left as it is" in result.output


def test_a_namespace_that_is_not_there_is_not_made(run: Callable[..., Called], kubectl: Path) -> None:
    result = run("--namespace", "team", "--multi-user", "--apply")
    assert result.exit_code == 2
    assert "no namespace 'team'" in result.output
    assert not (kubectl / "applied").exists()


def test_what_kubectl_refuses_is_one_line(run: Callable[..., Called], kubectl: Path) -> None:
    (kubectl / "refuse").touch()
    result = run("--namespace", "kubeflow", "--apply")
    assert result.exit_code == 1
    assert "kubectl apply failed: forbidden: you may not" in result.output


def test_without_kubectl_the_other_way_is_named(
    run: Callable[..., Called], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    result = run("--namespace", "kubeflow", "--apply")
    assert result.exit_code == 1
    assert "without --apply" in result.output


def test_manifests_and_pipelines_speak_of_the_same_things() -> None:
    config = PipelineConfig.load()
    manifests = render(installation_of(config, namespace="kubeflow", secret_store="store"))
    there = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    assert config.workspace is not None
    assert ("PersistentVolumeClaim", config.workspace.claim) in there
    assert ("ServiceAccount", config.service.service_account) in there
    assert {("ExternalSecret", secret.name) for secret in config.secrets} <= there


@pytest.mark.parametrize(("profile", "file"), [("small", SMALL), ("production", DEFAULT_CONFIG)])
def test_the_quota_admits_what_the_pipelines_ask_for(profile: str, file: Path) -> None:
    config = PipelineConfig.load(file)
    chosen = {"namespace": "team", "multi_user": True, "dedicated": True, "profile": profile}
    manifests = render(installation_of(config, **chosen))
    quota = next(one for one in manifests if one["kind"] == "ResourceQuota")["spec"]["hard"]
    share = config.task("precompute_embeddings")
    assert config.parallelism * float(share.cpu.limit) <= float(quota["limits.cpu"])
    assert config.parallelism * gibibytes(share.memory.limit) <= gibibytes(quota["limits.memory"])
    gpus = share.accelerator.count if share.accelerator is not None else 0
    assert config.parallelism * gpus <= int(quota["requests.nvidia.com/gpu"])


def test_the_small_configuration_fits_a_laptops_cluster(tmp_path: Path) -> None:
    """Two shards at once and what runs beside them, on four cores and 8 GiB, of which Kubeflow has half."""
    from typing import get_args

    from pipelines.compiling import compile_to
    from pipelines.config import TaskName

    config = PipelineConfig.load(SMALL)
    assert (config.shards, config.distributed, config.data.repository) == (2, None, "")
    for name in get_args(TaskName):
        task = config.task(name)
        assert (task.image, task.accelerator, task.shared_memory, task.tolerations) == ("cpu", None, None, ())
        assert float(task.cpu.request.removesuffix("m")) <= 250
        assert gibibytes(task.memory.request) * (config.parallelism + 2) <= 4
    assert compile_to(tmp_path, config)
    own = {name: config.task(name).cache for name in config.tasks}
    assert own == {name: PipelineConfig.load().task(name).cache for name in own}


def gibibytes(quantity: str) -> float:
    return float(quantity[:-2]) * GIBI[quantity[-2:]]

"""A run of the check as it is followed: states from Kubeflow, pods and logs from the cluster over HTTP."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.probing.findings import Finding
from pipelines.check import command, watching
from pipelines.check.watching import RunPods, expected, subject_of, table, watch
from pipelines.cli import app
from pipelines.config import DEFAULT_CONFIG, PipelineConfig

RUN = "9523e389-cba0-43a9-a4a1-94b03aa5c57f"
SMALL = DEFAULT_CONFIG.with_name("small.yaml")


def pod(task: str, phase: str, *, waiting: tuple[str, str] | None = None, attempt: int = 0) -> dict[str, Any]:
    node = f"check-abc(0).root(0).exit-handler-1(0).{task}(0).executor({attempt})"
    state = {"waiting": {"reason": waiting[0], "message": waiting[1]}} if waiting else {}
    return {
        "metadata": {
            "name": f"{task}-{attempt}",
            "labels": {"pipeline/runid": RUN},
            "annotations": {"workflows.argoproj.io/node-name": node},
        },
        "status": {"phase": phase, "containerStatuses": [{"name": "main", "state": state}]},
    }


def line(subject: str, state: str = "ok", text: str = "fine", remedy: str = "") -> bytes:
    found = {"subject": subject, "state": state, "text": text, "remedy": remedy}
    return f"QURE-CHECK {json.dumps(found)}\n".encode()


@pytest.fixture
def pods(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> RunPods:
    from kubernetes import config

    config.load_kube_config()
    return RunPods("kubeflow", RUN)


def found(pods: RunPods, state: str, file: Path = SMALL) -> dict[str, Finding]:
    subjects = expected(PipelineConfig.load(file))
    return {one.subject: one for one in table(subjects, state, pods, account="qure-runner")}


def test_findings_are_read_from_the_logs_of_pods_that_have_ended(cluster: Any, pods: RunPods) -> None:
    subjects = expected(PipelineConfig.load(SMALL))
    cluster.pods = [pod("probe-surroundings", "Running"), pod("probe-end", "Succeeded")]
    cluster.logs = {("probe-end-0", False): [line("exit handler")]}
    pods.look()
    assert list(pods.findings) == ["exit handler"]
    cluster.pods = [pod("probe-surroundings", "Succeeded"), pod("probe-end", "Succeeded")]
    cluster.logs = {("probe-surroundings-0", False): [b"noise\n", *map(line, subjects)]}
    pods.look()
    assert {one.state for one in found(pods, "succeeded").values()} == {"ok"}


def test_a_claim_that_is_missing_is_told_by_the_pod_that_waits_for_it(cluster: Any, pods: RunPods) -> None:
    waits = pod("probe-mounted", "Pending")
    message = 'persistentvolumeclaim "qure-workspace" not found'
    waits["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    ]
    cluster.pods = [waits]
    pods.look()
    finding = found(pods, "running")["workspace"]
    assert finding.state == "failed"
    assert message in finding.text
    assert "qure-pipelines install" in finding.remedy


def test_an_image_that_cannot_be_pulled_is_told(cluster: Any, pods: RunPods) -> None:
    cluster.pods = [pod("probe-surroundings", "Pending", waiting=("ImagePullBackOff", "x: not found"))]
    pods.look()
    assert "ImagePullBackOff" in found(pods, "running")["rights"].text


def test_a_run_that_fails_before_its_first_task_lacks_rights(pods: RunPods) -> None:
    """Recorded: a binding to another namespace fails the first driver; the run's error is empty."""
    pods.look()
    finding = found(pods, "failed")["rights"]
    assert "service account qure-runner has no rights in kubeflow" in finding.text
    assert "install --namespace kubeflow" in finding.remedy


def test_one_attempt_is_told_by_the_silence_of_the_second(cluster: Any, pods: RunPods) -> None:
    cluster.pods = [pod("probe-surroundings", "Succeeded"), pod("probe-attempts", "Failed")]
    cluster.logs = {("probe-surroundings-0", False): [line("MLflow")], ("probe-attempts-0", False): [b"on purpose\n"]}
    pods.look()
    finding = found(pods, "failed")["retries"]
    assert finding.text == "a command that fails is not tried again"
    assert "docs/runbook.md" in finding.remedy


def test_what_is_asked_last_is_not_blamed_for_what_came_before(cluster: Any, pods: RunPods) -> None:
    """A GPU that no node has holds the attempts and the exit handler up: nothing is known of either."""
    waits = pod("probe-accelerator", "Pending")
    message = "0/1 nodes are available: 1 Insufficient nvidia.com/gpu."
    waits["status"]["conditions"] = [
        {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    ]
    cluster.pods = [pod("probe-surroundings", "Succeeded"), waits]
    first = [one for one in expected(PipelineConfig.load()) if one not in ("GPU", "retries", "exit handler")]
    cluster.logs = {("probe-surroundings-0", False): [line(one) for one in first]}
    pods.look()
    rows = found(pods, "running", DEFAULT_CONFIG)
    assert [one for one, row in rows.items() if row.state == "failed"] == ["GPU"]
    assert rows["retries"].text == rows["exit handler"].text == "not reached: mend first GPU"
    ended = found(pods, "failed", DEFAULT_CONFIG)
    assert ended["retries"].state == "skipped", "no attempt has been made that could have failed"
    assert ended["exit handler"].state == "failed", "it should have run"


def test_silence_is_a_failure(pods: RunPods) -> None:
    pods.look()
    assert {one.state for one in found(pods, "succeeded").values()} == {"failed"}


def test_without_pods_nothing_is_claimed() -> None:
    (finding,) = table(["rights"], "succeeded", None, account="x")
    assert finding.state == "failed"
    assert "QURE-CHECK" in finding.text


def test_pods_that_may_not_be_seen_do_not_end_the_check(cluster: Any, pods: RunPods, caplog: Any) -> None:
    cluster.fail["GET", "/pods"] = [(403, "pods is forbidden")]
    pods.look()
    assert "pods is forbidden" in caplog.text
    (finding,) = found(pods, "failed").values()
    assert "cannot be seen" in finding.text, "nothing is known of the account's rights"
    assert "list pods" in finding.remedy


def test_a_log_that_may_not_be_read_is_said_and_one_that_is_away_is_read_later(cluster: Any, pods: RunPods) -> None:
    cluster.pods = [pod("probe-end", "Succeeded")]
    cluster.logs = {("probe-end-0", False): [line("exit handler")]}
    cluster.fail["GET", "/log"] = [(403, "pods/log is forbidden"), (0, ""), (503, "away"), (0, "")]
    pods.look()
    (finding,) = found(pods, "failed").values()
    assert "pods/log is forbidden" in finding.text
    while not pods.findings:
        pods.look()
    assert found(pods, "succeeded")["exit handler"].state == "ok"


@pytest.mark.parametrize("status", [400, 404])
def test_a_container_that_never_began_is_asked_for_its_log_once(cluster: Any, pods: RunPods, status: int) -> None:
    cluster.pods = [pod("probe-end", "Failed")]
    cluster.fail["GET", "/log"] = [(status, "waiting to start")]
    pods.look()
    cluster.logs = {("probe-end-0", False): [line("exit handler")]}
    pods.look()
    assert (pods.findings, pods.unseen, pods.ended) == ({}, "", {"exit handler"})


def test_without_a_kubeconfig_the_runs_state_is_all_there_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    assert command._pods(PipelineConfig.load(SMALL), RUN) is None
    assert capsys.readouterr().err == "no kubeconfig: only the run's state can be shown\n"


def test_drivers_belong_to_no_probe() -> None:
    driver = pod("probe-end", "Running")
    driver["metadata"]["annotations"]["workflows.argoproj.io/node-name"] = "c(0).root(0).probe-end-driver(0)"
    assert subject_of(driver) is None
    assert subject_of(pod("probe-end", "Running")) == "exit handler"


def test_watching_ends_with_the_run_or_its_time() -> None:
    states = iter(["PENDING", "RUNNING", "SUCCEEDED"])
    assert watch(lambda: next(states), None, poll_seconds=0) == "succeeded"
    assert watch(lambda: "running", None, seconds=0, poll_seconds=0) == "running"


def test_what_is_expected_follows_the_configuration() -> None:
    assert "GPU" not in expected(PipelineConfig.load(SMALL))
    whole = yaml.safe_load(DEFAULT_CONFIG.read_text())
    whole["distributed"] = {"nodes": 2}
    subjects = expected(PipelineConfig.model_validate(whole))
    assert {"GPU", "TrainJob", "workspace", "secret qure-storage"} <= set(subjects)
    small = yaml.safe_load(SMALL.read_text())
    small["defaults"]["accelerator"] = {"type": "nvidia.com/gpu"}
    assert "GPU" in expected(PipelineConfig.model_validate(small)), "of the defaults, too"
    whole |= {"distributed": None, "workspace": None}
    assert not {"claim", "workspace", "TrainJob"} & set(expected(PipelineConfig.model_validate(whole)))


class Service:
    """A Kubeflow whose run ends as told."""

    namespace = None

    def __init__(self, state: str) -> None:
        self.state, self.stopped = state, False

    def status(self, name: str, *, runs: int) -> dict[str, Any]:
        return {"runs": [{"state": self.state}]}

    def stop(self, name: str) -> None:
        self.stopped = True


@pytest.mark.parametrize("state", ["SUCCEEDED", "RUNNING"])
def test_the_command_prints_a_table_and_says_what_to_change(
    state: str,
    pods: RunPods,
    cluster: Any,
    config_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    service = Service(state)
    subjects = expected(PipelineConfig.load(config_file))
    monkeypatch.setattr(command, "_started", lambda settings: (service, "check-1", RUN))
    monkeypatch.setattr(watching, "SECONDS", 0.0)
    monkeypatch.setattr(watching.watch, "__kwdefaults__", {"seconds": 0.0, "poll_seconds": 0.0})
    cluster.pods = [pod("probe-surroundings", "Succeeded")]
    lines = [line(one) for one in subjects if one != "MLflow"]
    cluster.logs = {("probe-surroundings-0", False): [*lines, line("MLflow", "failed", "no route", "Open the route")]}
    with pytest.raises(SystemExit) as end:
        app(["check", "--config", str(config_file)])
    said = capsys.readouterr()
    assert end.value.code == 1
    told = said.out.splitlines()
    (number,) = [number for number, one in enumerate(told) if "no route" in one]
    assert told[number + 1].split() == ["->", "Open", "the", "route"]
    assert f"1 of {len(subjects) + 1} checks failed: MLflow" in said.err
    assert service.stopped == (state == "RUNNING")


def test_an_api_that_does_not_answer_is_the_first_line(
    config_file: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(SystemExit) as end:
        app(["check", "--config", str(config_file)])
    assert end.value.code == 1
    assert capsys.readouterr().out.startswith("API  failed")

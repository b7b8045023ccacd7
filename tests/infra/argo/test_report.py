"""What is told of a run's end, read through the real Kubernetes client from a server that answers as recorded."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml

from infra.argo.cluster import Cluster, error_line
from infra.argo.report import links_to_mlflow, outcome
from infra.argo.workflow import ending
from qure.errors import StageFailed

POD = "probe-exit-bad-f4nhd-system-container-impl-3801720876"
PAGES = {"kubeflow": "https://kubeflow.test/pipeline/", "mlflow": "https://mlflow.test"}
LOG = """I1127 08:07:26.100000       1 launcher_v2.go:100] publishing logs
INFO qure.tracking.runs: MLflow: evaluate is run 0a1b in run 2c3d of experiment 7
error: data/captions.json, row 3, field 'target': no such image
F1127 08:07:27.100000       1 main.go:60] failed to execute component: exit status 1
"""


class Kubernetes:
    """A cluster with what it is given; `failures` are answered first."""

    def __init__(self) -> None:
        self.workflows: dict[str, Any] = {}
        self.logs: dict[str, str] = {}
        self.failures: list[int] = []
        self.asked: list[str] = []
        cluster = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                cluster.asked.append(path)
                name = path.removesuffix("/log").rsplit("/", 1)[-1]
                where: dict[str, Any] = cluster.logs if path.endswith("/log") else cluster.workflows
                status = cluster.failures.pop(0) if cluster.failures else 200 if name in where else 404
                value = where[name] if status == 200 else {"kind": "Status", "code": status}
                body = value.encode() if isinstance(value, str) else json.dumps(value).encode()
                self.send_response(status)
                self.send_header("Content-Type", "text/plain" if isinstance(value, str) else "application/json")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments: Any) -> None:
                """Quiet."""

        self.server = HTTPServer(("127.0.0.1", 0), Handler)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Kubernetes]:
    import kubernetes.config.kube_config

    made = Kubernetes()
    threading.Thread(target=made.server.serve_forever, args=(0.01,), daemon=True).start()
    address = f"http://127.0.0.1:{made.server.server_port}"
    file = tmp_path / "kubeconfig"
    context = {"name": "test", "context": {"cluster": "test", "user": "test"}}
    clusters = [{"name": "test", "cluster": {"server": address}}]
    users = [{"name": "test", "user": {}}]
    file.write_text(
        yaml.safe_dump({"clusters": clusters, "users": users, "contexts": [context], "current-context": "test"})
    )
    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(file))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("QURE_WORKFLOW", "probe-exit-bad-f4nhd")
    monkeypatch.setenv("QURE_NAMESPACE", "team-a")
    monkeypatch.setenv("QURE_PIPELINE_RUN", "9523e389")
    yield made
    made.server.shutdown()
    made.server.server_close()


def test_task_pod_reason_and_links_are_told(cluster: Kubernetes, failed: Callable[..., dict[str, Any]]) -> None:
    cluster.workflows["probe-exit-bad-f4nhd"] = failed()
    cluster.logs[POD] = LOG
    told = outcome("qure-training", "cirr", "FAILED", "", PAGES)
    assert told.state == "FAILED"
    assert "FAILED after" in told.text
    assert told.text.endswith("fail: error: data/captions.json, row 3, field 'target': no such image")
    (task,) = told.tasks
    assert (task.task, task.message, task.pod) == ("fail", "main: Error (exit code 1)", POD)
    assert told.links == {
        "run": "https://kubeflow.test/pipeline/#/runs/details/9523e389",
        "mlflow": "https://mlflow.test/#/experiments/7/runs/2c3d",
        "report": "https://mlflow.test/#/experiments/7/runs/0a1b/artifacts",
    }
    assert cluster.asked[0] == "/apis/argoproj.io/v1alpha1/namespaces/team-a/workflows/probe-exit-bad-f4nhd"


def test_without_the_pods_log_the_platforms_words_are_told(
    cluster: Kubernetes, failed: Callable[..., dict[str, Any]]
) -> None:
    """Killed for memory: nothing of its own could say why, and Kubeflow says RUNNING."""
    cluster.workflows["probe-exit-bad-f4nhd"] = failed("main: OOMKilled (exit code 137)")
    told = outcome("qure-training", "cirr", "RUNNING", "", {})
    assert (told.state, told.message) == ("OUT OF MEMORY", "fail: main: OOMKilled (exit code 137)")
    assert told.links == {}


def test_a_success_that_kubeflow_calls_running(cluster: Kubernetes, failed: Callable[..., dict[str, Any]]) -> None:
    cluster.workflows["probe-exit-bad-f4nhd"] = failed("", "Succeeded")
    told = outcome("qure-training", "cirr", "RUNNING", "", {})
    assert (told.state, told.message, told.tasks) == ("SUCCEEDED", "", ())


@pytest.mark.parametrize(("status", "state"), [("COMPLETE", "SUCCEEDED"), ("FAILED", "FAILED"), ("RUNNING", "UNKNOWN")])
def test_a_workflow_that_cannot_be_read_is_said(
    cluster: Kubernetes, status: str, state: str, caplog: pytest.LogCaptureFixture
) -> None:
    cluster.failures = [403]
    with caplog.at_level(logging.WARNING):
        told = outcome("qure-training", "cirr", status, "", {})
    assert told.state == state
    assert "403" in told.message
    assert "`qure-pipelines install`" in told.message


def test_an_api_that_is_away_for_a_moment_is_asked_again(
    cluster: Kubernetes, failed: Callable[..., dict[str, Any]], caplog: pytest.LogCaptureFixture
) -> None:
    cluster.workflows["probe-exit-bad-f4nhd"] = failed()
    cluster.failures = [503]
    assert outcome("qure-training", "cirr", "RUNNING", "", {}).state == "FAILED"
    assert "trying again" in caplog.text


def test_a_cluster_that_does_not_answer_is_said(cluster: Kubernetes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_PATIENCE_SECONDS", "0")
    reader = Cluster("team-a")
    cluster.server.shutdown()
    cluster.server.server_close()
    with pytest.raises(StageFailed, match=r"Workflow 'x' cannot be read: .*refused"):
        reader.workflow("x")


def test_a_log_that_is_gone_hides_no_other_tasks_run(cluster: Kubernetes, recorded: Any) -> None:
    workflow = recorded("training-compressed-nodes")
    cluster.workflows["x"] = workflow
    found = ending(workflow)
    last, before = [task.pod for task in found.tasks if task.pod and not task.is_handler][:-3:-1]
    cluster.logs[before] = LOG
    links = links_to_mlflow(found, Cluster("team-a"), PAGES)
    assert links == {
        "mlflow": "https://mlflow.test/#/experiments/7/runs/2c3d",
        "report": "https://mlflow.test/#/experiments/7/runs/0a1b/artifacts",
    }
    assert any(last in path for path in cluster.asked), "it was asked for first"


def test_no_credentials_are_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import kubernetes.config.kube_config

    monkeypatch.setattr(kubernetes.config.kube_config, "KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    with pytest.raises(StageFailed, match="no credentials for the cluster"):
        Cluster("team-a")


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], ""),
        (["INFO qure: all is well"], ""),
        (["Traceback (most recent call last):", "  x()", "KeyError: 'target'"], "KeyError: 'target'"),
        (
            ["torch.OutOfMemoryError: CUDA out of memory. Tried", "to allocate"],
            "torch.OutOfMemoryError: CUDA out of memory. Tried",
        ),
        (["error: one", "error: two", "F1127 08:07:27.100000 1 main.go:60] exit status 1"], "error: two"),
        (
            ["INFO qure: done", "F1127 08:07:27.100000       1 main.go:60] failed to upload: 503"],
            "failed to upload: 503",
        ),
        (["F1127 08:07:27.100000       1 main.go:60] failed to execute component: exit status 1"], ""),
        (["I1127 08:07:27.100000       1 main.go:60] failed to look, will look again"], ""),
    ],
)
def test_the_line_that_says_why(lines: list[str], told: str) -> None:
    assert error_line(lines) == told

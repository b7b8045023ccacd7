"""A cluster over HTTP, and the adapter that talks to it with the real Kubernetes client."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import yaml


@pytest.fixture(scope="session")
def cluster_api() -> ModuleType:
    """The module of the stand-in: tests are no package, so it is loaded by its path."""
    name = "qure_tests_cluster_api"
    if name not in sys.modules:
        spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("trainer") / "cluster_api.py")
        assert spec is not None
        assert spec.loader is not None
        sys.modules[name] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[name])
    return sys.modules[name]


@pytest.fixture
def cluster(cluster_api: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A running cluster that a kubeconfig leads to; its namespace is kubeflow. Unknown requests fail the test."""
    state = cluster_api.ClusterApi()
    with cluster_api.serve(state) as address:
        file = tmp_path / "kubeconfig"
        file.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "v1",
                    "kind": "Config",
                    "clusters": [{"name": "c", "cluster": {"server": address}}],
                    "users": [{"name": "u", "user": {"token": "t"}}],
                    "contexts": [{"name": "x", "context": {"cluster": "c", "user": "u", "namespace": "kubeflow"}}],
                    "current-context": "x",
                }
            )
        )
        monkeypatch.setenv("KUBECONFIG", str(file))
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(file))
        monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
        yield state
    assert state.unknown == []


@pytest.fixture
def jobs(cluster: Any) -> Any:
    """The real adapter."""
    from infra.trainer.cluster import ClusterTrainJobs

    return ClusterTrainJobs()

"""Fixtures of the pipelines' tests."""

import importlib.util
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
import yaml

REAL_IMAGE = "registry.test/qure@sha256:" + "a" * 64


@pytest.fixture(scope="session", autouse=True)
def _quick_compiling() -> Iterator[None]:
    """kfp looks its caller's name up with `inspect.stack()`, once for every setting of every task.

    That reads the source of each frame, and under pytest there are sixty: a pipeline took 8 CPU-s instead of 0.4.
    And compiled pipelines are read many times, by kfp and by tests: by libyaml a tenth of a second instead of one.
    """
    import kfp.dsl.pipeline_task

    def nearest() -> list[tuple[Any, ...]]:
        here = sys._getframe(1)
        return [(one, one.f_code.co_filename, one.f_lineno, one.f_code.co_name) for one in (here, here.f_back) if one]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(kfp.dsl.pipeline_task, "inspect", SimpleNamespace(stack=nearest))
        patch.setattr(yaml, "SafeLoader", getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        yield


#: Helpers that import each other under the names that `_module` gives them; they hold no doctests.
collect_ignore = ["kfp_api.py", "kfp_checks.py", "kfp_operations.py"]


def _module(name: str) -> ModuleType:
    """A helper module of this folder: tests are no package, so it is loaded by its path."""
    full = f"qure_tests_{name}"
    if full not in sys.modules:
        spec = importlib.util.spec_from_file_location(full, Path(__file__).with_name(f"{name}.py"))
        assert spec is not None
        assert spec.loader is not None
        sys.modules[full] = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(sys.modules[full])
    return sys.modules[full]


@pytest.fixture
def kfp_api() -> ModuleType:
    """The module of the stand-in for the Kubeflow Pipelines API."""
    for name in ("kfp_checks", "kfp_operations"):  # which it imports by these names
        _module(name)
    return _module("kfp_api")


@pytest.fixture(scope="session")
def recordings() -> Path:
    """Answers of a real Kubeflow Pipelines 2.17.0, without pipeline specs, stack traces and plugins' output."""
    return Path(__file__).with_name("recordings")


@pytest.fixture
def api(kfp_api: ModuleType, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Any]:
    """A running stand-in that the client finds; the test fails when any request was refused."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = kfp_api.PipelinesApi(token="sentinel-token")
    with kfp_api.serve(server) as address:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", address)
        monkeypatch.setenv("KF_PIPELINES_TOKEN", "sentinel-token")
        yield server
    assert server.refusals == []


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    """The project's configuration with images that are not examples."""
    from pipelines.config import DEFAULT_CONFIG

    values = yaml.safe_load(DEFAULT_CONFIG.read_text())
    values["images"] = {"cpu": REAL_IMAGE, "cuda": REAL_IMAGE}
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(values))
    return file


@pytest.fixture
def params_file(tmp_path: Path) -> Path:
    file = tmp_path / "params.yaml"
    file.write_text("training:\n  fashioniq: {recipe: catalogue}\n  cirr: {recipe: catalogue}\n")
    return file

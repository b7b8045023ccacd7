"""Fixtures of the client's tests: a service against the stand-in, a compiled pipeline, its version."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.client import PipelinesService, Version
from pipelines.compiling import compile_one
from pipelines.config import PipelineConfig, Service


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_one("training", PipelineConfig.load(), tmp_path_factory.mktemp("package") / "training.yaml")


@pytest.fixture
def service(api: Any) -> PipelinesService:
    return PipelinesService(Service(experiment="tests", service_account="qure-runner"))


@pytest.fixture
def version(service: PipelinesService, package: Path) -> Version:
    return service.upload(package)

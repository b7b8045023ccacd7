"""The built image (QURE_TEST_IMAGE): who it runs as, what is in it, what it says of itself."""

import json
import os
from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.containers

IMAGE = os.environ.get("QURE_TEST_IMAGE", "")


@pytest.fixture(scope="module")
def client() -> Any:
    if not (os.environ.get("DOCKER_HOST") and IMAGE):
        pytest.skip("needs a container engine: set DOCKER_HOST and QURE_TEST_IMAGE")
    import docker

    return docker.from_env()


@pytest.fixture(scope="module")
def sh(client: Any) -> Callable[..., str]:
    def run(*command: str) -> str:
        container = client.containers.create(IMAGE, list(command))
        try:
            container.start()
            status = container.wait()["StatusCode"]
            output = container.logs(stdout=True, stderr=True).decode()
            assert status == 0, output
            return output
        finally:
            container.remove(force=True)

    return run


def test_it_runs_as_an_ordinary_user(sh: Callable[..., str], client: Any) -> None:
    from pipelines.placement import USER

    assert sh("id", "-u").strip() == str(USER)
    assert client.images.get(IMAGE).attrs["Config"]["User"] == f"{USER}:{USER}"


def test_everything_that_a_component_imports_is_there(sh: Callable[..., str]) -> None:
    modules = "components.runtime, infra.trainer.launch, pipelines.cli, qure.cli, kfp.dsl.executor_main, torch, mlflow"
    assert sh("python3", "-c", f"import {modules}; print('imported')").strip().endswith("imported")


def test_the_command_line_answers(sh: Callable[..., str]) -> None:
    assert "promote" in sh("qure", "--help")
    assert "compile" in sh("qure-pipelines", "--help")


def test_labels_say_what_it_is(client: Any) -> None:
    labels = client.images.get(IMAGE).labels
    assert labels["org.opencontainers.image.title"] == "qure"
    assert {"org.opencontainers.image.revision", "org.opencontainers.image.licenses", "qure.lock"} <= labels.keys()


def test_the_bill_of_materials_names_what_is_installed(sh: Callable[..., str]) -> None:
    bill = json.loads(sh("cat", "/usr/share/qure/sbom.cdx.json"))
    assert bill["bomFormat"] == "CycloneDX"
    named = {one["name"].lower().replace("_", "-") for one in bill["components"] if "pkg:pypi" in one.get("purl", "")}
    script = "import importlib.metadata as m; print('\\n'.join(d.metadata['Name'] for d in m.distributions()))"
    installed = {name.lower().replace("_", "-") for name in sh("python3", "-c", script).split()}
    assert {"torch", "mlflow", "kfp", "dvc"} <= installed
    assert installed - named <= {"qure"}  # installed from a file: it has no address in a package index
    assert any(one.get("purl", "").startswith("pkg:deb/debian/libc6@") for one in bill["components"])


def test_nothing_of_the_build_is_left_inside(sh: Callable[..., str]) -> None:
    assert sh("sh", "-c", "ls -d /build /dist /opt/sbom /root/.cache 2>/dev/null; true") == ""


def test_bytecode_is_there_and_holds_no_time(sh: Callable[..., str]) -> None:
    """Without it each task spends most of its start compiling; with time stamps two builds would differ."""
    script = "import qure.errors, struct; print(struct.unpack('<I', open(qure.errors.__cached__, 'rb').read(8)[4:])[0])"
    assert sh("python3", "-c", script).strip() == "1"  # hash-based, unchecked (PEP 552)

"""The image of one version (infra/images/Serving.Containerfile): built in a container engine, asked inside."""

import base64
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.registry.packaging import Example, package

pytestmark = pytest.mark.containers

IMAGE = os.environ.get("QURE_TEST_IMAGE", "")
CONTAINERFILE = Path(__file__).resolve().parents[3] / "infra" / "images" / "Serving.Containerfile"
#: Run inside the container: as it may be the only place that reaches its port.
ASK = """
import sys, urllib.error, urllib.request
body = sys.stdin.buffer.read() if len(sys.argv) > 2 else None
asked = urllib.request.Request("http://127.0.0.1:8080" + sys.argv[1], body, {"Content-Type": "application/json"})
try:
    print(urllib.request.urlopen(asked, timeout=60).read().decode())
except urllib.error.HTTPError as refused:
    sys.exit(refused.read().decode())
"""


@pytest.fixture
def engine() -> Any:
    if not (os.environ.get("DOCKER_HOST") and IMAGE):
        pytest.skip("needs a container engine: set DOCKER_HOST and QURE_TEST_IMAGE")
    import docker

    return docker.from_env()


def test_an_image_of_a_version_answers_as_an_ordinary_user(
    engine: Any, served: Callable[..., Any], tmp_path: Path
) -> None:
    made = served("fashioniq")
    picture = min((made.data / "fashioniq" / "images").iterdir())
    package(
        tmp_path / "package",
        model=made.model,
        gallery=made.gallery,
        example=Example(picture.read_bytes(), "is blue"),
        facts={},
    )
    tag = f"qure-test-serving:{os.getpid()}"
    # Not every engine behind this API takes a file outside the context, as `docker build --file` does.
    shutil.copy(CONTAINERFILE, tmp_path / "package")
    engine.images.build(
        path=str(tmp_path / "package"), dockerfile=CONTAINERFILE.name, buildargs={"QURE_IMAGE": IMAGE}, tag=tag
    )
    container = engine.containers.create(tag)
    try:
        container.start()
        _wait(container)
        user = container.exec_run(["id", "-u"]).output.decode().strip()
        question = {"reference": base64.b64encode(picture.read_bytes()).decode(), "text": "is blue", "top_k": 5}
        body = json.dumps({"dataframe_records": [question]})
        asking = f"printf %s '{body}' | python3 -c '{ASK}' /invocations body"
        status, output = container.exec_run(["sh", "-c", asking])
        assert status == 0, output.decode()
    finally:
        container.remove(force=True)
        engine.images.remove(tag, force=True)
    (answer,) = json.loads(output)["predictions"]
    assert user == "10001"
    assert len(answer["ids"]) == len(answer["scores"]) == 5
    assert set(answer["ids"]) <= {file.stem for file in picture.parent.iterdir()}


def _wait(container: Any) -> None:
    deadline = time.monotonic() + 300
    while container.exec_run(["python3", "-c", ASK, "/ping"]).exit_code:
        container.reload()
        assert container.status == "running", container.logs(tail=5).decode()
        assert time.monotonic() < deadline, container.logs(tail=5).decode()
        time.sleep(1)

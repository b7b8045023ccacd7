"""docs/runbook.md, "Serve the champion": its two commands, as they stand there, on a model that was trained here."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from qure.registry.packaging import Example, package

RUNBOOK = Path(__file__).resolve().parents[3] / "docs" / "runbook.md"


@pytest.mark.integration
def test_the_commands_of_the_runbook_serve_a_model_and_ask_it(
    served: Callable[..., object], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if shutil.which("curl") is None:
        pytest.skip("needs curl")
    serving, asking = _commands()
    made = served("fashioniq")
    picture = min((made.data / "fashioniq" / "images").iterdir())  # type: ignore[attr-defined]
    package(
        tmp_path / "package",
        model=made.model,  # type: ignore[attr-defined]
        gallery=made.gallery,  # type: ignore[attr-defined]
        example=Example(picture.read_bytes(), "is blue"),
        facts={},
    )
    Image.open(picture).convert("RGB").save(tmp_path / "dress.jpg")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "MLFLOW_TRACKING_URI": f"sqlite:///{tmp_path}/none.db"}
    command = serving.replace("models:/qure-fashioniq@champion", str(tmp_path / "package")).replace("5002", port)
    with (tmp_path / "server.log").open("wb") as log:
        server = subprocess.Popen(
            ["bash", "-c", command], env=environment, cwd=tmp_path, stdout=log, stderr=log, start_new_session=True
        )
    try:
        _wait(port, server, tmp_path / "server.log")
        done = subprocess.run(
            ["bash", "-c", asking.replace("5002", port)],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        os.killpg(server.pid, signal.SIGKILL)
        server.wait()
    (answer,) = json.loads(done.stdout)["predictions"]
    assert len(answer["ids"]) == len(answer["scores"]) == 5
    images = {file.stem for file in picture.parent.iterdir()}
    assert set(answer["ids"]) <= images


def _commands() -> tuple[str, str]:
    """The command that serves and the one that asks."""
    text = RUNBOOK.read_text(encoding="utf-8").split("\n## Serve the champion\n")[1].split("\n## ")[0]
    blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    (serving,) = (line for block in blocks for line in block.splitlines() if line.startswith("mlflow models serve"))
    (asking,) = (block for block in blocks if "curl" in block and block.startswith("printf"))
    return serving, asking


def _wait(port: str, server: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + 300
    while True:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

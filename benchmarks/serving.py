"""A model behind `mlflow models serve`: how long an answer takes, and how much memory the server has.

    python -m benchmarks.serving [--scale 1.0] [--requests 100] [--clients 4] [--large 8]

Renders the catalogue, packages a model of the demo's size with its gallery (untrained: weights cost the same), and
serves it with one worker. Asks one query after the other, then from several clients at once, then with images that are
too large: baseline JPEGs, of which a part of the pixels is decoded, and PNGs that are refused. Writes
results/serving.json: seconds until it answers, of an answer, answers a second, memory of all of the server's processes.
"""

import argparse
import base64
import io
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

from benchmarks.common import write_result
from qure.catalogue.stage import render
from qure.config import Settings
from qure.models.build import build_catalogue_model
from qure.registry.packaging import Example, package
from qure.serving.gallery import write_gallery
from qure.tracking.connection import quiet_environment

TEXT = "is blue and longer"
#: Sides in pixels: 24 million, and what the server refuses.
LARGE, TOO_LARGE = (6000, 4000), (7900, 7900)
PATIENCE = 300.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", type=float, default=1.0, help="of the catalogue")
    parser.add_argument("--requests", type=int, default=100)
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--large", type=int, default=8, help="requests with each kind of large image")
    options = parser.parse_args()
    quiet_environment()
    with tempfile.TemporaryDirectory() as scratch:
        folder, pictures = packaged(Path(scratch), options.scale)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
        begun = time.perf_counter()
        server = started(folder, port)
        try:
            wait(server, port)
            ready = time.perf_counter() - begun
            print(write_result("serving", {"ready_seconds": ready, **measured(server, port, pictures, options)}))
        finally:
            stop(server)


def packaged(scratch: Path, scale: float) -> tuple[Path, list[Path]]:
    """The package's folder, and reference images to ask it about."""
    settings = Settings.model_validate(
        {"catalogue": {"scale": scale}, "training": {"fashioniq": {"recipe": "catalogue"}}, "tracking": {"uri": None}}
    )
    data, model, gallery = scratch / "data", scratch / "model", scratch / "gallery"
    render(settings, data)
    captions = [row["caption"] for row in json.loads((data / "pretraining" / "captions.json").read_text())]
    build_catalogue_model(settings.backbone, captions, seed=0).save(model, notes={"training": "fashioniq"})
    gallery.mkdir()
    write_gallery(settings, "fashioniq", gallery, data=data, model=model, features=None, validation=None, device="cpu")
    pictures = sorted((data / "fashioniq" / "images").iterdir())
    example = Example(pictures[0].read_bytes(), TEXT)
    package(scratch / "package", model=model, gallery=gallery, example=example, facts={})
    return scratch / "package", pictures


def started(folder: Path, port: int) -> "subprocess.Popen[bytes]":
    """`mlflow models serve`, as the runbook says."""
    command = [sys.executable, "-m", "mlflow", "models", "serve", "--model-uri", str(folder), "--env-manager", "local"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    # MLflow starts uvicorn by its name: the one that lies beside this interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = os.environ | {"PATH": path, "MLFLOW_DISABLE_TELEMETRY": "true"}
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    """Returns when it answers."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}")
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/ping", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise SystemExit("the server does not answer")


def measured(
    server: "subprocess.Popen[bytes]", port: int, pictures: list[Path], options: argparse.Namespace
) -> dict[str, object]:
    """Times in seconds, memory in MiB."""
    bodies = [_body(pictures[number % len(pictures)].read_bytes()) for number in range(options.requests)]
    idle = _memory(server, "VmRSS")
    first, *later = [_asked(port, body) for body in bodies]
    begun = time.perf_counter()
    with ThreadPoolExecutor(options.clients) as clients:
        list(clients.map(lambda body: _asked(port, body), bodies))
    rate = len(bodies) / (time.perf_counter() - begun)
    ordinary = _memory(server, "VmHWM")
    jpeg, png = _picture(LARGE, "JPEG"), _picture(TOO_LARGE, "PNG")
    with ThreadPoolExecutor(options.clients) as clients:
        list(clients.map(lambda body: _asked(port, body), [_body(jpeg)] * options.large))
        large = _memory(server, "VmHWM")
        list(clients.map(lambda body: _asked(port, body, status=400), [_body(png)] * options.large))
    refused = _memory(server, "VmHWM")
    return {
        "requests": options.requests,
        "clients": options.clients,
        "large_requests": options.large,
        "first_answer_seconds": first,
        "later_median_seconds": float(np.median(later)),
        "later_95_percent_seconds": float(np.quantile(later, 0.95)),
        "answers_per_second": rate,
        "idle_mib": idle,
        "peak_mib": {"ordinary": ordinary, "with_large_jpegs": large, "with_refused_pngs": refused},
    }


def _body(picture: bytes) -> bytes:
    row = {"reference": base64.b64encode(picture).decode(), "text": TEXT, "top_k": 10}
    return json.dumps({"dataframe_records": [row]}).encode()


def _asked(port: int, body: bytes, status: int = 200) -> float:
    """Seconds until the answer is there."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/invocations", body, {"Content-Type": "application/json"})
    begun = time.perf_counter()
    try:
        with urllib.request.urlopen(request, timeout=120) as answer:
            found, told = answer.status, json.load(answer)
            assert len(told["predictions"][0]["ids"]) == 10
    except urllib.error.HTTPError as error:
        found, told = error.code, json.load(error)
    assert found == status, told
    return time.perf_counter() - begun


def _picture(size: tuple[int, int], kind: str) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", size, (90, 20, 140)).save(file, kind)
    return file.getvalue()


def _memory(server: "subprocess.Popen[bytes]", field: str) -> float:
    """MiB of the server's processes together: VmRSS now, VmHWM at most since they began."""
    processes = [psutil.Process(server.pid), *psutil.Process(server.pid).children(recursive=True)]
    kib = 0
    for one in processes:
        lines = Path(f"/proc/{one.pid}/status").read_text(encoding="utf-8").splitlines()
        kib += next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))
    return kib / 1024


def stop(server: "subprocess.Popen[bytes]") -> None:
    """Ends the server with its workers."""
    family = [*psutil.Process(server.pid).children(recursive=True)] if server.poll() is None else []
    for one in family:
        one.kill()
    server.kill()
    server.wait()


if __name__ == "__main__":
    main()

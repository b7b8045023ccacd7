"""Serve a registered model over HTTP and ask it, as a client in any language would.

    python examples/serve.py dress.jpg "is blue and longer"

Starts `mlflow models serve` on this machine's loopback, waits until it answers, sends one query as JSON (the image in
base64), prints what comes back, and ends the server. The model brings its own code and gallery.
"""

import argparse
import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from qure.config import Settings, TrackingSettings
from qure.tracking import connect, tracking_uri


def ask(address: str, image: Path, text: str, top_k: int) -> list[tuple[str, float]]:
    """Image ids and their relevance, best first."""
    row = [base64.b64encode(image.read_bytes()).decode(), text, top_k]
    query = {"dataframe_split": {"columns": ["reference", "text", "top_k"], "data": [row]}}
    request = urllib.request.Request(
        f"{address}/invocations", json.dumps(query).encode(), {"Content-Type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=120) as response:
        (answer,) = json.load(response)["predictions"]
    return list(zip(answer["ids"], answer["scores"], strict=True))


def wait(address: str, server: "subprocess.Popen[bytes]", seconds: float = 300) -> None:
    """Returns when the server answers; loading the model takes a while."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if server.poll() is not None:
            raise SystemExit(f"the server ended with {server.returncode}")
        try:
            urllib.request.urlopen(f"{address}/ping", timeout=5).close()
            return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise SystemExit("the server does not answer")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("image", type=Path)
    parser.add_argument("text")
    parser.add_argument("--model", default="models:/qure-fashioniq@champion")
    parser.add_argument("--port", type=int, default=5001)
    parser.add_argument("--top-k", type=int, default=5)
    asked = parser.parse_args()

    params = Path("params.yaml")
    settings = Settings.load(params).tracking if params.is_file() else TrackingSettings()
    connect(settings)  # says at once what is wrong with the registry; the server would say it in its log
    command = ["models", "serve", "--model-uri", asked.model, "--env-manager", "local", "--host", "127.0.0.1"]
    command += ["--port", str(asked.port), "--workers", "1"]
    # MLflow starts uvicorn by its name: the one that lies beside this interpreter.
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    environment = {**os.environ, "PATH": path, "MLFLOW_TRACKING_URI": str(tracking_uri(settings))}
    server = subprocess.Popen([sys.executable, "-m", "mlflow", *command], env=environment)
    try:
        address = f"http://127.0.0.1:{asked.port}"
        wait(address, server)
        for image_id, relevance in ask(address, asked.image, asked.text, asked.top_k):
            print(f"{relevance:.3f}  {image_id}")
    finally:
        server.terminate()
        server.wait()


if __name__ == "__main__":
    main()

"""MLflow's pages on this machine: `python -m qure.tracking.server`, or `make mlflow`.

`mlflow server` by itself starts four workers, a runner of background jobs and its periodic tasks, each of which imports
MLflow: on two cores that takes minutes. One worker without jobs shows the same pages. It listens on loopback only.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from types import FrameType

from qure.errors import BadInput, QureError, StageFailed
from qure.tracking.connection import quiet_environment, sqlite_file

HOST = "127.0.0.1"
#: Nothing here runs evaluations by language models, schedules anything, or calls home.
ENVIRONMENT = {
    "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
    "MLFLOW_SERVER_JOB_ENABLE_PERIODIC_TASKS": "false",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_PATIENCE = 300.0

#: What ends the pages: Ctrl-C, `kill`, a closed terminal. The server, in a session of its own, hears nothing of that.
_ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def serve(uri: str, port: int) -> int:
    """Shows a database's pages until it is interrupted; says where as soon as they answer.

    Returns:
        the server's exit status; 0 after an interrupt.

    Raises:
        BadInput: there is no such database, or the port is taken.
        StageFailed: the server ended before it answered, or did not answer in time.
    """
    file = sqlite_file(uri)
    if file is not None and not file.is_file():
        raise BadInput(
            "nothing has been tracked here yet", file=file, remedy="Run `make demo` or a stage of the pipeline first"
        )
    _require_free(port)
    server = subprocess.Popen(command(uri, port), env=environment(), start_new_session=True)
    before = {one: signal.signal(one, _interrupt) for one in _ENDS}
    try:
        _wait(server, port)
        print(f"MLflow's pages: http://{HOST}:{port} (Ctrl-C ends them)", flush=True)
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        _end(server)
        for one, handler in before.items():
            signal.signal(one, handler)


def command(uri: str, port: int) -> list[str]:
    """The server's command line."""
    program = [sys.executable, "-m", "mlflow", "server", "--workers", "1", "--host", HOST, "--port", str(port)]
    return [*program, "--uvicorn-opts", "--log-level warning", "--backend-store-uri", uri, "--registry-store-uri", uri]


def environment() -> dict[str, str]:
    """The server's environment."""
    quiet_environment()
    return {**os.environ, **ENVIRONMENT}


def _require_free(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise BadInput(
                f"port {port} cannot be used: {error.strerror}",
                remedy=f"Is it running already? http://{HOST}:{port}. Another port: make mlflow PORT=5001",
            ) from None


def _wait(server: "subprocess.Popen[bytes]", port: int) -> None:
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise StageFailed(f"MLflow's server ended with {server.returncode} before it answered; it says why above")
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise StageFailed(f"MLflow's server does not answer within {_PATIENCE:.0f} s")


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def _end(server: "subprocess.Popen[bytes]") -> None:
    if server.poll() is None:
        os.killpg(server.pid, signal.SIGTERM)
        try:
            server.wait(timeout=10)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m qure.tracking.server", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--uri", default="sqlite:///mlflow.db", help="the database (default: %(default)s)")
    parser.add_argument("--port", type=int, default=5000, help="on 127.0.0.1 (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        return serve(options.uri, options.port)
    except QureError as error:
        print(error, file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main())

"""The server of MLflow's pages: what it refuses, and how it is started. `test_pages.py` opens it in a browser."""

import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from qure.tracking import server


def test_where_nothing_was_tracked_it_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "mlflow.db"
    assert server.main(["--uri", f"sqlite:///{missing}"]) == 2
    assert "nothing has been tracked here yet. Run `make demo`" in capsys.readouterr().err
    assert not missing.exists(), "looking makes no database"


def test_a_taken_port_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "mlflow.db"
    sqlite3.connect(file).close()
    file.touch()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert server.main(["--uri", f"sqlite:///{file}", "--port", str(port)]) == 2
    assert f"port {port} cannot be used" in capsys.readouterr().err


def test_one_worker_on_loopback_without_jobs_or_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    command = server.command("sqlite:///mlflow.db", 5001)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--workers") + 1] == "1"
    told = server.environment()
    assert told["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert told["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"


class _Server:
    """Stands for MLflow's: how it is there when it is looked at, and what ends it."""

    pid = 4_194_305  # no process has this number

    def __init__(self, *, ended_with: int | None = None, hears: bool = True) -> None:
        self.returncode, self.hears = ended_with, hears
        self.heard: list[int] = []

    def poll(self) -> int | None:
        return self.returncode

    def hear(self, group: int, number: int) -> None:
        assert group == self.pid
        self.heard.append(number)
        if self.hears or number == signal.SIGKILL:
            self.returncode = -number

    def wait(self, timeout: float | None = None) -> int:
        if self.returncode is None:
            raise subprocess.TimeoutExpired("mlflow", timeout or 0)
        return self.returncode


@pytest.fixture
def show(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[_Server], tuple[int, str]]:
    """Shows a database's pages by a server: the exit code, and what was said."""
    (tmp_path / "mlflow.db").touch()
    monkeypatch.setattr(server, "_PATIENCE", 0.05)

    def shown(one: _Server) -> tuple[int, str]:
        monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: one)
        monkeypatch.setattr(server.os, "killpg", one.hear)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        code = server.main(["--uri", f"sqlite:///{tmp_path}/mlflow.db", "--port", str(port)])
        return code, capsys.readouterr().err

    return shown


def test_a_server_that_ends_before_it_answers_is_told(show: Callable[[_Server], tuple[int, str]]) -> None:
    one = _Server(ended_with=3)
    code, said = show(one)
    assert code == 1
    assert "MLflow's server ended with 3 before it answered; it says why above" in said
    assert one.heard == []


@pytest.mark.parametrize("hears", [True, False])
def test_a_server_that_does_not_answer_is_told_and_ended(
    show: Callable[[_Server], tuple[int, str]], hears: bool
) -> None:
    one = _Server(hears=hears)
    begun = time.monotonic()
    before = signal.getsignal(signal.SIGTERM)
    code, said = show(one)
    assert code == 1
    assert "MLflow's server does not answer within" in said
    assert one.heard == ([signal.SIGTERM] if hears else [signal.SIGTERM, signal.SIGKILL])
    assert signal.getsignal(signal.SIGTERM) is before
    assert time.monotonic() - begun < 10


#: Shows pages of Python's own: MLflow's server takes ten seconds to start.
SHOW = """
import sys
from qure.tracking import server
PAGES = "import http.server as h, sys; all = h.BaseHTTPRequestHandler;"
PAGES += "all.do_GET = lambda one: (one.send_response(200), one.end_headers());"
PAGES += "h.HTTPServer(('127.0.0.1', int(sys.argv[1])), all).serve_forever()"
server.command = lambda uri, port: [sys.executable, "-c", PAGES, str(port)]
sys.exit(server.main(["--uri", sys.argv[1], "--port", sys.argv[2]]))
"""


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_ctrl_c_kill_and_a_closed_terminal_end_the_server_too(tmp_path: Path, how: signal.Signals) -> None:
    sqlite3.connect(tmp_path / "mlflow.db").close()
    (tmp_path / "mlflow.db").touch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-c", SHOW, f"sqlite:///{tmp_path / 'mlflow.db'}", str(port)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as shown:
        assert shown.stdout is not None
        assert f":{port}" in shown.stdout.readline()
        (behind,) = psutil.Process(shown.pid).children()
        shown.send_signal(how)
        assert shown.wait(timeout=60) == 0
    assert not behind.is_running()

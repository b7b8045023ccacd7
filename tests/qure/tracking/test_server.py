"""The server of MLflow's pages: what it refuses, and how it is started. `test_pages.py` opens it in a browser."""

import signal
import socket
import sqlite3
import subprocess
import sys
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

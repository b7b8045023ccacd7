"""The server of MLflow's pages: what it refuses, and how it is started. `test_pages.py` opens it in a browser."""

import socket
import sqlite3
from pathlib import Path

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

"""The services where none runs: what is said, what is missing, and how secrets and ports are kept. No server begins."""

import json
import socket
import stat
import subprocess
from pathlib import Path
from typing import Any

import psutil
import pytest

from infra.services import postgres, processes, storage, tracking
from infra.services.__main__ import main
from infra.services.processes import Process, free_port, is_alive, last_line, listens, wait_until
from infra.services.secret_files import passwords
from qure.errors import BadInput, StageFailed


def test_where_nothing_runs_status_says_so_and_ends_red(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ("--folder", str(tmp_path / "services"))
    assert main(["status", *folder]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["PostgreSQL", "S3", "MLflow"]
    assert all(line.endswith("it does not run") for line in lines)
    assert main(["status", "--json", *folder]) == 1
    found = json.loads(capsys.readouterr().out)
    assert {(one["answers"], one["wrong"]) for one in found.values()} == {(False, "it does not run")}
    assert main(["stop", *folder]) == 0
    assert capsys.readouterr().out == "nothing was running\n"
    assert not list(tmp_path.rglob("profile*"))


def test_what_is_not_installed_is_named_with_its_remedy(tmp_path: Path, monkeypatch: Any, capsys: Any) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(postgres, "_PACKAGES", tmp_path)
    assert main(["start", "--folder", str(tmp_path / "services")]) == 2
    assert (
        "PostgreSQL is not installed. Install Debian's package: apt-get install postgresql" in capsys.readouterr().err
    )
    assert not (tmp_path / "services").exists()
    monkeypatch.setattr("sys.executable", str(tmp_path / "bin" / "python"))
    with pytest.raises(BadInput, match=r"rclone is not installed\. Install it: make setup"):
        storage.program()
    monkeypatch.setattr(tracking, "find_spec", lambda package: None if package == "flask_wtf" else "there")
    with pytest.raises(BadInput, match=r"flask_wtf is not installed\. Install it: make setup"):
        tracking.require_installed()


def test_the_newest_postgresql_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for version in ("9.6", "15", "17"):
        (tmp_path / version / "bin").mkdir(parents=True)
        for name in ("initdb", "postgres"):
            (tmp_path / version / "bin" / name).touch()
    (tmp_path / "17" / "bin" / "postgres").unlink()
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr(postgres, "_PACKAGES", tmp_path)
    assert postgres.programs() == tmp_path / "15" / "bin"


def test_passwords_stay_and_are_nobody_elses(tmp_path: Path) -> None:
    file = tmp_path / "passwords.json"
    first = passwords(file, ["postgres", "s3"])
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    again = passwords(file, ["postgres", "s3", "mlflow"])
    assert {name: again[name] for name in first} == first
    assert len(set(again.values())) == 3
    assert min(map(len, again.values())) >= 32
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_a_port_that_is_taken_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert not listens(port)
        taken.listen()
        assert listens(port)
        assert free_port(port) != port
    assert free_port(port) == port
    monkeypatch.setattr(socket.socket, "bind", lambda *_: (_ for _ in ()).throw(OSError("none is left")))
    with pytest.raises(StageFailed, match=r"no port of 127\.0\.0\.1 is free"):
        free_port()


def test_a_number_that_another_process_has_by_now_is_none_of_ours() -> None:
    here = psutil.Process()
    assert is_alive(Process(here.pid, here.create_time()))
    assert not is_alive(Process(here.pid, here.create_time() - 3600))
    assert not is_alive(Process(4_194_305, 0.0))
    assert not is_alive(None)
    processes.end(Process(here.pid, here.create_time() - 3600))  # ends nobody


def test_a_server_that_does_not_come_is_told_with_what_it_said_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log, here = tmp_path / "s3.log", psutil.Process()
    log.write_text("")
    assert last_line(log) == "it said nothing"
    log.write_text("begun\nno space left\n\n")
    with pytest.raises(StageFailed, match=rf"S3 ended before it answered: no space left\. All it said: {log}"):
        wait_until(lambda: "away", Process(4_194_305, 0.0), log, name="S3", patience=10)
    with pytest.raises(StageFailed, match=rf"S3 does not answer within 0 s \(away\)\. What it said: {log}"):
        wait_until(lambda: "away", Process(here.pid, here.create_time()), log, name="S3", patience=0)
    answers = iter(["away", ""])
    wait_until(lambda: next(answers), Process(here.pid, here.create_time()), log, name="S3", patience=10)


def test_a_system_without_postgresqls_user_names_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(name: str) -> None:
        raise KeyError(name)

    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("pwd.getpwnam", unknown)
    with pytest.raises(BadInput, match="postgres"):
        postgres._user()
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert postgres._user() is None


def test_a_folder_that_postgresqls_user_cannot_reach_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(command: list[Any], **_: Any) -> Any:
        return subprocess.CompletedProcess(command, int(command[-1] == tmp_path))

    monkeypatch.setattr(subprocess, "run", asked)
    with pytest.raises(BadInput, match=str(tmp_path)):
        postgres._require_reachable(tmp_path / "postgres", "postgres")

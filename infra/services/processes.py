"""Servers that go on when the command that started them has ended, known by their number and when they began."""

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from qure.errors import StageFailed

HOST = "127.0.0.1"
#: Seconds until a server must answer. MLflow imports for half a minute on a busy machine.
PATIENCE = 300.0
#: Seconds that a process's beginning may seem to have moved, when the clock is set.
_SAME = 5.0


class Process(NamedTuple):
    """A server: its process number, which is its process group's too, and when it began (seconds since 1970)."""

    number: int
    began: float


def begin(
    command: Sequence[str | Path],
    log: Path,
    *,
    environment: Mapping[str, str],
    user: str | None = None,
    folder: Path | None = None,
) -> Process:
    """Starts a server in a session of its own; what it says goes to the end of `log`.

    Args:
        command: absolute path of the program, arguments.
        log: text file.
        environment: all its variables. Passwords stand here and not in the command, which every process list shows.
        user: who it runs as, where that is not the present one.
        folder: where it runs.
    """
    with log.open("ab") as output:
        begun = subprocess.Popen(
            [str(word) for word in command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env=dict(environment),
            cwd=folder,
            start_new_session=True,
            **as_user(user),
        )
    return Process(begun.pid, psutil.Process(begun.pid).create_time())


def as_user(user: str | None) -> dict[str, Any]:
    """Arguments for `subprocess` that let another user run it."""
    return {} if user is None else {"user": user, "group": user, "extra_groups": []}


def is_alive(process: Process | None) -> bool:
    """Whether it runs; a number that another process has by now is none of ours."""
    return _found(process) is not None


def _found(process: Process | None) -> psutil.Process | None:
    if process is None:
        return None
    with contextlib.suppress(psutil.Error):
        found = psutil.Process(process.number)
        if abs(found.create_time() - process.began) <= _SAME and found.status() != psutil.STATUS_ZOMBIE:
            return found
    return None


def end(process: Process | None, *, by: signal.Signals = signal.SIGTERM, patience: float = 30.0) -> None:
    """Ends a server with everything that it has started: asked first, killed after `patience` seconds."""
    found = _found(process)
    if found is None:
        return
    family = [found]
    with contextlib.suppress(psutil.Error):
        family += found.children(recursive=True)
    with contextlib.suppress(ProcessLookupError):
        os.kill(found.pid, by)
    _, left = psutil.wait_procs(family, timeout=patience)
    for one in left:
        with contextlib.suppress(psutil.Error):
            one.kill()
    psutil.wait_procs(left, timeout=10)


def wait_until(
    answers: Callable[[], str], process: Process, log: Path, *, name: str, patience: float = PATIENCE
) -> None:
    """Returns when a server answers.

    Args:
        answers: "" when it does, else what is wrong.
        process, log, name: the server.
        patience: seconds.

    Raises:
        StageFailed: it ended, or does not answer in time; with the last line that it said.
    """
    deadline = time.monotonic() + patience
    while wrong := answers():
        if not is_alive(process):
            raise StageFailed(f"{name} ended before it answered: {last_line(log)}. All it said: {log}")
        if time.monotonic() > deadline:
            raise StageFailed(f"{name} does not answer within {patience:.0f} s ({wrong}). What it said: {log}")
        time.sleep(0.1)


def last_line(log: Path) -> str:
    """What a server said last."""
    lines = [line.strip() for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def listens(port: int) -> bool:
    """Whether something takes connections at a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection((HOST, port), timeout=2):
        return True
    return False


def free_port(wanted: int | None = None) -> int:
    """A TCP port that nobody listens on: the wanted one where it is free."""
    for port in (wanted, 0) if wanted else (0,):
        with contextlib.suppress(OSError), socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((HOST, port or 0))
            return int(probe.getsockname()[1])
    raise StageFailed(f"no port of {HOST} is free")

"""Runs commands of `qure` in copies of one process that has imported the heavy libraries already.

Importing torch, transformers and MLflow takes a stage of the catalogue as long as some of its work does. `fork_server`
begins a process that imports them once and forks for every command that asks it. A command finds its address in the
environment (`ADDRESS`; `qure/__main__.py` looks), hands over its arguments, folder, environment and standard streams,
and ends as its copy does. Where no server answers it runs by itself, as always.

The server imports libraries alone. The project's own code is read by each copy anew: what DVC notes down as the code of
a stage is what lay there when the stage ran. A copy is killed with the command that waits for it, and a server takes no
more commands when the process that began it is gone. All are in one group of processes, so that a terminal reaches
each copy as it would reach the command. `ps` calls a copy what it calls the server.

    command            server               watcher (a fork of the server)     copy (a fork of the watcher)
    connects ........> forks .............> takes streams, forks ............> runs the command
    waits <.................................. its number; its exit status <..... ends
"""

import contextlib
import gc
import importlib
import json
import os
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from qure.environment import without_collecting
from qure.scratch import temporary_folder

#: Variable with the socket of a server that runs commands; empty (`QURE_FORK_SERVER= qure demo`): none is begun.
ADDRESS = "QURE_FORK_SERVER"

#: What stages import, and what that imports when it is first used. torch first: it decides whether there is a server.
#: Not Great Expectations: two stages need it, which import half of it (`qure.validation.lazy`).
LIBRARIES = (
    "torch",
    "transformers.models.blip_2.modeling_blip_2",
    "transformers.models.clip.modeling_clip",
    "pandas",
    "mlflow.pyfunc",
    "mlflow.store.tracking.sqlalchemy_store",
    "matplotlib.figure",
    "rich.console",
    "typer",
)

#: Passed on by a command to its copy. Not SIGINT: a terminal sends Ctrl-C to both.
PASSED_ON = (signal.SIGTERM, signal.SIGHUP)


@contextlib.contextmanager
def fork_server(
    environment: Mapping[str, str], libraries: Sequence[str] = LIBRARIES, command: str = "qure.__main__"
) -> Iterator[dict[str, str]]:
    """A server as long as the context lasts: on Linux, where the environment says nothing of another one or of none.

    Args:
        environment: the server's. What libraries read while they are imported (`OMP_NUM_THREADS`) they read there, so
            it must say what the commands' environments say.
        libraries: modules to import, in this order; one that fails is left to the stage that needs it.
        command: module whose `main` a copy calls.

    Yields:
        what to add to the environment of commands. They may ask at once, and wait until all is imported.
    """
    with contextlib.ExitStack() as stack:
        listening = None
        if sys.platform == "linux" and ADDRESS not in environment:  # elsewhere not every library bears a fork
            address = str(stack.enter_context(temporary_folder()) / "commands")
            listening = _listen(address)
        if listening is None:
            yield {}
            return
        number = listening.fileno()
        started = [sys.executable, "-P", "-m", __name__, str(number), command, *libraries]
        with subprocess.Popen(started, stdin=subprocess.PIPE, env=dict(environment), pass_fds=[number]) as server:
            listening.close()
            try:
                yield {ADDRESS: address}
            finally:
                server.terminate()  # commands that still run are their watchers'


def _listen(address: str) -> socket.socket | None:
    """None where the address is too long for one: a temporary folder far down."""
    listening = socket.socket(socket.AF_UNIX)
    try:
        listening.bind(address)
    except OSError:
        listening.close()
        return None
    listening.listen()
    return listening


# -- the command


def run_in_fork(address: str) -> int | None:
    """Has a server run this process's command, and waits for it.

    Returns:
        the exit status, 128 + n where signal n ended it; None where no server took the command: nothing has run.
    """
    if None in (sys.stdin, sys.stdout, sys.stderr):  # closed: its number would be given to the line
        return None
    signal.pthread_sigmask(signal.SIG_BLOCK, PASSED_ON)  # until there is a copy to pass them on to
    try:
        with socket.socket(socket.AF_UNIX) as line:
            return _wait_for_copy(line) if _hand_over(line, address) else None
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)


def _hand_over(line: socket.socket, address: str) -> bool:
    """Whether a server has taken this process's command."""
    try:
        wanted = {"arguments": sys.argv, "folder": str(Path.cwd()), "environment": dict(os.environ)}
        line.connect(address)
        socket.send_fds(line, [b"\n"], (0, 1, 2))
        line.sendall(json.dumps(wanted).encode() + b"\n")
        return bool(line.recv(1))
    except OSError:  # nobody listens any more, or there is no folder
        return False


def _wait_for_copy(line: socket.socket) -> int:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = line.makefile()
    copy, passed = int(answers.readline() or 0), 0

    def pass_on(number: int, _: FrameType | None) -> None:
        nonlocal passed
        passed = number
        with contextlib.suppress(ProcessLookupError):
            os.kill(copy, number)

    if copy:
        for number in PASSED_ON:
            signal.signal(number, pass_on)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, PASSED_ON)
    status = answers.readline()
    if not status:  # the watcher was ended
        return 128 + (passed or signal.SIGKILL)
    return int(status) if int(status) >= 0 else 128 - int(status)


# -- the server, and what it forks


def main() -> None:
    """Serves a listening socket: its number is the first argument, then the module to run and modules to import."""
    interrupted = signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal's Ctrl-C is for the commands
    number, command, *libraries = sys.argv[1:]
    _import(libraries)
    line = _serve(socket.socket(fileno=int(number)))
    if line is None:
        return
    sys.argv[:] = _watch(line, interrupted)
    for name in [name for name in sys.modules if name.partition(".")[0] == "qure"]:
        del sys.modules[name]
    importlib.import_module(command).main()


def _import(libraries: Sequence[str]) -> None:
    """Ends the server where torch is built for CUDA or ROCm: a fork cannot use what its process has looked at."""
    with without_collecting():
        for name in libraries:
            with contextlib.suppress(Exception):  # the stage that needs it says what is missing or damaged
                importlib.import_module(name)
            torch = sys.modules.get("torch")
            if torch is not None and (torch.version.cuda or torch.version.hip):
                os._exit(0)
    gc.freeze()  # collecting in a copy would write to the memory that copies share


def _serve(listening: socket.socket) -> socket.socket | None:
    """Returns in each fork the line to its command; in the server None, when the process that began it is gone."""
    with selectors.DefaultSelector() as selector:
        selector.register(listening, selectors.EVENT_READ)
        selector.register(sys.stdin, selectors.EVENT_READ)
        while True:
            ready = [key.fileobj for key, _ in selector.select()]
            if sys.stdin in ready:
                return None
            line, _ = listening.accept()
            if os.fork() == 0:
                listening.close()
                return line
            line.close()
            with contextlib.suppress(ChildProcessError):  # watchers that have ended
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass


def _watch(line: socket.socket, interrupted: Any) -> list[str]:
    """Forks, and returns in the fork alone: the command's arguments, its environment being in force.

    Args:
        line: to the command.
        interrupted: what SIGINT does in the copy.
    """
    for passed in PASSED_ON:  # who sends them to all ends the copy, and this one with it
        signal.signal(passed, signal.SIG_IGN)
    _, streams, _, _ = socket.recv_fds(line, 1, 3)
    asked = line.makefile().readline()
    if not asked.endswith("\n"):  # the command was killed while it asked
        os._exit(0)
    watched, held = os.pipe()
    with contextlib.suppress(OSError):  # the command is gone: the copy goes below
        line.sendall(b"+")
    signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGINT, *PASSED_ON))  # until the copy knows what they do
    copy = os.fork()
    if copy == 0:
        line.close()
        os.close(held)
        wanted = json.loads(asked)
        _become(wanted, streams, interrupted)
        threading.Thread(target=_end_with, args=(watched,), name="end with the watcher", daemon=True).start()
        return list(wanted["arguments"])
    for number in (watched, *streams):
        os.close(number)
    threading.Thread(target=_kill_when_left, args=(line, copy), daemon=True).start()
    with contextlib.suppress(OSError):
        line.sendall(f"{copy}\n".encode())
    status = os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])
    with contextlib.suppress(OSError):
        line.sendall(f"{status}\n".encode())
    os._exit(0)


def _become(wanted: dict[str, Any], streams: Sequence[int], interrupted: Any) -> None:
    """Takes over a command's streams, folder and environment, and what signals do."""
    signal.signal(signal.SIGINT, interrupted)
    for passed in PASSED_ON:
        signal.signal(passed, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGINT, *PASSED_ON))
    for standard, number in enumerate(streams):
        os.dup2(number, standard)
        os.close(number)
    os.chdir(wanted["folder"])
    os.environ.clear()
    os.environ.update(wanted["environment"])
    os.environ.pop(ADDRESS, None)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True)  # type: ignore[union-attr]


def _end_with(watched: int) -> None:
    os.read(watched, 1)  # ends when nobody holds the other end any more
    os._exit(1)


def _kill_when_left(line: socket.socket, copy: int) -> None:
    with contextlib.suppress(OSError):  # left before it had read everything
        while line.recv(1):
            pass
    with contextlib.suppress(ProcessLookupError):  # it has just ended, and so has its command
        os.kill(copy, signal.SIGKILL)


if __name__ == "__main__":
    main()

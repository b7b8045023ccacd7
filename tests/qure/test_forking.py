"""Commands in forks of a warm process: they see what they would see by themselves, and nobody outlives the other."""

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil
import pytest

from qure.forking import ADDRESS, fork_server, run_in_fork

REPOSITORY = Path(__file__).resolve().parents[2]

#: Asks the server, and says where it had to do the work itself.
COMMAND = """
import os, sys
from qure.forking import ADDRESS, run_in_fork
status = run_in_fork(os.environ[ADDRESS])
if status is None:
    print("by itself")
    status = 0
sys.exit(status)
"""

#: What a copy runs, by its first argument.
WORK = """
import os, signal, sys, time
from pathlib import Path

def main():
    what = sys.argv[1]
    if what == "tell":
        print(os.getcwd(), os.environ["TOLD"], *sys.argv[1:], sys.stdin.read(), "fractions" in sys.modules)
        print("an error", file=sys.stderr)
        sys.exit(int(sys.argv[2]))
    if what == "fail":
        raise ValueError("it failed")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    Path("new").write_text(f"{os.getpid()} {os.getppid()}")
    os.rename("new", "copy")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        time.sleep(0.3)  # a second one would end it here
        sys.exit(7)
"""

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """Of a server and its commands."""
    (tmp_path / "command.py").write_text(COMMAND)
    (tmp_path / "work.py").write_text(WORK)
    path = os.pathsep.join([str(tmp_path), str(REPOSITORY)])
    return os.environ | {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1", "TOLD": "dress"}


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Callable[..., Process]]:
    """Begins a command in an environment."""
    begun: list[Process] = []

    def begin(environment: Mapping[str, str], *arguments: str, before: Sequence[str] = ()) -> Process:
        command = [*before, sys.executable, str(tmp_path / "command.py"), *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, cwd=tmp_path, env=environment
        )
        begun.append(process)
        return process

    yield begin
    for process in begun:
        process.kill()
        process.communicate()


@pytest.fixture
def start(begin: Callable[..., Process], environment: dict[str, str]) -> Iterator[Callable[..., Process]]:
    """Begins a command that has its work done by a server."""
    with fork_server(environment, ["fractions", "no_such_library"], "work") as address:
        yield partial(begin, environment | address)


def _processes(folder: Path) -> tuple[psutil.Process, psutil.Process]:
    """The copy that waits, and the process that watches it."""
    file = folder / "copy"
    while not file.exists():
        time.sleep(0.01)
    copy, watcher = map(int, file.read_text().split())
    return psutil.Process(copy), psutil.Process(watcher)


def _is_gone(process: psutil.Process) -> bool:
    deadline = time.monotonic() + 30
    while process.is_running() and process.status() != psutil.STATUS_ZOMBIE and time.monotonic() < deadline:
        time.sleep(0.01)
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


def test_a_copy_has_the_commands_arguments_folder_environment_and_streams(start: Start, tmp_path: Path) -> None:
    for status in (0, 3):
        command = start("tell", str(status))
        out, errors = command.communicate("words")
        assert out == f"{tmp_path} dress tell {status} words True\n"
        assert errors == "an error\n"
        assert command.returncode == status


def test_an_error_ends_as_it_would_by_itself(start: Start) -> None:
    command = start("fail")
    _, errors = command.communicate("")
    assert errors.endswith("ValueError: it failed\n")
    assert command.returncode == 1


def test_a_copy_that_a_signal_ends_is_told_as_shells_tell_it(start: Start) -> None:
    command = start("die")
    command.communicate("")
    assert command.returncode == 128 + signal.SIGKILL


def test_code_that_changes_meanwhile_is_the_next_commands(start: Start, tmp_path: Path) -> None:
    """What DVC notes down as a stage's code is what lies there when it runs."""
    assert start("tell", "0").communicate("")[0]
    (tmp_path / "work.py").write_text("def main():\n    print('changed')\n")
    assert start("tell", "0").communicate("")[0] == "changed\n"


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGHUP, 129), (signal.SIGINT, 7)])
def test_signals_are_passed_on(start: Start, tmp_path: Path, number: signal.Signals, status: int) -> None:
    command = start("wait")
    copy, _ = _processes(tmp_path)
    command.send_signal(number)
    out, errors = command.communicate(timeout=60)
    assert (command.returncode, errors) == (status, "")
    assert out == ("interrupted\n" if number == signal.SIGINT else "")
    assert _is_gone(copy)


def test_ctrl_c_on_a_terminal_reaches_a_copy_once(tmp_path: Path, start: Start) -> None:
    """A terminal sends it to the whole group of processes: the command, DVC, the server; the copy is in another."""
    command = start("wait")
    copy, watcher = _processes(tmp_path)
    assert os.getpgid(copy.pid) == copy.pid
    assert os.getpgid(watcher.pid) == os.getpgid(command.pid)
    watcher.send_signal(signal.SIGINT)
    command.send_signal(signal.SIGINT)
    assert command.communicate(timeout=60)[0] == "interrupted\n"
    assert command.returncode == 7


def test_a_copy_ends_with_the_command_that_is_killed(start: Start, tmp_path: Path) -> None:
    command = start("wait")
    copy, watcher = _processes(tmp_path)
    command.kill()
    assert _is_gone(copy)
    assert _is_gone(watcher)


def test_a_copy_ends_with_its_watcher_and_the_command_says_so(start: Start, tmp_path: Path) -> None:
    command = start("wait")
    copy, watcher = _processes(tmp_path)
    watcher.kill()
    command.communicate(timeout=60)
    assert command.returncode == 128 + signal.SIGKILL
    assert _is_gone(copy)


@pytest.mark.parametrize("stream", [0, 1, 2])
def test_with_a_closed_stream_a_command_runs_by_itself(start: Start, tmp_path: Path, stream: int) -> None:
    """Its number would be given to the line to the server."""
    close = f"import os, sys; os.close({stream}); os.execv(sys.argv[1], sys.argv[1:])"
    command = start("wait", before=[sys.executable, "-c", close])
    out, _ = command.communicate("", timeout=60)
    assert out == ("" if stream == 1 else "by itself\n")
    assert command.returncode == 0
    assert not (tmp_path / "copy").exists()


def test_what_runs_when_a_server_ends_goes_on_and_the_next_command_runs_by_itself(
    begin: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    with fork_server(environment, [], "work") as address:
        command = begin(environment | address, "wait")
        copy, _ = _processes(tmp_path)
    assert not Path(address[ADDRESS]).parent.exists()
    assert begin(environment | address, "tell", "0").communicate("")[0] == "by itself\n"
    assert copy.is_running()
    command.send_signal(signal.SIGINT)
    assert command.communicate(timeout=60)[0] == "interrupted\n"
    assert command.returncode == 7


def test_a_server_ends_with_the_process_that_began_it(environment: dict[str, str], tmp_path: Path) -> None:
    script = "import os, sys\nfrom qure.forking import fork_server\n"
    script += (
        "with fork_server(os.environ, [], 'work') as address:\n    print(*address.values(), flush=True)\n    input()\n"
    )
    command = [sys.executable, "-c", script]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip()).parent
        (server,) = psutil.Process(process.pid).children()
        process.kill()
    assert _is_gone(server)
    shutil.rmtree(folder)  # what a killed process cannot remove


@pytest.mark.parametrize("build", ["cuda", "hip"])
def test_nothing_is_copied_that_holds_cuda(tmp_path: Path, build: str) -> None:
    """CUDA cannot be used in a fork of a process that has looked at it, and a library may look while it is imported."""
    versions = {"cuda": None, "hip": None} | {build: "12.8"}
    (tmp_path / "torch.py").write_text(f"class version:\n    cuda, hip = {versions['cuda']!r}, {versions['hip']!r}\n")
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(REPOSITORY)])}
    with fork_server(environment, ["torch"]) as address:
        assert run_in_fork(address[ADDRESS]) is None


@pytest.mark.parametrize("address", ["", "/another"])
def test_none_is_begun_where_the_environment_names_one_or_none(address: str) -> None:
    with fork_server({ADDRESS: address}) as added:
        assert added == {}


def test_elsewhere_than_on_linux_there_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with fork_server({}) as address:
        assert address == {}

"""Commands in forks of a warm process: they see what they would see by themselves, and nobody outlives the other."""

import contextlib
import json
import os
import pty
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path

import psutil
import pytest

from qure.forking import ADDRESS, fork_server
from qure.scratch import temporary_folder

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
        print(os.getcwd(), os.environ["TOLD"], *sys.argv[1:], sys.stdin.read())
        print("an error", file=sys.stderr)
        print(os.environ.get("QURE_FORK_SERVER"), "fractions" in sys.modules, "qure" in sys.modules)
        sys.exit(int(sys.argv[2]))
    if what == "fail":
        raise ValueError("it failed")
    if what == "die":
        os.kill(os.getpid(), signal.SIGKILL)
    if what == "ask":
        print("heard", input("? "))
        return
    Path("new").write_text(f"{os.getpid()} {os.getppid()}")
    os.rename("new", "copy")
    try:
        time.sleep(600)
    except KeyboardInterrupt:
        print("interrupted", flush=True)
        time.sleep(0.3)  # a second one would end it here
        sys.exit(7)
"""

#: Begins a server and a command on a terminal.
BEGIN = """
import os, subprocess, sys
from qure.forking import fork_server
with fork_server(os.environ, [], "work") as address:
    subprocess.run([sys.executable, "command.py", "ask"], env=os.environ | address)
"""

Process = subprocess.Popen[str]
Start = Callable[..., Process]


@pytest.fixture(autouse=True)
def at_a_terminal() -> Iterator[None]:
    """What is begun here can be interrupted, also where the tests themselves run in the background and cannot."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


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

    def begin(
        environment: Mapping[str, str], *arguments: str, before: Sequence[str] = (), stderr: int = subprocess.PIPE
    ) -> Process:
        command = [*before, sys.executable, str(tmp_path / "command.py"), *arguments]
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=stderr, text=True, cwd=tmp_path, env=environment
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
    deadline = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    copy, watcher = map(int, file.read_text().split())
    return psutil.Process(copy), psutil.Process(watcher)


def _is_gone(process: psutil.Process) -> bool:
    """Within half a minute; one that nobody waits for stays, as a zombie."""
    deadline = time.monotonic() + 30
    with contextlib.suppress(psutil.NoSuchProcess):
        while process.status() != psutil.STATUS_ZOMBIE:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
    return True


@pytest.mark.parametrize("status", [0, 3])
def test_a_copy_has_the_commands_arguments_folder_environment_and_streams(
    start: Start, tmp_path: Path, status: int
) -> None:
    command = start("tell", str(status))
    out, errors = command.communicate("words")
    assert out == f"{tmp_path} dress tell {status} words\nNone True False\n"
    assert errors == "an error\n"
    assert command.returncode == status


def test_what_a_copy_says_comes_in_its_order(start: Start, tmp_path: Path) -> None:
    out, _ = start("tell", "0", stderr=subprocess.STDOUT).communicate("")
    assert out.splitlines() == [f"{tmp_path} dress tell 0 ", "an error", "None True False"]


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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_signals_are_passed_on(start: Start, tmp_path: Path, number: signal.Signals) -> None:
    command = start("wait")
    copy, _ = _processes(tmp_path)
    command.send_signal(number)
    assert command.communicate(timeout=60) == ("", "")
    assert command.returncode == 128 + number
    assert _is_gone(copy)


def test_what_is_sent_to_all_ends_all_quietly(start: Start, tmp_path: Path) -> None:
    """As `qure demo` does when it is ended, and a terminal that is closed."""
    command = start("wait")
    copy, watcher = _processes(tmp_path)
    for process in (watcher, copy, command):
        process.terminate()
    assert command.communicate(timeout=60) == ("", "")
    assert command.returncode == 128 + signal.SIGTERM
    assert _is_gone(copy)
    assert _is_gone(watcher)


def test_ctrl_c_on_a_terminal_reaches_a_copy_once(start: Start, tmp_path: Path) -> None:
    """A terminal sends it to a whole group of processes: the command, DVC, the server, its watchers and copies."""
    command = start("wait")
    copy, watcher = _processes(tmp_path)
    assert len({os.getpgid(one) for one in (copy.pid, watcher.pid, command.pid)}) == 1
    for process in (watcher, command, copy):
        process.send_signal(signal.SIGINT)
    assert command.communicate(timeout=60) == ("interrupted\n", "")
    assert command.returncode == 7


def test_in_the_background_a_copy_is_not_interrupted(begin: Start, environment: dict[str, str], tmp_path: Path) -> None:
    """Shells have what they start with & ignore SIGINT."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with fork_server(environment, [], "work") as address:
        command = begin(environment | address, "wait")
        copy, _ = _processes(tmp_path)
        copy.send_signal(signal.SIGINT)
        command.send_signal(signal.SIGINT)
        copy.terminate()
        assert command.communicate(timeout=60) == ("", "")
        assert command.returncode == 128 + signal.SIGTERM


def test_a_copy_can_ask_at_a_terminal(environment: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "begin.py").write_text(BEGIN)
    number, terminal = pty.fork()
    if number == 0:
        os.chdir(tmp_path)
        os.execve(sys.executable, [sys.executable, "begin.py"], environment)
    said = b""
    try:
        while not said.endswith(b"? "):
            said += os.read(terminal, 1000)
        os.write(terminal, b"yes\n")
        with contextlib.suppress(OSError):  # how a terminal ends
            while more := os.read(terminal, 1000):
                said += more
    finally:
        os.close(terminal)
        os.waitpid(number, 0)
    assert said == b"? yes\r\nheard yes\r\n"


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
    copy.send_signal(signal.SIGINT)
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
    with temporary_folder():  # the next command's, which removes what a killed one cannot
        assert not folder.exists()


@pytest.mark.parametrize(("build", "forked"), [("cuda", False), ("hip", False), ("cpu", True)])
def test_nothing_is_copied_that_holds_cuda(
    begin: Start, environment: dict[str, str], tmp_path: Path, build: str, forked: bool
) -> None:
    """CUDA cannot be used in a fork of a process that has looked at it, and a library may look while it is imported."""
    versions = {"cuda": None, "hip": None} | {build: "12.8"}
    (tmp_path / "torch.py").write_text(f"class version:\n    cuda, hip = {versions['cuda']!r}, {versions['hip']!r}\n")
    with fork_server(environment, ["torch"], "work") as address:
        out, _ = begin(environment | address, "tell", "0").communicate("")
    assert (out != "by itself\n") == forked


def test_a_command_that_waits_for_a_server_that_dies_runs_by_itself(
    begin: Start, environment: dict[str, str], tmp_path: Path
) -> None:
    (tmp_path / "deadly.py").write_text("import os, time\ntime.sleep(1)\nos._exit(1)\n")
    with fork_server(environment, ["deadly"], "work") as address:
        assert begin(environment | address, "tell", "0").communicate("")[0] == "by itself\n"


def _ask(address: str, text: bytes) -> socket.socket:
    line = socket.socket(socket.AF_UNIX)
    line.connect(address)
    socket.send_fds(line, [b"\n"], (0, 1, 2))
    line.sendall(text)
    return line


def test_a_command_killed_while_it_asks_leaves_nothing_and_no_word(
    begin: Start, environment: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Before it has said what it wants, and before it has heard that its copy runs."""
    wanted = {"arguments": ["", "wait"], "folder": str(tmp_path), "environment": environment}
    with fork_server(environment, [], "work") as address:
        for part in (b"", b'{"arguments"'):
            _ask(address[ADDRESS], part).close()
        line = _ask(address[ADDRESS], json.dumps(wanted).encode() + b"\n")
        copy, watcher = _processes(tmp_path)
        line.close()
        assert _is_gone(copy)
        assert _is_gone(watcher)
        assert begin(environment | address, "tell", "0").communicate("")[0] != "by itself\n"
    assert capfd.readouterr() == ("", "")


def test_watchers_that_have_ended_are_not_kept(begin: Start, environment: dict[str, str]) -> None:
    with fork_server(environment, [], "work") as address:
        for _ in range(5):
            begin(environment | address, "tell", "0").communicate("")
        (server,) = [one for one in psutil.Process().children() if "qure.forking" in one.cmdline()]
        assert len(server.children()) <= 2


def test_an_address_that_is_too_long_is_no_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / ("deep" * 30)
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    with fork_server(os.environ) as address:
        assert address == {}


@pytest.mark.parametrize("address", ["", "/another"])
def test_none_is_begun_where_the_environment_names_one_or_none(address: str) -> None:
    with fork_server({ADDRESS: address}) as added:
        assert added == {}


def test_elsewhere_than_on_linux_there_is_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with fork_server({}) as address:
        assert address == {}

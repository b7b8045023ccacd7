"""Whose unfinished work stays, and who is alone at a work."""

import errno
import fcntl
import os
import signal
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qure import scratch
from qure.errors import StageFailed
from qure.scratch import alone, remove_leftovers, scratch_folder, temporary_folder


@pytest.fixture
def faults(helper: Callable[[str], ModuleType]) -> ModuleType:
    """`tests/faults.py`."""
    return helper("faults")


def _appears(path: Path) -> None:
    while not path.exists():
        time.sleep(0.005)


@pytest.fixture
def holder(tmp_path: Path, faults: Any, no_bytecode: None) -> Any:
    """(act) -> number of a process that is within `act`, a context manager, until it is killed."""

    def begin(enter: Callable[[], Any]) -> int:
        def act() -> None:
            with enter() as folder:
                if folder is not None:
                    (folder / "half").touch()
                (tmp_path.parent / f"{tmp_path.name}.within").touch()
                signal.pause()

        child = int(faults.in_process(act))
        _appears(tmp_path.parent / f"{tmp_path.name}.within")
        return child

    return begin


def test_scratch_is_empty_beside_its_target_and_goes(tmp_path: Path) -> None:
    with scratch_folder(tmp_path) as folder, scratch_folder(tmp_path) as other:
        assert folder != other
        assert list(folder.iterdir()) == []
        assert folder.is_relative_to(tmp_path)
        (folder / "x").mkdir()
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("locks", [True, False])
def test_scratch_of_a_living_process_stays_and_of_a_killed_one_goes(
    tmp_path: Path, holder: Any, faults: Any, monkeypatch: pytest.MonkeyPatch, locks: bool
) -> None:
    if not locks:  # as some network file systems answer
        monkeypatch.setattr(fcntl, "flock", _no_locks)
    child = holder(lambda: scratch_folder(tmp_path))
    with scratch_folder(tmp_path):
        pass
    remove_leftovers(tmp_path)
    (half,) = tmp_path.rglob("half")
    os.kill(child, signal.SIGKILL)
    assert faults.ended(child) == -signal.SIGKILL
    assert half.exists()
    remove_leftovers(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_temporary_copy_of_a_killed_process_goes_with_the_next_one(
    tmp_path: Path, holder: Any, faults: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    child = holder(temporary_folder)
    os.kill(child, signal.SIGKILL)
    assert faults.ended(child) == -signal.SIGKILL
    (half,) = tmp_path.rglob("half")
    with temporary_folder() as folder:
        assert folder.is_relative_to(tmp_path)
        assert not half.exists()
    assert list(tmp_path.iterdir()) == []


def _no_locks(*_: object) -> None:
    raise OSError(errno.ENOLCK, "No locks available")


@pytest.mark.parametrize(
    ("signature", "age", "stays"),
    [
        ("1 {init} {host}", 0, True),
        ("1 7 {host}", 0, False),  # another process of the same number, begun at another time
        ("4194305 7 {host}", 0, False),  # a number that no process has
        ("1 7 elsewhere", 0, True),
        ("1 7 elsewhere", 2 * 86_400, False),
        ("", 0, False),
    ],
)
def test_without_locks_what_the_owner_has_signed_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signature: str, age: float, stays: bool
) -> None:
    monkeypatch.setattr(fcntl, "flock", _no_locks)
    home = scratch._home(tmp_path)
    (home / "ab").mkdir(parents=True)
    (home / "ab.lock").write_text(signature.format(init=scratch._started(1), host=scratch.socket.gethostname()))
    os.utime(home / "ab.lock", (time.time() - age,) * 2)
    remove_leftovers(tmp_path)
    assert (home / "ab").exists() == stays


def test_one_is_alone_and_the_other_is_told_who(tmp_path: Path, holder: Any, faults: Any) -> None:
    child = holder(lambda: alone(tmp_path / "out"))
    told = f"another process is at work on {tmp_path}/out: process {child} on "
    with pytest.raises(StageFailed, match=told), alone(tmp_path / "out"):
        pytest.fail("two are at it")
    with alone(tmp_path / "output"), alone(tmp_path / "x" / "out"):
        pass
    os.kill(child, signal.SIGKILL)
    faults.ended(child)
    with alone(tmp_path / "out"):
        pass
    assert list(tmp_path.iterdir()) == [], "nothing was written, so nothing is left"


def test_folders_made_to_be_alone_stay_when_something_was_written(tmp_path: Path) -> None:
    with alone(tmp_path / "a" / "b" / "out"):
        (tmp_path / "a" / "kept").write_text("")
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["kept"]


def test_it_is_the_same_work_by_whatever_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "link").symlink_to("out")
    monkeypatch.chdir(tmp_path)
    for same in (Path("out"), Path("link"), Path("out/../out"), tmp_path / "out"):
        with alone(Path("out")), pytest.raises(StageFailed, match="another process"), alone(same):
            pytest.fail("two are at it")


def test_never_two_at_once(tmp_path: Path, faults: Any, no_bytecode: None) -> None:
    """Many processes that take it and give it back: each adds one to a number, in a way that two would spoil."""
    number = tmp_path / "number"
    number.write_text("0")

    def add() -> None:
        for _ in range(20):
            while True:
                try:
                    with alone(tmp_path / "out"):
                        now = int(number.read_text())
                        time.sleep(0)
                        number.write_text(str(now + 1))
                        break
                except StageFailed:
                    time.sleep(0.0005)

    children = [faults.in_process(add) for _ in range(4)]
    assert [faults.ended(child) for child in children] == [0] * 4
    assert number.read_text() == "80"
    assert [path.name for path in tmp_path.iterdir()] == ["number"]


def test_an_error_within_gives_it_back(tmp_path: Path) -> None:
    with pytest.raises(KeyError), alone(tmp_path / "out"):
        raise KeyError
    with alone(tmp_path / "out"):
        pass


def test_a_child_that_lives_on_holds_nothing(tmp_path: Path, faults: Any, no_bytecode: None) -> None:
    """A data loader's process, say, that was forked meanwhile."""
    with alone(tmp_path / "out"):
        child = faults.in_process(signal.pause)
    with alone(tmp_path / "out"):
        pass
    os.kill(child, signal.SIGKILL)
    faults.ended(child)


def test_where_nothing_can_be_written_it_says_so_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StageFailed, match=r"file cannot be written: .*name another output"), alone(tmp_path / "file/x"):
        pytest.fail("it began")


@pytest.mark.parametrize("gone", ["the folder", "the one above it"])
def test_a_folder_that_another_process_removes_meanwhile_is_made_again(
    tmp_path: Path, gone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, mkdir, removed = tmp_path / "above" / "folder", os.mkdir, []
    folder.mkdir(parents=True)

    def with_another_process(path: Path, mode: int = 0o777) -> None:
        try:
            mkdir(path, mode)
        except FileExistsError:
            if not removed:
                removed.append(path)
                for one in (folder, folder.parent)[: 1 + (gone == "the one above it")]:
                    one.rmdir()
            raise

    monkeypatch.setattr(os, "mkdir", with_another_process)
    scratch.make_folder(folder)
    assert folder.is_dir()
    assert removed == [folder]


def test_a_file_that_has_the_name_of_a_folder_is_no_race(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FileExistsError, match="file"):
        scratch.make_folder(tmp_path / "file")


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_nothing_stays_open(tmp_path: Path) -> None:
    before = _open_files()
    with scratch_folder(tmp_path):
        within = _open_files()
        remove_leftovers(tmp_path)
        with scratch_folder(tmp_path):
            pass
        assert _open_files() == within == before + 1
    with alone(tmp_path / "out"):
        with pytest.raises(StageFailed), alone(tmp_path / "out"):
            pytest.fail("two are at it")
        assert _open_files() == before + 1
    assert _open_files() == before


def test_who_is_interrupted_while_it_begins_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(handle: int) -> None:
        raise KeyboardInterrupt

    before = _open_files()
    monkeypatch.setattr(scratch, "_sign", interrupted)
    with pytest.raises(KeyboardInterrupt), scratch_folder(tmp_path):
        pytest.fail("it began")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(KeyboardInterrupt), alone(tmp_path / "out"):
        pytest.fail("it began")
    assert _open_files() == before


def test_a_lock_that_somebody_removes_while_it_is_taken_is_taken_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process that cleans up has taken it for a dead one's; of two that are alone, the first one's goes."""
    locked, before, removed = scratch._lock, _open_files(), []

    def removing(handle: int) -> bool:
        if not removed:
            removed.append(Path(f"/proc/self/fd/{handle}").readlink())
            removed[0].unlink()
        return locked(handle)

    monkeypatch.setattr(scratch, "_lock", removing)
    for work in (scratch_folder, lambda path: alone(path / "out")):
        removed.clear()
        with work(tmp_path):
            assert _open_files() == before + 1
            (held,) = [one for one in tmp_path.rglob("*.lock") if one.is_file()]
            assert held.read_text().split()[0] == str(os.getpid())
        assert len(removed) == 1
        assert list(tmp_path.rglob("*.lock")) == []


def test_when_a_process_began_is_told_in_ticks_since_the_machine_did(faults: Any, no_bytecode: None) -> None:
    def uptime() -> float:
        return float(Path("/proc/uptime").read_text().split()[0])

    before = uptime()
    child = faults.in_process(signal.pause)
    began = int(scratch._started(child)) / os.sysconf("SC_CLK_TCK")
    assert before - 0.1 <= began <= uptime() + 0.1
    assert scratch._started(child) == scratch._started(child)
    os.kill(child, signal.SIGKILL)
    faults.ended(child)
    assert scratch._started(child) == "-"


def test_a_holder_that_has_not_signed_yet_is_told_too(tmp_path: Path) -> None:
    """Between locking and signing, and on a file system that has lost what was written."""
    with alone(tmp_path / "out"):
        (tmp_path / ".out.lock").write_text("")
        with (
            pytest.raises(StageFailed, match=r"at work on .*/out: it has not said which\. Wait"),
            alone(tmp_path / "out"),
        ):
            pytest.fail("two are at it")


def test_a_folder_that_another_process_removes_before_the_lock_is_there_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made, make = [], scratch.make_folder

    def removed_at_once(folder: Path) -> None:
        make(folder)
        made.append(folder)
        if len(made) < 3:
            folder.rmdir()

    monkeypatch.setattr(scratch, "make_folder", removed_at_once)
    with alone(tmp_path / "new" / "out"):
        assert made == [tmp_path / "new"] * 3
        with pytest.raises(StageFailed, match="another process"), alone(tmp_path / "new" / "out"):
            pytest.fail("two are at it")

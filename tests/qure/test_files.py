"""What `qure.files` promises, with every call into the operating system failing once or being the last one."""

import errno
import os
import socket
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from qure import files
from qure.errors import BadInput
from qure.files import atomic_file, atomic_folder


@pytest.fixture
def faults(helper: Callable[[str], ModuleType]) -> ModuleType:
    """`tests/faults.py`."""
    return helper("faults")


@pytest.fixture
def writing(helper: Callable[[str], ModuleType]) -> ModuleType:
    """`tests/writing.py`."""
    return helper("writing")


@pytest.fixture(params=["file", "file again", "folder", "folder again", "two steps again"])
def case(request: pytest.FixtureRequest, writing: Any, monkeypatch: pytest.MonkeyPatch) -> str:
    """What is written: `tests/writing.py`."""
    if "two steps" in request.param:
        monkeypatch.setattr(files, "_try_to_exchange", writing.cannot_exchange)
    return str(request.param)


@pytest.fixture
def fresh(tmp_path: Path, case: str, writing: Any) -> Iterator[Any]:
    """Things to write, each in a folder of its own."""
    return iter(writing.fresh(case, tmp_path))


@pytest.mark.usefixtures("no_bytecode")
def test_killed_before_any_call_it_is_whole_or_not_at_all(writing: Any, case: str, tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(Path(files.__file__).parents[1])}
    command = [sys.executable, "-P", writing.__file__, case, str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), KeyboardInterrupt()])
def test_whatever_call_fails_it_is_whole_or_not_at_all(
    fresh: Iterator[Any], case: str, writing: Any, faults: Any, error: BaseException
) -> None:
    old, raised = "old" if case.endswith("again") else None, 0
    for number, thing in enumerate(fresh, start=1):
        watch = faults.Watch(number, faults.raising(error))
        try:
            with watch:
                thing.write("new")
        except type(error):
            raised += 1
            assert thing.found() in (old, "new"), f"call {number} failed: {watch.calls[-1]}"
        else:  # the call was none that matters: of the tidying up
            assert thing.found() == "new", f"call {number} failed unheard: {watch.calls[-1]}"
        writing.write_next(thing, f"call {number} failed: {watch.calls[-1]}")
        assert thing.found() in (old, "new")
        if not watch.reached:
            break
    assert raised > 10


def test_an_error_of_the_writer_changes_nothing(fresh: Iterator[Any], case: str) -> None:
    thing = next(fresh)
    for writer in (atomic_file, atomic_folder):
        with pytest.raises(KeyError), writer(thing.path):
            raise KeyError
    assert thing.found() == ("old" if case.endswith("again") else None)
    assert {path.name for path in thing.path.parent.iterdir()} <= {thing.path.name}


def test_it_is_on_the_disk_before_it_has_the_name_and_the_name_before_it_returns(
    fresh: Iterator[Any], writing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = next(fresh)
    before, after = set(), set()
    fsync = os.fsync

    def record(handle: int) -> None:
        content = thing.path / writing.NAMES[0] if thing.path.is_dir() else thing.path
        published = content.exists() and content.read_text() == "new"
        (after if published else before).add(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", record)
    thing.write("new")
    places = [thing.path, *thing.path.rglob("*")] if thing.path.is_dir() else [thing.path]
    assert {place.stat().st_ino for place in places} <= before
    assert thing.path.parent.stat().st_ino in after


def test_new_folders_above_it_are_on_the_disk_too(
    tmp_path: Path, writing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, fsync = set(), os.fsync
    monkeypatch.setattr(os, "fsync", lambda handle: (synced.add(os.fstat(handle).st_ino), fsync(handle)))
    writing.Written(tmp_path / "x" / "y").write("new")
    assert {folder.stat().st_ino for folder in (tmp_path, tmp_path / "x", tmp_path / "x" / "y")} <= synced


@pytest.fixture(params=[0o022, 0o027, 0o077, 0o002], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    """The process's umask, one after the other."""
    before = os.umask(request.param)
    yield int(request.param)
    os.umask(before)


def _mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_rights_are_those_that_the_umask_gives(tmp_path: Path, umask: int) -> None:
    with atomic_folder(tmp_path / "folder") as folder:
        save_file({"x": np.zeros(1)}, folder / "model.safetensors")
        (folder / "own").mkdir(0o700)
        os.close(os.open(folder / "own" / "private", os.O_CREAT | os.O_WRONLY, 0o600))
        os.close(os.open(folder / "program", os.O_CREAT | os.O_WRONLY, 0o700))
        (folder / "read-only").write_text("")
        (folder / "read-only").chmod(0o444)
        (folder / "link").symlink_to("nowhere")
    with atomic_file(tmp_path / "file.safetensors") as file:
        save_file({"x": np.zeros(1)}, file)
    (tmp_path / "ordinary").write_text("")
    plain, whole = 0o666 & ~umask, 0o777 & ~umask
    found = {path.relative_to(tmp_path).as_posix(): _mode(path) for path in tmp_path.rglob("*") if path.exists()}
    assert found == {
        "ordinary": plain,
        "file.safetensors": plain,
        "folder": whole,
        "folder/model.safetensors": plain,
        "folder/own": whole,
        "folder/own/private": plain,
        "folder/program": whole,
        "folder/read-only": 0o444,
    }


def test_a_file_in_dvcs_cache_keeps_its_rights(tmp_path: Path) -> None:
    cached = tmp_path / "cached"
    cached.write_text("x")
    cached.chmod(0o444)
    with atomic_folder(tmp_path / "folder") as folder:
        (folder / "linked").hardlink_to(cached)
    assert _mode(cached) == 0o444


@pytest.mark.usefixtures("no_bytecode")
def test_many_writers_of_one_name_all_end_well_and_the_name_is_always_there(
    fresh: Iterator[Any], case: str, faults: Any
) -> None:
    thing = next(fresh)
    thing.write("0")
    writers = [
        faults.in_process(lambda writer=writer: [thing.write(str(writer)) for _ in range(15)])  # type: ignore[misc]
        for writer in range(1, 5)
    ]
    always = "two steps" not in case
    running = set(writers)
    while running:
        assert not always or thing.path.exists(), "the name was missing"
        for writer in list(running):
            if os.waitid(os.P_PID, writer, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                running.discard(writer)
    assert [faults.ended(writer) for writer in writers] == [0, 0, 0, 0]
    assert thing.found() in {"1", "2", "3", "4"}
    assert [path.name for path in thing.path.parent.iterdir()] == [thing.path.name]


@pytest.mark.usefixtures("no_bytecode")
def test_a_second_writer_that_fails_leaves_the_first_ones_scratch_alone(tmp_path: Path, faults: Any) -> None:
    def fail() -> None:
        with atomic_folder(tmp_path / "out"):
            raise KeyError

    with atomic_folder(tmp_path / "out") as folder:
        (folder / "first").write_text("first")
        assert faults.ended(faults.in_process(fail)) == 1
        (folder / "second").write_text("second")
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["first", "second"]


def test_the_last_writer_is_there_in_the_end(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "out") as slow:
        (slow / "slow").touch()
        with atomic_folder(tmp_path / "out") as fast:
            (fast / "fast").touch()
        assert [path.name for path in (tmp_path / "out").iterdir()] == ["fast"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["slow"]


def test_names_that_begin_alike_have_nothing_to_do_with_each_other(tmp_path: Path) -> None:
    (tmp_path / ".model.notes.partial").write_text("somebody's own")
    with atomic_file(tmp_path / "model.safetensors") as longer:
        with atomic_folder(tmp_path / "model"):
            pass
        assert longer.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == [".model.notes.partial", "model", "model.safetensors"]


@pytest.mark.parametrize("two_steps", [False, True])
def test_a_folder_takes_the_place_of_whatever_has_its_name(
    tmp_path: Path, two_steps: bool, writing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    if two_steps:
        monkeypatch.setattr(files, "_try_to_exchange", writing.cannot_exchange)
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "x").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(kept)
    for name in ("file", "link"):
        with atomic_folder(tmp_path / name) as folder:
            (folder / "new").touch()
        assert [path.name for path in (tmp_path / name).iterdir()] == ["new"]
        assert not (tmp_path / name).is_symlink()
    assert (kept / "x").exists(), "what a link leads to is not the link"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "kept", "link"]


@pytest.mark.parametrize("code", [errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, None])
def test_where_two_names_cannot_be_exchanged_a_folder_is_replaced_in_two_steps(
    tmp_path: Path, writing: Any, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    """None: the C library has no such call."""
    asked = exchange_fails_with(code, monkeypatch)
    thing = writing.WrittenFolder(tmp_path)
    thing.write("old")
    thing.write("new")
    assert (thing.found(), len(asked)) == ("new", 0 if code is None else 1)


def test_an_error_of_the_exchange_is_raised_and_the_old_folder_stays(
    tmp_path: Path, writing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    exchange_fails_with(errno.EACCES, monkeypatch)
    thing = writing.WrittenFolder(tmp_path)
    thing.write("old")
    with pytest.raises(PermissionError) as caught:
        thing.write("new")
    assert caught.value.filename == str(thing.path)
    assert thing.found() == "old"


def exchange_fails_with(code: int | None, monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """The kernel's answer to renameat2(2); returns what it is asked."""
    asked: list[object] = []

    def renameat2(*arguments: object) -> int:
        asked.append(arguments)
        return -1

    library = SimpleNamespace() if code is None else SimpleNamespace(renameat2=renameat2)
    monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: library)
    monkeypatch.setattr(files.ctypes, "get_errno", lambda: code)
    return asked


def test_in_two_steps_an_error_puts_the_old_folder_back_at_once(
    tmp_path: Path, writing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    thing = writing.WrittenFolder(tmp_path)
    thing.write("old")
    monkeypatch.setattr(files, "_try_to_exchange", writing.cannot_exchange)
    renamed = files._try_to_rename

    def failing(new: Path, path: Path) -> bool:
        if not path.exists():
            raise OSError(errno.EIO, "broken")
        return renamed(new, path)

    monkeypatch.setattr(files, "_try_to_rename", failing)
    with pytest.raises(OSError, match="broken"):
        thing.write("new")
    assert thing.found() == "old"


def test_a_disk_that_is_really_full_changes_nothing(tmp_path: Path, writing: Any, faults: Any) -> None:
    """A limit on the size of files, which the kernel enforces at every write."""
    import resource
    import signal

    thing = writing.WrittenFolder(tmp_path)
    thing.write("old")

    def limited() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        thing.write("new" * 1000)

    assert faults.ended(faults.in_process(limited)) == 1
    assert thing.found() == "old"
    assert [path.name for path in tmp_path.iterdir()] == [thing.path.name]


def test_json_comes_back_and_is_written_for_people(tmp_path: Path) -> None:
    value = {"b": [1, 0.1, None, True], "a": {"ü": "é"}}
    files.write_json(tmp_path / "x.json", value)
    assert files.read_json(tmp_path / "x.json") == value
    text = (tmp_path / "x.json").read_text(encoding="utf-8")
    assert text.startswith('{\n  "b": [\n    1,\n    0.1,')
    assert '"ü": "é"' in text
    assert text.endswith("}\n")


def test_numbers_that_are_none_are_not_written(tmp_path: Path) -> None:
    files.write_json(tmp_path / "x.json", 1)
    for value in (float("nan"), float("inf")):
        with pytest.raises(ValueError, match="JSON compliant"):
            files.write_json(tmp_path / "x.json", {"x": value})
        with pytest.raises(ValueError, match="JSON compliant"):
            files.fingerprint(value)
    assert files.read_json(tmp_path / "x.json") == 1


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "does not exist"),
        (b"\xff{}", "not UTF-8 text at byte 0"),
        (b'{"a": 1,\n  "b"', "line 2, column 6"),
        (b"[" * 100_000, "nested too deeply"),
        (b"1" * 5_000, "not valid JSON"),
    ],
)
def test_json_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None, says: str) -> None:
    file = tmp_path / "x.json"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(BadInput, match=says) as caught:
        files.read_json(file, remedy="Make it again")
    assert str(file) in str(caught.value)
    assert "Make it again" in str(caught.value)
    with pytest.raises(BadInput, match="this is a folder"):
        files.read_json(tmp_path)


def test_half_a_character_has_a_fingerprint() -> None:
    assert len({files.fingerprint(one) for one in ("\ud800", "\ud801", "?")}) == 3


def test_fingerprints_tell_values_apart_and_nothing_else() -> None:
    """The first is `printf '{"a":[2],"b":"ü"}' | sha256sum`."""
    value = {"b": "ü", "a": [2]}
    assert files.fingerprint(value) == "02ccc8a4b1806838eb95919da5e24ab5966d4d2a3a2ec2e4ce1bcbfe059f14a6"
    assert files.fingerprint(dict(reversed(value.items()))) == files.fingerprint(value)
    different = [value, {"b": "u", "a": [2]}, {"b": "ü", "a": [2.5]}, {"b": "ü", "a": 2}, [value]]
    assert len({files.fingerprint(one) for one in different}) == len(different)


def test_digests_of_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert files.file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    digest = files.folder_digest(tmp_path)
    assert digest == files.fingerprint([["a", files.file_digest(tmp_path / "a")]])
    (tmp_path / ".hidden").write_text("x")
    (tmp_path / ".folder").mkdir()
    (tmp_path / ".folder" / "x").write_text("x")
    assert files.folder_digest(tmp_path) == digest
    (tmp_path / "a").rename(tmp_path / "b")
    assert files.folder_digest(tmp_path) != digest
    (tmp_path / "b").rename(tmp_path / "a")
    assert files.folder_digest(tmp_path) == digest
    (tmp_path / "a").write_bytes(b"abd")
    assert files.folder_digest(tmp_path) != digest


def test_a_name_that_is_too_long_is_no_file_and_a_broken_disk_is_no_answer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "x").touch()
    assert files.is_file(tmp_path / "x") is True
    for none in (tmp_path, tmp_path / "y", tmp_path / ("x" * 300)):
        assert files.is_file(none) is False

    def broken(self: Path) -> bool:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Path, "is_file", broken)
    with pytest.raises(OSError, match="Input/output error"):
        files.is_file(tmp_path / "x")


def test_an_old_folder_that_cannot_be_removed_yet_is_no_error(
    tmp_path: Path, writing: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody has a file of it open, on a file system that then refuses."""
    monkeypatch.setattr(files, "_try_to_exchange", writing.cannot_exchange)
    thing = writing.WrittenFolder(tmp_path)
    thing.write("old")

    def busy(*_: Any, **__: Any) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    with monkeypatch.context() as patch:
        patch.setattr(os, "unlink", busy)
        thing.write("new")
    assert thing.found() == "new"
    thing.write("newer")
    assert [path.name for path in tmp_path.iterdir()] == [thing.path.name], "the next writer has removed it"


def test_what_would_be_waited_for_without_end_is_called_by_its_kind(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    kinds = {tmp_path / "pipe": "named pipe", tmp_path / "socket": "socket", Path("/dev/null"): "device"}
    for path, kind in kinds.items():
        for read in (files.refuse_pipe, files.read_text, files.read_json, files.read_parquet):
            with pytest.raises(BadInput, match=f"this is a {kind}, not a file.*Make it again") as caught:
                read(path, remedy="Make it again")
            assert str(path) in str(caught.value)
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file", tmp_path / "nothing", Path("\0")):
        files.refuse_pipe(path)

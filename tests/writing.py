"""Things that `qure.files` writes and what may be there of them; as a program, killed before every single call.

    python writing.py CASE FOLDER       # ends with 0 when all is well

CASE is "file", "folder" or "two steps" (a folder where the file system cannot exchange names), and " again" where
something has the name already.

A process of its own, because it copies itself hundreds of times: copying one that runs tests takes 50 ms of a core, for
the libraries that all the tests have imported.
"""

import importlib.util
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

from qure import files
from qure.files import atomic_file, atomic_folder

NAMES = ("a", "inner/b")


class Written:
    """One way to write something, and what is then there."""

    def __init__(self, parent: Path) -> None:
        self.path = parent / "thing.bin"

    def write(self, content: str) -> None:
        with atomic_file(self.path) as temporary:
            temporary.write_text(content)

    def found(self) -> str | None:
        """The content; None when there is none. Anything but one writer's whole content is an error."""
        return self.path.read_text() if self.path.exists() else None


class WrittenFolder(Written):
    """The same of a folder of two files, one in a folder of its own."""

    def write(self, content: str) -> None:
        with atomic_folder(self.path) as folder:
            for name in NAMES:
                (folder / name).parent.mkdir(exist_ok=True)
                (folder / name).write_text(content)

    def found(self) -> str | None:
        if not os.path.lexists(self.path):
            return None
        names = {path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file()}
        assert names == set(NAMES)
        (content,) = {(self.path / name).read_text() for name in NAMES}
        return content


def fresh(case: str, folder: Path) -> Iterator[Written]:
    """Things to write, each in a folder of its own."""
    kind = Written if case.startswith("file") else WrittenFolder
    for number in range(1000):
        parent = folder / str(number)
        parent.mkdir()
        thing = kind(parent)
        if case.endswith("again"):
            thing.write("old")
        yield thing


def write_next(thing: Written, after: str) -> None:
    """Whoever writes in the same folder next leaves nothing there but what was asked for."""
    with atomic_file(thing.path.with_name("other")) as temporary:
        temporary.write_text("other")
    left = {path.name for path in thing.path.parent.iterdir()}
    assert left <= {thing.path.name, "other"}, f"scratch is left: {after}"


def cannot_exchange(new: Path, path: Path) -> bool:
    """In place of `qure.files._try_to_exchange`, where a file system cannot."""
    return False


def kill_before_each_call(case: str, folder: Path) -> None:
    """Writes again and again, killed before one call more each time, until it ends."""
    faults, old, seen = _faults(), "old" if case.endswith("again") else None, set()
    for number, thing in enumerate(fresh(case, folder), start=1):
        if not faults.killed_before(number, lambda thing=thing: thing.write("new")):
            break
        if "two steps" not in case:
            assert thing.found() in (old, "new"), f"killed before call {number}"
        write_next(thing, f"killed before call {number}")
        seen.add(thing.found())
        assert thing.found() in (old, "new"), f"killed before call {number}, after the next run"
    assert number > 20, f"only {number} calls were seen"
    assert seen == {old, "new"}, "calls before and after the name changes hands were reached"


def _faults() -> ModuleType:
    spec = importlib.util.spec_from_file_location("faults", Path(__file__).with_name("faults.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


if __name__ == "__main__":
    os.fsync = os.fstat  # type: ignore[assignment]  # nothing waits for the disk; the call is made all the same
    if "two steps" in sys.argv[1]:
        files._try_to_exchange = cannot_exchange
    kill_before_each_call(sys.argv[1], Path(sys.argv[2]))

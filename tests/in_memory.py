"""Temporary files of tests lie in memory where there is plenty: folders are made and removed in no time there.

A disk takes milliseconds for each, and a registered model has a hundred. A TMPDIR or --basetemp that is given wins.
"""

import atexit
import fcntl
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

import pytest

#: A file system in memory, and the bytes that must be free of it and of the machine.
IN_MEMORY, PLENTY = Path("/dev/shm"), 8 << 30
PREFIX = "qure-pytest-"


class InMemory:
    """A pytest plugin: a folder in memory for all that is temporary, gone when all tests have passed.

    Tests that run still hold a lock on theirs. A process's number would not do: in each container it is another's.
    """

    def __init__(self) -> None:
        for left in IN_MEMORY.glob(f"{PREFIX}*"):  # by tests that failed or were killed
            with suppress(OSError):  # in use, another user's, or gone
                held = _locked(left, wait=False)
                shutil.rmtree(left, ignore_errors=True)
                os.close(held)
        self.folder, self._held = _new_folder()
        self.folder.chmod(0o711)  # PostgreSQL's own user must pass
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder)
        self.process, self.passed = os.getpid(), False
        atexit.register(self.remove)  # after what is registered later: multiprocessing removes a folder of its own

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.passed = exitstatus == pytest.ExitCode.OK

    def remove(self) -> None:
        """At the process's end; not at that of one that was forked from it."""
        if self.passed and os.getpid() == self.process:
            shutil.rmtree(self.folder, ignore_errors=True)


def _new_folder() -> tuple[Path, int]:
    """A folder, locked."""
    while True:
        folder = Path(tempfile.mkdtemp(prefix=PREFIX, dir=IN_MEMORY))
        with suppress(FileNotFoundError):  # other tests that begin have taken it for one that was left
            held = _locked(folder, wait=True)
            if folder.exists():
                return folder, held
            os.close(held)


def _locked(folder: Path, *, wait: bool) -> int:
    """Opens and locks a folder.

    Raises:
        OSError: it is locked already, or not to be read.
    """
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
    except OSError:
        os.close(opened)
        raise
    return opened


def plugin(config: pytest.Config) -> InMemory | None:
    """The plugin; None where another place was chosen, and where memory is short or programs in it may not run."""
    if {"TMPDIR", "TEMP", "TMP", "PYTEST_DEBUG_TEMPROOT"} & os.environ.keys() or config.option.basetemp:
        return None
    try:
        room, known = os.statvfs(IN_MEMORY), dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text()))
        free = min(room.f_bavail * room.f_frsize, 1024 * int(known["MemAvailable"]))
    except (OSError, KeyError):  # not Linux
        return None
    fit = free >= PLENTY and os.access(IN_MEMORY, os.W_OK) and not room.f_flag & os.ST_NOEXEC
    return InMemory() if fit else None

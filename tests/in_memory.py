"""Temporary files of tests lie in memory where there is plenty: folders are made and removed in no time there.

A disk takes milliseconds for each, and a registered model has a hundred. A TMPDIR or --basetemp that is given wins.
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest

#: A file system in memory, and the bytes that must be free of it and of the machine.
IN_MEMORY, PLENTY = Path("/dev/shm"), 8 << 30
PREFIX = "qure-tests-"


class InMemory:
    """A pytest plugin: a folder in memory for all that is temporary, gone when all tests have passed."""

    def __init__(self) -> None:
        for left in IN_MEMORY.glob(f"{PREFIX}*"):  # by tests that failed or were killed
            if not Path("/proc", left.name.removeprefix(PREFIX)).exists():
                shutil.rmtree(left, ignore_errors=True)
        self.folder = IN_MEMORY / f"{PREFIX}{os.getpid()}"
        self.folder.mkdir()
        self.folder.chmod(0o711)  # PostgreSQL's own user must pass
        os.environ["TMPDIR"] = tempfile.tempdir = str(self.folder)
        self.passed = False

    def pytest_sessionfinish(self, exitstatus: int) -> None:
        self.passed = exitstatus == pytest.ExitCode.OK

    def pytest_unconfigure(self) -> None:
        if self.passed:
            shutil.rmtree(self.folder, ignore_errors=True)


def plugin(config: pytest.Config) -> InMemory | None:
    """The plugin; None where another place was chosen, and where memory is short or programs in it may not run."""
    if "TMPDIR" in os.environ or config.option.basetemp:
        return None
    try:
        room, known = os.statvfs(IN_MEMORY), dict(re.findall(r"(\w+): +(\d+) kB", Path("/proc/meminfo").read_text()))
        free = min(room.f_bavail * room.f_frsize, 1024 * int(known["MemAvailable"]))
    except (OSError, KeyError):  # not Linux
        return None
    fit = free >= PLENTY and os.access(IN_MEMORY, os.W_OK) and not room.f_flag & os.ST_NOEXEC
    return InMemory() if fit else None

"""The suite fails when a test changed the checkout or the environment: both are the user's.

A test writes into its temporary folder only. What is looked at, before and after all tests and in about a second: `git
status` with ignored files, caches left out, and files in .venv that are new or that Python cannot read any more. Files
that git knows may be edited by a person while the tests run, so they count only where nobody does: with CI set.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from qure.environment import cut_bytecode, damaged_packages

REPOSITORY = Path(__file__).resolve().parents[1]
CACHES = ("__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache", ".import_linter_cache")


class Untouched:
    """A pytest plugin that compares what is there before and after the tests.

    Args:
        checkout: a git repository.
        environment: the folder of a virtual environment.
        edits: whether a changed file that git knows counts.
    """

    def __init__(self, checkout: Path, environment: Path, *, edits: bool) -> None:
        self.checkout, self.environment, self.edits = checkout, environment, edits
        self.changes: list[str] = []

    def pytest_sessionstart(self) -> None:
        # As the file system stamps it: its clock may be milliseconds behind time.time().
        with tempfile.TemporaryFile() as file:
            self.started = os.fstat(file.fileno()).st_mtime
        self.before = self._status()

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self.before is not None:
            self.changes += sorted((self._status() or set()) - self.before)
        self.changes += self._in_environment()
        if self.changes and session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        if self.changes:
            terminalreporter.section("tests changed the checkout or the environment", red=True)
            for change in self.changes:
                terminalreporter.line(change)

    def _status(self) -> set[str] | None:
        """Lines of `git status`: two letters and a path; None where the checkout is no repository."""
        command = ["git", "--no-optional-locks", "status", "--porcelain", "--ignored=matching", "-uall"]
        done = subprocess.run(command, cwd=self.checkout, capture_output=True, text=True, check=False)
        if done.returncode:
            return None
        lines = {line for line in done.stdout.splitlines() if not any(cache in line for cache in CACHES)}
        return {line for line in lines if self.edits or line.startswith(("??", "!!"))}

    def _in_environment(self) -> list[str]:
        found = []
        for folder, _, names in os.walk(self.environment):
            if folder == str(self.environment) or Path(folder).name == "__pycache__":  # set-up's own marks; bytecode
                continue
            files = (f"{folder}/{name}" for name in names)  # some 90,000: a Path each takes seconds
            found += [f"written: {file}" for file in files if os.lstat(file).st_mtime >= self.started]
        for folder in (self.environment, *(self.checkout / name for name in ("qure", "components", "pipelines"))):
            found += [f"cut: {file}" for file in cut_bytecode(folder, self.started)]
        for site in self.environment.glob("lib/python*/site-packages"):
            found += [f"damaged: {name}: {problem}" for name, problem in damaged_packages(site).items()]
        return found


def plugin() -> Untouched | None:
    """The plugin for these tests; None where they run in no virtual environment of their own."""
    environment = Path(sys.prefix)
    if environment == Path(sys.base_prefix):
        return None
    return Untouched(REPOSITORY, environment, edits="CI" in os.environ)

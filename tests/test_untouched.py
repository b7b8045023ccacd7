"""The check that tests leave the checkout and the environment alone, on a checkout and an environment of its own."""

import os
import py_compile
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    checkout = tmp_path / "checkout"
    (checkout / "qure").mkdir(parents=True)
    (checkout / "known.txt").write_text("as committed\n")
    (checkout / ".gitignore").write_text("/mlflow.db\n__pycache__/\n/.venv\n")
    site = checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    (site / "one").mkdir(parents=True)
    (site / "one" / "__init__.py").write_text("value = 1\n" * 100)
    (site / "one-1.0.dist-info").mkdir()
    (site / "one-1.0.dist-info" / "RECORD").write_text("one/__init__.py,,1000\n")
    for file in (checkout / ".venv").rglob("*"):
        os.utime(file, (0, 0))
    who = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for command in (("init", "-q"), ("add", "."), (*who, "commit", "-qm", "x")):
        subprocess.run(["git", *command], cwd=checkout, check=True)
    return checkout


@pytest.fixture
def changes(checkout: Path, helper: Callable[[str], ModuleType]) -> Callable[..., tuple[int, list[str]]]:
    """(what a test does, edits count) -> exit status and what was found."""

    def run(act: Callable[[], Any], edits: bool = True) -> tuple[int, list[str]]:
        plugin = helper("untouched").Untouched(checkout, checkout / ".venv", edits=edits)
        session = SimpleNamespace(exitstatus=0)
        plugin.pytest_sessionstart()
        act()
        plugin.pytest_sessionfinish(session)
        return int(session.exitstatus), plugin.changes

    return run


def test_nothing_and_caches_are_no_change(checkout: Path, changes: Callable[..., tuple[int, list[str]]]) -> None:
    def act() -> None:
        py_compile.compile(str(checkout / ".venv/lib/python3.11/site-packages/one/__init__.py"))
        (checkout / "__pycache__").mkdir()
        (checkout / "__pycache__" / "x.pyc").touch()

    assert changes(act) == (0, [])


@pytest.mark.parametrize(
    ("path", "said"),
    [("new.txt", "?? new.txt"), ("mlflow.db", "!! mlflow.db"), ("known.txt", " M known.txt")],
)
def test_a_file_in_the_checkout_is_a_failure(
    checkout: Path, changes: Callable[..., tuple[int, list[str]]], path: str, said: str
) -> None:
    assert changes(lambda: (checkout / path).write_text("left")) == (1, [said])


def test_a_person_may_edit_meanwhile(checkout: Path, changes: Callable[..., tuple[int, list[str]]]) -> None:
    assert changes(lambda: (checkout / "known.txt").write_text("edited"), edits=False) == (0, [])


def test_what_is_written_into_the_environment_is_a_failure(
    checkout: Path, changes: Callable[..., tuple[int, list[str]]]
) -> None:
    site = checkout / ".venv" / "lib" / "python3.11" / "site-packages"
    assert changes(lambda: (site / "more.py").touch()) == (1, [f"written: {site / 'more.py'}"])


def test_bytecode_that_was_cut_is_a_failure(checkout: Path, changes: Callable[..., tuple[int, list[str]]]) -> None:
    source = checkout / ".venv" / "lib" / "python3.11" / "site-packages" / "one" / "__init__.py"

    def act() -> None:
        os.truncate(py_compile.compile(str(source)) or "", 40)

    status, found = changes(act)
    assert status == 1
    assert [line.split(":")[0] for line in found] == ["cut"]


def test_a_package_that_was_damaged_is_a_failure(checkout: Path, changes: Callable[..., tuple[int, list[str]]]) -> None:
    source = checkout / ".venv" / "lib" / "python3.11" / "site-packages" / "one" / "__init__.py"
    status, found = changes(source.unlink)
    assert status == 1
    assert [line.split(":")[:2] for line in found] == [["damaged", " one"]]

"""Where tests put what is temporary: what is there of other tests, and what the machine has."""

import multiprocessing
import os
import shutil
import signal
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

CHOSEN = ("TMPDIR", "TEMP", "TMP", "PYTEST_DEBUG_TEMPROOT")


@pytest.fixture
def memory(helper: Callable[[str], ModuleType], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """The plugin's module, to which an empty folder is the memory, of which any room is plenty."""
    module = helper("in_memory")
    monkeypatch.setattr(module, "IN_MEMORY", tmp_path)
    monkeypatch.setattr(module, "PLENTY", 0)
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in CHOSEN:
        monkeypatch.setenv(name, "")  # so that it is put back
        monkeypatch.delenv(name)
    return module


def plugin(memory: ModuleType, basetemp: str | None = None) -> Any:
    return memory.plugin(SimpleNamespace(option=SimpleNamespace(basetemp=basetemp)))


def test_it_is_gone_when_all_have_passed_and_stays_until_the_next_ones_otherwise(memory: ModuleType) -> None:
    one = plugin(memory)
    assert one.folder.is_dir()
    assert one.folder == Path(os.environ["TMPDIR"]) == Path(tempfile.gettempdir())
    one.pytest_sessionfinish(pytest.ExitCode.TESTS_FAILED)
    one.remove()
    assert one.folder.is_dir()
    one.pytest_sessionfinish(pytest.ExitCode.OK)
    one.remove()
    assert not one.folder.exists()


def test_what_is_in_use_stays_and_what_a_killed_process_has_left_goes(memory: ModuleType) -> None:
    context = multiprocessing.get_context("fork")
    receiving, sending = context.Pipe(duplex=False)

    def begin() -> None:
        one = plugin(memory)
        (one.folder / "file").touch()
        sending.send(one.folder)
        signal.pause()

    process = context.Process(target=begin)
    process.start()
    theirs = receiving.recv()
    ours = plugin(memory).folder
    assert (theirs / "file").is_file()
    assert ours != theirs
    process.kill()
    process.join()
    del os.environ["TMPDIR"]
    plugin(memory)
    assert not theirs.exists()


def test_a_folder_named_after_this_very_process_is_no_obstacle(memory: ModuleType, tmp_path: Path) -> None:
    """In containers that share the machine's memory every run has the same few numbers."""
    left = tmp_path / f"{memory.PREFIX}{os.getpid()}"
    left.mkdir()
    assert plugin(memory).folder.is_dir()
    assert not left.exists()


def test_no_link_is_followed(memory: ModuleType, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    kept = tmp_path_factory.mktemp("kept")
    (kept / "file").touch()
    (tmp_path / f"{memory.PREFIX}link").symlink_to(kept)
    plugin(memory)
    assert (kept / "file").is_file()


@pytest.mark.parametrize("variable", CHOSEN)
def test_a_place_that_was_chosen_is_taken(memory: ModuleType, variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, "/tmp")
    assert plugin(memory) is None


def test_neither_where_another_was_asked_for_nor_where_there_is_none_or_little(
    memory: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert plugin(memory, basetemp="/tmp/x") is None
    monkeypatch.setattr(memory, "PLENTY", shutil.disk_usage(tmp_path).total + 1)
    assert plugin(memory) is None
    monkeypatch.setattr(memory, "PLENTY", 0)
    monkeypatch.setattr(memory, "IN_MEMORY", tmp_path / "missing")
    assert plugin(memory) is None
    assert list(tmp_path.iterdir()) == []

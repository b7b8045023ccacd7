"""What is planned to make a version again, what is run, and what is said where it fails; no command begins here.

`test_reproduction.py` makes a version again for real.
"""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.registry import reproduction
from qure.registry.reproduction import Rebuild, RebuildStep, compare, plan, rebuild
from qure.tracking import environment

COMMIT, REVISION, ADDRESS = "c" * 40, "d" * 40, "models:/qure-cirr@champion"


class Commands:
    """Commands that are begun: what they print and how they end, by a word in them; `done`: each with its folder."""

    def __init__(self) -> None:
        self.ends: dict[str, tuple[int, str]] = {}
        self.done: list[tuple[tuple[str, ...], Path]] = []
        self.environment: dict[str, str] = {}

    def run(self, command: Any, *, cwd: Path, env: dict[str, str] | None = None, **_: Any) -> Any:
        self.done.append((tuple(command), Path(cwd)))
        self.environment = env or {}
        code, printed = next((end for word, end in self.ends.items() if word in command), (0, ""))
        return SimpleNamespace(returncode=code, stdout=printed)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Commands:
    made = Commands()
    monkeypatch.setattr(subprocess, "run", made.run)
    return made


@pytest.fixture
def planned(
    settings: Settings, tmp_path: Path, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Rebuild]:
    """Plans with what lineage tells; its environment may be another."""

    def make(**recorded: str) -> Rebuild:
        told = {
            "name": "qure-cirr",
            "version": 3,
            "code": {"commit": COMMIT},
            "data": {"revision": REVISION},
            "settings": {"training": {"fashioniq": {}, "cirr": {}}},
            "environment": recorded,
            "missing": [],
        }
        monkeypatch.setattr(reproduction, "lineage", lambda *_, **__: told)
        return plan(settings, ADDRESS, tmp_path / "again", project=tmp_path)

    return make


def test_code_and_data_of_then_are_brought_and_the_stages_run_in_order(
    planned: Callable[..., Rebuild], commands: Commands, tmp_path: Path
) -> None:
    commands.ends["cache"] = (0, ".dvc/cache\n")
    made, folder = planned(), tmp_path / "again"
    assert (made.address, made.training_set, made.warnings) == ("models:/qure-cirr/3", "cirr", ())
    words = [step.command for step in made.steps]
    assert words[0] == ("git", "worktree", "add", "--detach", str(folder), COMMIT)
    assert words[1] == ("git", "checkout", REVISION, "--", "data.dvc")
    assert words[2][3:] == ("cache", "dir", "--local", f"{tmp_path}/.dvc/cache")
    assert [one[3] for one in words[4:]] == ["validate", "validate", "backbone", "precompute", "train"]
    assert [one[5] for one in words[4:6]] == ["cirr", "fashioniq"], "the backbone asks that all data has passed"
    assert [one[5] for one in words[7:]] == ["cirr", "cirr"]
    assert {one[0] for one in words[2:]} == {sys.executable}
    assert [step.folder for step in made.steps] == [tmp_path, *[folder] * 8]


def test_what_is_installed_otherwise_than_then_is_said(planned: Callable[..., Rebuild], commands: Commands) -> None:
    commands.ends["cache"] = (0, "/shared/cache\n")
    now = environment()
    made = planned(torch="0.1", numpy=now["numpy"], gone="7", image="x@sha256:1", qure="0.0.1")
    assert made.warnings == ("gone: 7 then, nothing here", f"torch: 0.1 then, {now['torch']} here")
    assert "/shared/cache" in made.steps[2].command


def test_where_it_cannot_be_planned_the_way_out_is_told(
    planned: Callable[..., Rebuild], commands: Commands, tmp_path: Path
) -> None:
    for end in ((1, ""), (0, "")):
        commands.ends["cache"] = end
        with pytest.raises(
            BadInput, match=r"DVC does not say where its cache is\. Run it in a checkout: dvc cache dir"
        ):
            planned()
    (tmp_path / "again").mkdir()
    with pytest.raises(BadInput, match=r"again: it exists already\. Name another folder: --folder"):
        planned()


@pytest.fixture
def rebuilding(tmp_path: Path) -> Rebuild:
    """A plan of two steps."""
    steps = (RebuildStep(("first",), tmp_path), RebuildStep(("second", "a b"), tmp_path / "again"))
    (tmp_path / "again").mkdir()
    return Rebuild("models:/qure-cirr/3", "cirr", tmp_path / "again", {"seed": 7}, steps, ())


def test_a_plan_is_run_with_its_settings_and_away_from_the_registry(
    settings: Settings, rebuilding: Rebuild, commands: Commands, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[Any] = []
    monkeypatch.setattr(reproduction, "compare", lambda *told: compared.append(told) or {"identical": True})
    assert rebuild(settings, rebuilding) == {"identical": True}
    assert commands.done == [(step.command, step.folder) for step in rebuilding.steps]
    assert json.loads((rebuilding.folder / "reproduced.json").read_text()) == {"seed": 7}
    assert commands.environment["MLFLOW_TRACKING_URI"] == "none"
    assert commands.environment["PYTHONPATH"] == str(rebuilding.folder)
    assert commands.environment["PATH"] == os.environ["PATH"]
    assert compared == [(settings, "models:/qure-cirr/3", rebuilding.folder / "artifacts" / "cirr" / "model")]


def test_a_command_that_fails_is_named(settings: Settings, rebuilding: Rebuild, commands: Commands) -> None:
    commands.ends["second"] = (7, "")
    with pytest.raises(
        StageFailed, match=r"step 2 of 2 ended with 7, its message stands above: cd .*/again && second 'a b'"
    ):
        rebuild(settings, rebuilding)


def test_files_are_compared_byte_by_byte(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept, made = tmp_path / "kept", tmp_path / "made"
    for folder, files in ((kept, {"a": "1", "b": "2", "x/c": "3"}), (made, {"a": "1", "b": "0", "d": "4"})):
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
    monkeypatch.setattr(reproduction, "connect", lambda tracking: None)
    monkeypatch.setattr(reproduction, "find", lambda client, address: SimpleNamespace(name="qure-cirr", version="3"))
    monkeypatch.setattr(reproduction, "download", lambda uri, folder: kept)
    found = compare(settings, ADDRESS, made)
    assert found["files"] == {"a": True, "b": False, "d": False, "x/c": False}
    assert not found["identical"]
    assert compare(settings, ADDRESS, kept)["identical"]

    def gone(uri: str, folder: str) -> Path:
        raise OSError("no such bucket\nand more")

    monkeypatch.setattr(reproduction, "download", gone)
    with pytest.raises(StageFailed, match=r"models:/qure-cirr/3/.* cannot be downloaded: .*no such bucket$"):
        compare(settings, ADDRESS, made)

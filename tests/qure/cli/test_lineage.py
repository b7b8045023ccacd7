"""`qure reproduce`: what it prints, for people and for programs, and how it ends."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.registry.reproduction import Rebuild, RebuildStep

ADDRESS = "models:/qure-cirr@champion"


@pytest.fixture
def planned(project: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Plans of one step; the folders that were asked for."""
    asked = []

    def plan(settings: Any, address: str, folder: Path) -> Rebuild:
        asked.append(folder)
        steps = (RebuildStep(("git", "worktree"), project),)
        return Rebuild("models:/qure-cirr/3", "cirr", folder, {"seed": 7}, steps, ("torch: 1 then, 2 here",))

    monkeypatch.setattr("qure.registry.reproduction.plan", plan)
    return asked


def test_the_commands_are_shown_and_what_is_installed_otherwise(
    qure: Callable[..., Any], project: Path, planned: list[Path]
) -> None:
    said = qure("reproduce", ADDRESS)
    assert said.exit_code == 0
    assert f"cd {project} && git worktree" in said.out
    assert '"seed": 7' in said.out
    assert "warning: the environment differs: torch: 1 then, 2 here" in said.err
    told = json.loads(qure("reproduce", ADDRESS, "--json", "--folder", "again").out)
    commands = [f"cd {project} && git worktree"]
    assert told == {"model": "models:/qure-cirr/3", "commands": commands, "settings": {"seed": 7}}
    assert planned == [Path(".work/reproduced/qure-cirr-champion"), Path("again")]


@pytest.mark.parametrize("same", [True, False])
def test_files_that_differ_end_red(
    qure: Callable[..., Any], planned: list[Path], monkeypatch: pytest.MonkeyPatch, same: bool
) -> None:
    found = {"files": {"config.json": True, "model.safetensors": same}, "identical": same}
    monkeypatch.setattr("qure.registry.reproduction.rebuild", lambda settings, planned: found)
    said = qure("reproduce", ADDRESS, "--run")
    assert said.exit_code == (0 if same else 1)
    assert said.out.splitlines()[0] == "identical  config.json"
    assert said.out.splitlines()[1].split() == ["identical" if same else "DIFFERS", "model.safetensors"]
    assert ("not byte by byte the same" in said.err) == (not same)
    assert json.loads(qure("reproduce", ADDRESS, "--run", "--json").out) == found

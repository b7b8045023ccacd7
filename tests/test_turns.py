"""Long tests by turns: every module has its turn, the turns take as long, and those of every gate are in each."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[1]
LONG = ("tests/tools/test_docs_site.py", "tests/qure/studio/test_answers.py", "tests/pipelines/test_image.py")


@pytest.fixture
def turns(helper: Callable[[str], ModuleType]) -> ModuleType:
    return helper("turns")


def test_every_module_has_one_turn(turns: ModuleType) -> None:
    modules = [f"tests/test_{number}.py" for number in range(23)]
    seconds = {module: float(number**2) for number, module in enumerate(modules)}
    parts = [turns.modules_of(part, 4, [*modules, *turns.ALWAYS], seconds) for part in range(4)]
    assert sorted(module for part in parts for module in part - set(turns.ALWAYS)) == sorted(modules)
    assert all(part >= set(turns.ALWAYS) for part in parts)
    loads = [sum(seconds.get(module, 0.0) for module in part) for part in parts]
    assert max(loads) - min(loads) < 0.1 * sum(loads) / 4


@pytest.mark.parametrize("turn", ["", "3", "3/0", "-1/4", "a/4", "3/4/5"])
def test_what_is_no_turn_is_refused(turns: ModuleType, turn: str) -> None:
    with pytest.raises(ValueError, match="is not SEED/PARTS"):
        turns.parse(turn)


def test_what_was_measured_is_kept_beside_what_was_not_run(
    turns: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(turns, "SECONDS", tmp_path / "seconds.json")
    assert turns.read_seconds() == {}
    turns.write_seconds({"b": 1.26, "a": 2.0})
    turns.write_seconds({"a": 3.0})
    assert turns.read_seconds() == {"a": 3.0, "b": 1.3}


@pytest.mark.integration
def test_together_the_turns_of_a_run_are_all_its_tests() -> None:
    """As `.ci/run` asks; here of three modules, which two turns share."""
    every = _collected()
    turns = [_collected("--turn", f"{seed}/2") for seed in (6, 7)]
    assert turns[0] | turns[1] == every
    assert turns[0] & turns[1] == {test for test in every if test.startswith("tests/pipelines/test_image.py")}
    assert all(turn < every for turn in turns)


def _collected(*options: str) -> set[str]:
    command = [sys.executable, "-m", "pytest", *LONG, "-q", "--collect-only", "-n", "0", "-p", "no:cacheprovider"]
    found = subprocess.run(
        [*command, "-m", "containers or integration", *options],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    return {line for line in found.stdout.splitlines() if "::" in line}

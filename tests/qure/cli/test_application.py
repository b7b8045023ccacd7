"""Global options, choices and completion."""

import logging
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from qure import __version__, benchmarks
from qure.cli import app
from qure.cli.options import TrainingSet, training_sets
from qure.progress import VERBOSITY, log_to_terminal, verbosity

SET_COMMANDS = (
    "validate",
    "compare-data",
    "precompute",
    "train",
    "evaluate",
    "register",
    "promote",
    "rollback",
    "ablate",
)


@pytest.fixture(autouse=True)
def level() -> Iterator[None]:
    before = logging.getLogger("qure").level
    yield
    logging.getLogger("qure").setLevel(before)
    app.verbose = False


def test_the_version(qure: Callable[..., Any]) -> None:
    said = qure("--version")
    assert (said.exit_code, said.out) == (0, f"qure {__version__}\n")


@pytest.mark.parametrize(("option", "expected"), [("-v", "DEBUG"), ("--quiet", "WARNING")])
def test_how_much_is_said(qure: Callable[..., Any], project: Path, option: str, expected: str) -> None:
    assert qure(option, "train", "--training-set", "fashioniq").exit_code == 2
    assert logging.getLevelName(logging.getLogger("qure").level) == expected


@pytest.mark.parametrize("number", [1, 0, -1])
def test_commands_that_a_command_starts_say_as_much(
    qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    log_to_terminal(number)
    monkeypatch.setenv(VERBOSITY, str(verbosity()))  # as `qure demo` hands it to the stages
    qure("train", "--training-set", "fashioniq")
    assert verbosity() == number


def test_verbose_shows_where_an_error_came_from(qure: Callable[..., Any], project: Path) -> None:
    (project / "params.yaml").unlink()
    assert "Traceback" in qure("-v", "train", "--training-set", "fashioniq").err
    assert "Traceback" not in qure("train", "--training-set", "fashioniq").err


@pytest.mark.parametrize("command", SET_COMMANDS)
def test_an_unknown_training_set_is_named_with_the_choices(
    qure: Callable[..., Any], project: Path, command: str
) -> None:
    said = qure(command, "--training-set", "foo")
    assert said.exit_code == 2
    assert "--training-set': no training set 'foo'; there are cirr, fashioniq" in said.err


def test_an_unknown_benchmark_is_named_with_the_choices(qure: Callable[..., Any], project: Path) -> None:
    said = qure("evaluate-embeddings", "--benchmark", "foo", "--root", ".", "--split", "val", "--queries", "a")
    assert said.exit_code == 2
    assert "--benchmark': no benchmark 'foo'; there are fashioniq, hp-fashioniq, cirr, circo" in said.err


def test_search_advises_nothing_that_cannot_work(qure: Callable[..., Any], project: Path) -> None:
    (project / "a.jpg").write_bytes(b"")
    said = qure("search", "a.jpg", "is blue", "--training-set", "foo")
    assert said.exit_code == 2
    assert "there are cirr, fashioniq" in said.err
    assert "dvc repro" not in said.err


def test_help_shows_the_registry_s_choices() -> None:
    (option,) = TrainingSet.__metadata__  # type: ignore[attr-defined]
    assert option.metavar == f"[{'|'.join(benchmarks.training_sets())}]"
    assert training_sets() == list(benchmarks.training_sets())


@pytest.mark.parametrize(
    ("typed", "expected"),
    [
        ("qure train --training-set ci", ["cirr"]),
        ("qure evaluate-embeddings --benchmark cir", ["cirr", "circo"]),
        ("qure evaluate-embeddings --benchmark cirr --split t", ["train", "test1"]),
        ("qure evaluate-embeddings --benchmark fashioniq --category s", ["shirt"]),
    ],
)
def test_the_shell_can_complete(typed: str, expected: list[str]) -> None:
    environment = os.environ | {
        "_QURE_COMPLETE": "complete_bash", "COMP_WORDS": typed, "COMP_CWORD": str(len(typed.split()) - 1),
    }  # fmt: skip
    script = "import sys; sys.argv = ['qure']; from qure.cli import app; app(prog_name='qure')"
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.stdout.split() == expected


@pytest.mark.parametrize("command", ["results", "evaluate-embeddings", "compare-data", "search", "ablate", "rollback"])
def test_what_prints_a_table_prints_json_too(qure: Callable[..., Any], command: str) -> None:
    assert "--json" in qure(command, "--help").out

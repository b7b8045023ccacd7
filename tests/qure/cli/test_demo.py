"""`qure demo` as a person meets it: what it makes of what DVC says, and what it says itself."""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.cli import demo
from qure.cli.demo import ABOUT, Chain, announcement, read_seconds
from qure.errors import StageFailed

REPOSITORY = Path(__file__).resolve().parents[3]

FIRST = """\
'data.dvc' didn't change, skipping
Stage 'validate@cirr' didn't change, skipping
Running stage 'train@cirr':
> qure train --training-set cirr
Updating lock file 'dvc.lock'

something that is new to us
Running stage 'promote@cirr':
> qure promote --training-set cirr
Updating lock file 'dvc.lock'

To track the changes with git, run:

\tgit add dvc.lock

To enable auto staging, run:

\tdvc config core.autostage true
Use `dvc push` to send your updates to remote storage.
"""


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> list[str]:
    """The demo's own lines."""
    monkeypatch.setattr(demo, "count_stages", lambda: 13)
    caplog.set_level(logging.INFO, logger="qure")
    return caplog.messages


def test_each_stage_is_named_before_it_runs(said: list[str], caplog: Any, capsys: Any) -> None:
    chain = Chain()
    for line in FIRST.splitlines():
        chain.hear(line)
    first, second = caplog.messages
    assert first.startswith(f"stage 2 of 13, train@cirr: {ABOUT['train']}")
    assert second.startswith(f"stage 3 of 13, promote@cirr: {ABOUT['promote']}")
    assert (chain.ran, chain.kept) == (["train@cirr", "promote@cirr"], ["validate@cirr"])
    assert capsys.readouterr().err == "something that is new to us\n"


def test_every_stage_has_its_words() -> None:
    import yaml

    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert set(ABOUT) == set(stages)


def test_the_time_is_that_of_a_measured_run() -> None:
    seconds = read_seconds()["seconds"]
    assert f"about {max(1, round(sum(seconds.values()) / 60))} min" in announcement()
    assert f"on {read_seconds()['cores']} idle cores" in announcement()


def _dvc(folder: Path, output: str, exit_code: int = 0) -> None:
    """A `python -m dvc` that says this."""
    (folder / "dvc.py").write_text(f"import sys\nsys.stdout.write({output!r})\nsys.exit({exit_code})\n")


def test_a_failed_stage_is_named_and_ends_red(said: list[str], tmp_path: Path, monkeypatch: Any) -> None:
    _dvc(tmp_path, "Running stage 'train@cirr':\n", 255)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StageFailed, match="stage 'train@cirr' failed"):
        Chain().run()


def test_a_second_run_says_that_nothing_had_to_be_done(
    said: list[str], qure: Callable[..., Any], project: Path, monkeypatch: Any, caplog: Any
) -> None:
    (project / "dvc.yaml").write_text("stages: {}")
    (project / "data").mkdir()
    (project / "data" / "something").write_text("")
    _dvc(project, "Stage 'validate@cirr' didn't change, skipping\nStage 'train@cirr' didn't change, skipping\n")
    monkeypatch.setattr(demo, "results", lambda **_: print("the results"))
    ended = qure("demo", "--timings", "t.json")
    assert (ended.exit_code, ended.out) == (0, "the results\n")
    assert "nothing had to be done: all 2 stages are up to date" in caplog.messages
    assert (project / "t.json").is_file()


def test_elsewhere_it_says_where_it_belongs(qure: Callable[..., Any], project: Path) -> None:
    ended = qure("demo")
    assert ended.exit_code == 2
    assert "there is no dvc.yaml in this folder" in ended.err

"""`make bench`: what can run runs, what cannot says what it needs, a failure spoils nothing else."""

import subprocess
from pathlib import Path

import pytest

from benchmarks import __main__ as suite
from benchmarks import page

#: `mutation`, with its `guards`, is asked about modules by name: it judges tests, and costs hours for all of them.
OTHERS = {"__main__", "common", "faults", "guards", "page", "sections", "mutation"}
FOLDER = Path(suite.__file__).parent
SCRIPTS = {file.stem for file in FOLDER.glob("*.py")} - OTHERS | {
    file.parent.name for file in FOLDER.glob("*/__main__.py")
}


def test_every_script_is_in_the_suite() -> None:
    assert {one.name for one in suite.benchmarks(None)} == SCRIPTS


def test_what_a_machine_lacks_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert suite.main(["--list", "--annotations", str(tmp_path / "none")]) == 0
    said = dict(line.split(": ", 1) for line in capsys.readouterr().out.splitlines())
    assert said.keys() == SCRIPTS
    assert said["mining"] == "runs"
    assert said["evaluation"] == "not run, needs the published annotation files (--annotations)"


def test_a_benchmark_that_fails_is_named_and_the_others_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[str] = []

    def run(command: list[str], **_: object) -> "subprocess.CompletedProcess[str]":
        ran.append(command[2])
        return subprocess.CompletedProcess(command, 3 if command[2].endswith("mining") else 0)

    monkeypatch.setattr(suite.subprocess, "run", run)
    monkeypatch.setattr(page, "PAGE", tmp_path / "page.md")
    monkeypatch.setattr(page, "IMAGE", tmp_path / "page.png")
    assert suite.main(["--only", "mining,training_step"]) == 1
    assert ran == ["benchmarks.mining", "benchmarks.training_step"]
    assert "failed: mining" in capsys.readouterr().err
    assert (tmp_path / "page.md").is_file()

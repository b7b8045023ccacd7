"""A package that is asked in another interpreter: what is said where that one ends otherwise than with an answer."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from qure.errors import StageFailed
from qure.registry import answering, packaging
from qure.registry.packaging import answers, ask

#: These look at `_ask` itself.
pytestmark = pytest.mark.fresh_interpreter


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """What of a package is read in this process."""
    made = tmp_path / "package"
    made.mkdir()
    (made / "example_answer.json").write_text(json.dumps({"ids": ["a", "b"], "scores": [0.9, 0.1]}))
    return made


@pytest.fixture
def interpreter(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[dict[str, Any]]]:
    """Lets the other interpreter write a reply, or end in another way; returns how it was begun."""

    def ends(reply: Any = None, *, code: int = 0, stderr: str = "", late: bool = False) -> list[dict[str, Any]]:
        begun: list[dict[str, Any]] = []

        def run(command: list[str], **options: Any) -> Any:
            begun.append({"command": command, **options})
            if late:
                raise subprocess.TimeoutExpired(command, options["timeout"])
            if reply is not None:
                Path(command[-1]).write_text(json.dumps(reply))
            return SimpleNamespace(returncode=code, stderr=stderr)

        monkeypatch.setattr(subprocess, "run", run)
        return begun

    return ends


def test_it_is_asked_without_this_process_s_paths(
    folder: Path, interpreter: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PYTHONPATH", "/a/copy/of/qure")
    reply = {"answer": {"ids": ["a", "b"], "scores": [0.9, 0.1]}, "differences": ["x==1 is asked for, 2 is installed"]}
    begun = interpreter(reply)
    assert answers(folder) == reply["answer"]
    (one,) = begun
    assert one["command"][:2] == [sys.executable, "-P"]
    assert one["command"][3] == str(folder)
    assert "PYTHONPATH" not in one["env"]
    assert one["env"]["PATH"] == os.environ["PATH"]
    assert (
        "environment other than its own: x==1 is asked for, 2 is installed. `promotion.environment: own`" in caplog.text
    )


@pytest.mark.parametrize(
    ("ends", "words"),
    [
        ({"late": True}, r"does not load or answer: it took more than \d+ s"),
        ({"code": -9}, "its process ended with -9: no message"),
        (
            {"code": 1, "stderr": "Traceback\nKeyError: token=hunter2hunter2\n"},
            r"ended with 1: KeyError: token=\*\*\*$",
        ),
        ({"reply": {"error": "no weights"}}, "does not load or answer: no weights"),
        ({"reply": {"answer": {"ids": [], "scores": []}, "differences": []}}, r"is not a ranking: ids \[\], scores"),
        ({"reply": {"answer": {"ids": ["a"], "scores": [7.0]}, "differences": []}}, r"not a ranking: .*\[7.0\]"),
        ({"reply": {"answer": {"ids": ["a"], "scores": [0.9]}, "differences": []}}, "when it was packaged they were"),
    ],
)
def test_what_is_no_answer_is_said(folder: Path, interpreter: Any, ends: dict[str, Any], words: str) -> None:
    interpreter(**ends)
    with pytest.raises(StageFailed, match=words) as failure:
        answers(folder)
    assert "hunter2" not in str(failure.value)


@pytest.mark.parametrize(("stderr", "said"), [("a\nno space left\n", "no space left"), ("", "no message")])
def test_an_environment_that_cannot_be_made_is_said(folder: Path, interpreter: Any, stderr: str, said: str) -> None:
    begun = interpreter(code=1, stderr=stderr)
    with pytest.raises(StageFailed, match=f"the model's own environment cannot be made: {said}$"):
        answers(folder, environment="own")
    assert [one["command"][1:3] for one in begun] == [["-m", "venv"]]


def test_its_own_environment_answers(folder: Path, interpreter: Any) -> None:
    begun = interpreter({"answer": {"ids": ["a", "b"], "scores": [0.9, 0.1]}, "differences": []})
    answers(folder, environment="own")
    made, filled, asked = (one["command"] for one in begun)
    python = f"{made[-1]}/bin/python"
    assert filled == [python, "-m", "pip", "install", "-q", "-r", str(folder / "requirements.txt")]
    assert asked[0] == python


def test_a_folder_that_is_no_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match="the model does not load or answer: "):
        ask(tmp_path, pd.DataFrame())


def test_what_is_installed_is_compared_with_what_is_asked_for(tmp_path: Path) -> None:
    numpy = metadata.version("numpy")
    lines = ["# a comment", "", f"numpy=={numpy}  # as here", "rich==0.0.1", "no-such-package-here==1.0"]
    (tmp_path / "requirements.txt").write_text("\n".join(lines))
    assert answering.differences(tmp_path) == [
        f"rich==0.0.1 is asked for, {metadata.version('rich')} is installed",
        "no-such-package-here==1.0 is not installed",
    ]


@pytest.mark.parametrize("links", [True, False])
def test_a_model_is_linked_or_copied_into_its_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, links: bool
) -> None:
    def refuse(one: str, other: str) -> None:
        raise OSError(18, "Invalid cross-device link")

    source, target = tmp_path / "model", tmp_path / "package" / "model"
    source.mkdir()
    (source / "weights").write_bytes(b"w")
    (source / ".lock").touch()
    if not links:
        monkeypatch.setattr(os, "link", refuse)
    packaging._link(source, target)
    assert [file.name for file in target.iterdir()] == ["weights"]
    assert (target / "weights").read_bytes() == b"w"
    assert (target / "weights").samefile(source / "weights") == links

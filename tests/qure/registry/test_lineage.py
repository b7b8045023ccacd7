"""What is told of a version: what was recorded, who made it champion, and what an old version lacks."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.cli import app
from qure.cli.lineage import lines
from qure.config import Settings
from qure.errors import BadInput
from qure.registry import stage
from qure.registry.lineage import lineage
from qure.registry.reproduction import Rebuild, RebuildStep, plan, script
from qure.tracking import connect

DATA = "md5:0123456789abcdef0123456789abcdef.dir"
COMMIT = "a" * 40


@pytest.fixture
def enter(
    packaged_once: None,
    settings: Settings,
    few_images: Path,
    model_of: Callable[[int], Path],
    judged: Callable[..., Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[..., None]:
    """Registers and promotes a version, made of committed code."""
    monkeypatch.setenv("QURE_COMMIT", COMMIT)
    monkeypatch.setenv("QURE_IMAGE", "registry.example/qure@sha256:" + "b" * 64)

    def run(seed: int, quality: float) -> None:
        evaluation = judged(model_of(seed), quality)
        common: dict[str, Any] = {"evaluation": evaluation}
        registration = tmp_path / f"registration-{seed}.json"
        told: dict[str, Any] = {"data": few_images, "model": model_of(seed), "data_fingerprint": DATA}
        stage.register(settings, "fashioniq", output=registration, **told, **common)
        stage.promote(
            settings, "fashioniq", registration=registration, output=tmp_path / f"promotion-{seed}.json", **common
        )

    return run


def test_everything_that_was_recorded_is_told(settings: Settings, enter: Callable[..., None], tmp_path: Path) -> None:
    enter(1, 0.4)
    enter(2, 0.5)
    stage.rollback(settings, "fashioniq")
    project = tmp_path / "project"
    _project_with(project, DATA)
    told = lineage(settings, "models:/qure-fashioniq/2", project=project)
    assert (told["code"]["commit"], told["data"]["fingerprint"]) == (COMMIT, DATA)
    assert told["data"]["revision"] == _git(project, "rev-parse", "HEAD~1"), "where data.dvc names this data"
    assert told["environment"]["image"].endswith("b" * 64)
    assert told["environment"]["torch"]
    assert told["settings"]["evaluation"]["bootstrap_samples"] == 200
    assert "tracking" not in told["settings"]
    assert [(change["reason"], change["version"]) for change in told["champion"]] == [
        ("promoted", 2),
        ("rolled back", 1),
    ]
    assert told["champion"][1]["command"] == "qure rollback --training-set fashioniq"
    assert told["model"]["backbone"] == "the backbone of 2"
    assert any("training run" in one for one in told["missing"]), "these tests train nothing"
    said = "\n".join(lines(told))
    for part in (
        COMMIT,
        DATA,
        "qure promote --training-set fashioniq",
        "not worse than the champion",
        "missing",
        "bootstrap_samples: 200",
    ):
        assert part in said


def test_the_printed_commands_can_be_run_as_they_are(tmp_path: Path) -> None:
    folder, settings = tmp_path / "a folder", {"evaluation": {"remark": "it's $HOME"}}
    show = ("python3", "-c", "import os; print(os.environ['PYTHONPATH'], os.environ['MLFLOW_TRACKING_URI'])")
    steps = (
        RebuildStep(("mkdir", str(folder)), tmp_path),
        RebuildStep(("cat", "reproduced.json"), folder),
        RebuildStep(show, folder),
    )
    planned = Rebuild("models:/qure-fashioniq/1", "fashioniq", folder, settings, steps, ())
    lines = "\n".join(script(planned))
    done = subprocess.run(["sh", "-e"], input=lines, capture_output=True, text=True, check=True)
    content, _, environment = done.stdout.rstrip().rpartition("\n")
    assert json.loads(content) == settings
    assert environment == f"{folder} none"


def test_what_an_old_version_lacks_is_said(settings: Settings, enter: Callable[..., None], tmp_path: Path) -> None:
    enter(1, 0.4)
    client = connect(settings.tracking)
    client.create_model_version("qure-fashioniq", source="s3://bucket/model", run_id="0" * 32)
    told = lineage(settings, "models:/qure-fashioniq/2", project=tmp_path)
    missing = "\n".join(told["missing"])
    for what in ("the code's commit", "the data's fingerprint", "the settings", "register run is gone", "no image"):
        assert what in missing
    assert told["champion"] == []
    with pytest.raises(BadInput, match="which is no commit of git"):
        plan(settings, "models:/qure-fashioniq/2", tmp_path / "worktree", project=tmp_path)
    with pytest.raises(BadInput, match=r"cannot be rebuilt: .*no commit of the repository"):
        plan(settings, "models:/qure-fashioniq/1", tmp_path / "worktree", project=tmp_path)


def test_what_is_not_there_is_named(settings: Settings, enter: Callable[..., None]) -> None:
    enter(1, 0.4)
    for address in ("models:/qure-fashioniq@nobody", "models:/qure-fashioniq/9", "models:/qure-x/1"):
        with pytest.raises(BadInput, match=rf"{address} is not there"):
            lineage(settings, address)
    with pytest.raises(BadInput, match="names no version"):
        lineage(settings, "qure-fashioniq")


def test_on_the_command_line(
    settings: Settings, enter: Callable[..., None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    enter(1, 0.4)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text(json.dumps(settings.model_dump(mode="json")))
    with pytest.raises(SystemExit) as end:
        app(["lineage", "models:/qure-fashioniq@champion", "--json"])
    assert not end.value.code
    assert json.loads(capsys.readouterr().out)["champion"][0]["why"] == "there was no champion"
    with pytest.raises(SystemExit) as end:
        app(["lineage", "models:/qure-fashioniq@champion"])
    assert not end.value.code
    said = capsys.readouterr().out
    assert "qure-fashioniq" in said.splitlines()[0]
    assert "there was no champion" in said


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", str(folder), *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


def _project_with(folder: Path, data: str) -> None:
    """A repository whose data.dvc named this data, and names other data now."""
    folder.mkdir()
    _git(folder, "init", "-q")
    for digest in ("f" * 32 + ".dir", data.removeprefix("md5:"), "e" * 32 + ".dir"):
        (folder / "data.dvc").write_text(f"outs:\n- md5: {digest}\n  path: data\n")
        _git(folder, "add", "-A")
        _git(folder, "commit", "-qm", digest)

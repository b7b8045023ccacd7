"""`qure data restore`: the rendered bytes are those that data.dvc tracks, and anything else is refused."""

import contextlib
import io
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import yaml

from qure.catalogue.restore import restore
from qure.config import Settings
from qure.errors import BadInput

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What a fresh clone holds that matters here: settings and pointer, no data, an empty DVC cache."""
    for name in ("data.dvc", "params.yaml", ".dvcignore"):
        shutil.copy(REPOSITORY / name, tmp_path / name)
    subprocess.run([sys.executable, "-m", "dvc", "init", "--no-scm", "--quiet"], cwd=tmp_path, check=True)
    return tmp_path


def _restore(folder: Path) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "qure.cli", "data", "restore"],
        cwd=folder, capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "200"},
    )  # fmt: skip


@pytest.mark.integration
def test_the_rendered_bytes_have_the_hash_under_version_control(clone: Path) -> None:
    pointer = (clone / "data.dvc").read_text()
    done = _restore(clone)
    assert done.returncode == 0, done.stderr
    assert (clone / "data.dvc").read_text() == pointer
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "data.dvc"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert "up to date" in status.stdout


@pytest.mark.integration
def test_a_catalogue_of_other_settings_is_not_taken_for_the_tracked_data(clone: Path) -> None:
    params = yaml.safe_load((clone / "params.yaml").read_text())
    params["catalogue"] = {"scale": 0.1}
    (clone / "params.yaml").write_text(yaml.safe_dump(params))
    pointer = (clone / "data.dvc").read_text()
    done = _restore(clone)
    assert done.returncode == 2
    assert "data.dvc" in done.stderr
    assert "dvc pull" in done.stderr
    assert (clone / "data.dvc").read_text() == pointer
    assert not (clone / "data").exists()


SETTINGS = Settings.model_validate({"training": {}})


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A DVC project whose `data` holds one file. DVC runs in this process: as one of its own it mostly imports."""

    def run(command: list[str], *, check: bool, **_: Any) -> "subprocess.CompletedProcess[str]":
        said = io.StringIO()
        with contextlib.redirect_stdout(said):
            code = dvc(*command[3:])
        return subprocess.CompletedProcess(command, code, said.getvalue(), f"DVC's answer is {code}")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DVC_NO_ANALYTICS", "1")
    monkeypatch.setattr("qure.catalogue.restore.subprocess", SimpleNamespace(run=run))
    monkeypatch.setattr("qure.catalogue.restore.render", lambda _, data: write(data, "rendered"))
    assert dvc("init", "--no-scm", "--quiet") == 0
    return tmp_path


def dvc(*arguments: str) -> int:
    from dvc.cli import main  # here: importing it takes a second

    return int(main(list(arguments)))


def write(data: Path, text: str) -> None:
    data.mkdir(exist_ok=True)
    (data / "captions.json").write_text(text)


def track(data: Path, text: str) -> str:
    """Puts the data under DVC's version control; returns the pointer. The data itself is gone afterwards."""
    write(data, text)
    assert dvc("add", "--quiet", str(data)) == 0
    shutil.rmtree(data)
    return data.with_name("data.dvc").read_text()


def forget(project: Path) -> None:
    """The DVC cache of a machine that has never seen the data."""
    shutil.rmtree(project / ".dvc" / "cache")


def test_data_that_is_there_is_left_alone(project: Path) -> None:
    write(project / "data", "mine")
    assert restore(SETTINGS, project / "data") == "present"
    assert (project / "data" / "captions.json").read_text() == "mine"
    assert not (project / "data.dvc").exists()


def test_linked_folders_in_it_are_named(project: Path, caplog: pytest.LogCaptureFixture) -> None:
    (project / "elsewhere").mkdir()
    (project / "data").mkdir()
    (project / "data" / "fashioniq").symlink_to(project / "elsewhere")
    assert restore(SETTINGS, project / "data") == "present"
    assert "data/fashioniq: the folder is a link" in caplog.text


def test_data_that_nothing_describes_is_rendered_and_tracked(project: Path) -> None:
    assert restore(SETTINGS, project / "data") == "rendered"
    assert (project / "data" / "captions.json").read_text() == "rendered"
    assert (project / "data.dvc").is_file()


def test_described_data_comes_from_the_cache_then_from_the_remote(project: Path) -> None:
    pointer = track(project / "data", "described")
    assert restore(SETTINGS, project / "data") == "cache"
    assert dvc("remote", "add", "--default", "store", str(project / "store"), "--quiet") == 0
    assert dvc("push", "--quiet") == 0
    forget(project)
    shutil.rmtree(project / "data")
    assert restore(SETTINGS, project / "data") == "remote"
    assert (project / "data" / "captions.json").read_text() == "described"
    assert (project / "data.dvc").read_text() == pointer


def test_what_is_nowhere_is_rendered_when_that_gives_the_described_bytes(project: Path) -> None:
    pointer = track(project / "data", "rendered").replace("outs:", "# a note\nouts:")
    (project / "data.dvc").write_text(pointer)
    forget(project)
    assert restore(SETTINGS, project / "data") == "rendered"
    assert (project / "data" / "captions.json").read_text() == "rendered"
    assert (project / "data.dvc").read_text() == pointer


def test_other_data_than_described_is_not_kept(project: Path) -> None:
    pointer = track(project / "data", "described")
    forget(project)
    with pytest.raises(BadInput, match=r"data\.dvc: describes data \w+\.dir that is not in the DVC cache.*`dvc pull"):
        restore(SETTINGS, project / "data")
    assert (project / "data.dvc").read_text() == pointer
    assert not (project / "data").exists()


@pytest.mark.parametrize("pointer", ["", "outs: []", "outs: [{path: data}]", "outs: ["])
def test_a_pointer_that_describes_nothing_is_named_and_stays(project: Path, pointer: str) -> None:
    (project / "data.dvc").write_text(pointer)
    with pytest.raises(BadInput, match=r"data\.dvc: does not describe one folder by its hash.*as it was committed"):
        restore(SETTINGS, project / "data")
    assert (project / "data.dvc").read_text() == pointer
    assert not (project / "data").exists()


def test_what_dvc_cannot_do_is_said_in_its_words(project: Path) -> None:
    shutil.rmtree(project / ".dvc")
    with pytest.raises(BadInput, match=r"`dvc add --quiet .*` failed: DVC's answer is"):
        restore(SETTINGS, project / "data")

"""`qure data restore`: the rendered bytes are those that data.dvc tracks, and anything else is refused."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]

pytestmark = pytest.mark.integration


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


def test_the_rendered_bytes_have_the_hash_under_version_control(clone: Path) -> None:
    pointer = (clone / "data.dvc").read_text()
    done = _restore(clone)
    assert done.returncode == 0, done.stderr
    assert (clone / "data.dvc").read_text() == pointer
    status = subprocess.run(
        [sys.executable, "-m", "dvc", "status", "data.dvc"], cwd=clone, capture_output=True, text=True, check=True
    )
    assert "up to date" in status.stdout


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


def test_data_that_is_there_is_left_alone(clone: Path) -> None:
    (clone / "data").mkdir()
    (clone / "data" / "mine.txt").write_text("mine")
    assert _restore(clone).returncode == 0
    assert [file.name for file in (clone / "data").iterdir()] == ["mine.txt"]


def test_linked_folders_in_it_are_named(clone: Path) -> None:
    (clone / "elsewhere").mkdir()
    (clone / "data").mkdir()
    (clone / "data" / "fashioniq").symlink_to(clone / "elsewhere")
    done = _restore(clone)
    assert done.returncode == 0
    assert "data/fashioniq: the folder is a link" in " ".join((done.stdout + done.stderr).split())

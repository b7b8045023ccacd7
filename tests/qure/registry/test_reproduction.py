"""A registered version is made again for real: a project in git and DVC, trained small, rebuilt, compared by bytes."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]
ADDRESS = "models:/qure-fashioniq/1"

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1500)]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A committed project whose first version is registered and champion."""
    folder = tmp_path_factory.mktemp("project") / "qure"
    for name in _git(REPOSITORY, "ls-files", "--cached", "--others", "--exclude-standard").split("\n"):
        if (
            name.startswith(("qure/", ".dvc/", "dvc.yaml", ".dvcignore", ".gitignore"))
            and (REPOSITORY / name).is_file()
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["catalogue"] = {"scale": 0.1}
    params.setdefault("backbone", {})["pretraining"] = {"steps": 5, "batch_size": 16, "least_recall_at_5": 0.0}
    params["training"]["fashioniq"]["overrides"]["epochs"] = 1
    params["evaluation"] = {"bootstrap_samples": 200}
    params["promotion"] = {"refuse_collapsed": False}
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    _git(folder, "init", "-q")
    _run(folder, "qure.cli", "data", "restore")
    _run(folder, "dvc", "add", "-q", "data")
    _git(folder, "add", "-A")
    _git(folder, "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-qm", "A project")
    _git(folder, "remote", "add", "origin", "https://user:sentinel-password@git.example/qure.git")
    for stage in ("validate", "precompute", "train", "evaluate", "register", "promote"):
        if stage == "precompute":
            _run(folder, "qure.cli", "validate", "--training-set", "cirr")
            _run(folder, "qure.cli", "backbone")
        _run(folder, "qure.cli", stage, "--training-set", "fashioniq")
    return folder


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def _run(folder: Path, module: str, *arguments: str, code: int = 0) -> str:
    left_out = ("MLFLOW_", "QURE_", "PYTHONPATH")
    environment = {name: value for name, value in os.environ.items() if not name.startswith(left_out)}
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder,
        env=environment | {"DVC_NO_ANALYTICS": "1", "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def test_a_version_is_made_again_byte_by_byte(project: Path) -> None:
    told = json.loads(_run(project, "qure.cli", "lineage", "models:/qure-fashioniq@champion", "--json"))
    head = _git(project, "rev-parse", "HEAD")
    assert (told["version"], told["code"]["commit"], told["data"]["revision"]) == (1, head, head)
    assert told["code"]["repository"] == "https://***@git.example/qure.git"
    assert told["data"]["fingerprint"].startswith("md5:")
    assert [len(told["runs"][stage]) for stage in ("train", "evaluate")] == [1, 1]
    assert told["runs"]["pipeline"]["id"] != told["runs"]["register"]["id"]
    assert told["settings"]["training"]["fashioniq"]["overrides"]["epochs"] == 1
    (change,) = told["champion"]
    assert (change["reason"], change["why"]) == ("promoted", "there was no champion")
    assert change["command"] == "qure promote --training-set fashioniq"
    assert told["missing"] == [
        "no image: it was made outside of one, or the image was not told its digest (QURE_IMAGE)"
    ]
    shown = _run(project, "qure.cli", "reproduce", ADDRESS)
    assert f"worktree add --detach {project}/.work/reproduced/qure-fashioniq-1 {head}" in shown
    assert '"pretraining"' in shown, "its settings, as the file that the commands read"
    assert not (project / ".work" / "reproduced").exists(), "shown, not done"
    found = json.loads(_run(project, "qure.cli", "reproduce", ADDRESS, "--run", "--json"))
    assert found["identical"]
    assert found["files"]["model.safetensors"]
    # The control: a changed byte is found.
    from qure.config import Settings
    from qure.registry.reproduction import compare

    rebuilt = Path(found["rebuilt"])
    weights = rebuilt / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(bytes(content))
    settings = Settings.load(project / "params.yaml")
    again = compare(settings, ADDRESS, rebuilt)
    assert not again["identical"]
    assert [name for name, same in again["files"].items() if not same] == ["model.safetensors"]

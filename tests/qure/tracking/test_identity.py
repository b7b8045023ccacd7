"""Commit, data fingerprint, pipeline run."""

import subprocess
from pathlib import Path

import pytest

from qure import tracking
from qure.errors import BadInput
from qure.files import folder_digest
from qure.tracking import identity


def _git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=t", "-c", "user.email=t@example.org"]
    done = subprocess.run(["git", "-C", folder, *who, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A git repository with a package, as `identity` sees its own."""
    folder = tmp_path / "repository" / "qure"
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    _git(folder.parent, "init", "-q")
    monkeypatch.setattr(identity, "_PACKAGE", folder)
    identity._commit_of_package.cache_clear()
    yield folder
    identity._commit_of_package.cache_clear()


def _commit() -> str:
    identity._commit_of_package.cache_clear()
    return tracking.commit()


def test_the_commit_and_what_differs_from_it(package: Path) -> None:
    assert _commit() == "v0.1.0", "no commit yet"
    _git(package, "add", ".")
    _git(package, "commit", "-q", "-m", "first")
    head = _git(package, "rev-parse", "HEAD")
    assert _commit() == head
    (package.parent / "params.yaml").write_text("other files do not count")
    assert _commit() == head
    (package / "__init__.py").write_text("x = 1")
    first = _commit()
    assert first.startswith(f"{head}+")
    (package / "__init__.py").write_text("x = 2")
    assert _commit() not in (first, head)
    (package / "__init__.py").write_text("")
    (package / "new.py").write_text("")
    assert _commit().startswith(f"{head}+"), "a file that git does not know is a difference"


def test_a_package_that_is_not_under_version_control(package: Path) -> None:
    (package.parent / "other").write_text("")
    _git(package, "add", "../other")
    _git(package, "commit", "-q", "-m", "somebody else's repository")
    assert _commit() == "v0.1.0"


def test_inside_an_image_the_variable_tells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_COMMIT", "0f3a")
    assert tracking.commit() == "0f3a"


def test_data_tracked_by_dvc_is_known_by_its_hash(tmp_path: Path) -> None:
    (tmp_path / "data.dvc").write_text("outs:\n- md5: 0a1b2c.dir\n  size: 3\n  hash: md5\n  path: data\n")
    assert tracking.data_fingerprint(tmp_path / "data") == "md5:0a1b2c.dir"


def test_other_data_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "x").write_text("1")
    first = tracking.data_fingerprint(tmp_path / "data")
    assert first == f"sha256:{folder_digest(tmp_path / 'data')}"
    (tmp_path / "data" / "x").write_text("2")
    assert tracking.data_fingerprint(tmp_path / "data") != first


@pytest.mark.parametrize(
    "text", ["", "outs: 3", "outs:\n- md5: a\n  path: other\n", "{", "outs:\n- path: data\n", "\0"]
)
def test_a_broken_dvc_file_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "data.dvc").write_text(text)
    with pytest.raises(BadInput, match=r"data\.dvc: not a DVC file that tracks 'data'.*dvc add"):
        tracking.data_fingerprint(tmp_path / "data")


def test_no_data_is_told(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such data folder"):
        tracking.data_fingerprint(tmp_path / "data")


def test_a_pipeline_run_is_what_it_is_made_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_COMMIT", "a")
    first = tracking.pipeline_run_id({"epochs": 3}, "md5:1")
    assert tracking.pipeline_run_id({"epochs": 3}, "md5:1") == first
    others = {tracking.pipeline_run_id({"epochs": 4}, "md5:1"), tracking.pipeline_run_id({"epochs": 3}, "md5:2")}
    monkeypatch.setenv("QURE_COMMIT", "b")
    others.add(tracking.pipeline_run_id({"epochs": 3}, "md5:1"))
    assert len(others | {first}) == 4
    monkeypatch.setenv("QURE_PIPELINE_RUN", "kfp-7f.3")
    assert tracking.pipeline_run_id({}, "") == "kfp-7f.3"


@pytest.mark.parametrize("told", ["x' or '1'='1", "a b", "x" * 201, "é\n"])
def test_an_odd_pipeline_run_is_refused(monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", told)
    with pytest.raises(BadInput, match="QURE_PIPELINE_RUN"):
        tracking.pipeline_run_id({}, "")


def test_the_environment_names_what_decides_results() -> None:
    facts = identity.environment()
    assert {"python", "torch", "transformers", "numpy", "qure"} <= facts.keys()

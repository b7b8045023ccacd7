"""Names and descriptions of uploaded pipelines: what tells versions apart comes first."""

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from pipelines.compiling import COMPILED
from pipelines.versions import upload_of
from qure.errors import BadInput

NOW = datetime(2026, 11, 27, 9, 5, tzinfo=UTC)
ROOT = Path(__file__).resolve().parents[2]


def test_a_version_begins_with_day_and_commit_and_ends_with_the_files_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_COMMIT", "a1b2c3d4e5f6")
    one = upload_of(COMPILED / "training.yaml", now=NOW)
    assert one.version[:20].startswith("2026-11-27-a1b2c3d-")
    assert one.pipeline == "qure-training"
    assert one.is_version(upload_of(COMPILED / "training.yaml").version), "found again on another day"
    assert not one.is_version(upload_of(COMPILED / "ablation.yaml", now=NOW).version)


def test_the_description_says_what_it_does_and_what_has_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    if head.returncode:
        pytest.skip("no git repository")
    monkeypatch.setenv("QURE_COMMIT", head.stdout.strip())
    subject = subprocess.run(
        ["git", "log", "-1", "--format=%s"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    one = upload_of(COMPILED / "training.yaml", now=NOW)
    assert one.about.startswith("Retrain QuRe for one training set")
    assert "\n1. resolve inputs" in one.about
    assert one.change.startswith(f"Commit {head.stdout[:7]}, uploaded 2026-11-27. Made ")
    assert one.change.endswith(subject)


def test_changes_that_were_not_committed_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_COMMIT", "a1b2c3d4e5f6+12345678")
    assert upload_of(COMPILED / "training.yaml", now=NOW).change == "Commit a1b2c3d+changed, uploaded 2026-11-27"


def test_something_else_is_refused(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("a: 1\n")
    with pytest.raises(BadInput, match="not a compiled pipeline"):
        upload_of(tmp_path / "params.yaml")


def test_without_git_a_change_is_named_by_its_commit_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_COMMIT", "a1b2c3d4e5f6")
    monkeypatch.setenv("PATH", "")
    assert upload_of(COMPILED / "training.yaml", now=NOW).change == "Commit a1b2c3d, uploaded 2026-11-27"

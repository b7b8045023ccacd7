"""Projects that are moved, renamed and copied, with MLflow on SQLite."""

import logging
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from qure.config import TrackingSettings
from qure.errors import StageFailed
from qure.files import folder_digest
from qure.tracking import __main__ as preparing
from qure.tracking import connect, database, stage_run
from qure.tracking.place import lead_artifacts_here


def _settings(project: Path, **more: str) -> TrackingSettings:
    return TrackingSettings(uri=f"sqlite:///{project}/mlflow.db", **more)


def _log(settings: TrackingSettings, name: str) -> str:
    """A run with an artifact of this name: the run's id."""
    note = Path(os.environ["PYTEST_NOTES"]) / f"{name}.txt"
    note.write_text(name)
    with stage_run(settings, stage="train", pipeline="one", run_key=name) as run:
        run.log_artifact(note)
    assert run.run_id is not None
    return run.run_id


@pytest.fixture
def project(sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A project's folder in which a run has kept an artifact."""
    (tmp_path / "notes").mkdir()
    monkeypatch.setenv("PYTEST_NOTES", str(tmp_path / "notes"))
    folder = Path(sqlite_uri.removeprefix("sqlite:///")).parent.rename(tmp_path / "project")
    _log(_settings(folder), "before")
    return folder


def _recorded(project: Path) -> str:
    """Every location in the database, in one text."""
    with closing(sqlite3.connect(project / "mlflow.db")) as database:
        return "\n".join(line for line in database.iterdump() if "mlruns" in line)


def _artifacts(project: Path) -> set[str]:
    return {file.name for file in (project / "mlruns").rglob("*.txt")}


def _listed(project: Path) -> set[str]:
    """Names of all runs' artifacts, as MLflow finds them."""
    client = connect(_settings(project))
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    return {Path(one.path).name for run in runs for one in client.list_artifacts(run.info.run_id)}


def test_a_project_that_is_moved_keeps_its_artifacts_and_gets_new_ones(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = project.rename(tmp_path / "it's moved")
    with caplog.at_level(logging.INFO):
        assert _listed(moved) == {"before.txt"}
    assert f"those in {moved}/mlruns now, not in {project}/mlruns" in caplog.text
    _log(_settings(moved), "after")
    assert _artifacts(moved) == _listed(moved) == {"before.txt", "after.txt"}
    assert not project.exists()
    assert str(project) not in _recorded(moved)
    caplog.clear()
    back = moved.rename(project)
    assert _listed(back) == {"before.txt", "after.txt"}


def test_a_copied_project_is_one_of_its_own(project: Path, tmp_path: Path) -> None:
    copy = shutil.copytree(project, tmp_path / "project of mine")  # begins like the original's name
    before, recorded = folder_digest(project), _recorded(project)
    _log(_settings(copy), "in the copy")
    assert folder_digest(project) == before
    _log(_settings(project), "in the original")
    assert _artifacts(copy) == _listed(copy) == {"before.txt", "in the copy.txt"}
    assert _artifacts(project) == _listed(project) == {"before.txt", "in the original.txt"}
    assert recorded.splitlines()[0] in _recorded(project)


def test_a_database_that_is_copied_without_its_artifacts_says_so(
    project: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    copy = tmp_path / "copy"
    copy.mkdir()
    shutil.copy(project / "mlflow.db", copy)
    before = folder_digest(project)
    assert _listed(copy) == set()
    assert f"bring {project}/mlruns along, as {copy}/mlruns" in caplog.text
    _log(_settings(copy), "in the copy")
    assert _artifacts(copy) == {"in the copy.txt"}
    assert folder_digest(project) == before


def test_a_project_seen_by_another_path_is_left_alone(project: Path, tmp_path: Path) -> None:
    recorded = _recorded(project)
    (tmp_path / "link").symlink_to(project)
    assert _listed(tmp_path / "link") == {"before.txt"}
    assert _recorded(project) == recorded


def test_artifacts_that_were_put_elsewhere_stay_there(project: Path, tmp_path: Path) -> None:
    chosen = tmp_path / "big disk" / "mlruns" / "other"
    settings = _settings(project, experiment="other", artifacts=str(chosen))
    _log(settings, "chosen")
    assert (tmp_path / "big disk").is_dir()
    moved = project.rename(tmp_path / "moved")
    assert _listed(moved) == {"before.txt", "chosen.txt"}
    assert str(chosen) in _recorded(moved)


def test_a_database_that_is_moved_away_from_its_artifacts_finds_them(project: Path, tmp_path: Path) -> None:
    (tmp_path / "databases").mkdir()
    (project / "mlflow.db").rename(tmp_path / "databases" / "mlflow.db")
    assert _listed(tmp_path / "databases") == {"before.txt"}


def test_a_location_that_only_begins_alike_is_another(project: Path, tmp_path: Path) -> None:
    with closing(sqlite3.connect(project / "mlflow.db")) as database, database:
        database.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, workspace) "
            "VALUES (77, 'bucket', 's3://bucket/mlruns/bucket', 'active', 'default'), "
            "(78, 'longer', ?, 'active', 'default'), (79, 'team/other', ?, 'active', 'default')",
            (f"{project}/mlruns/qure/longer", f"{project}/mlruns/team/other"),
        )
    moved = project.rename(tmp_path / "moved")
    lead_artifacts_here(moved / "mlflow.db")
    assert "s3://bucket/mlruns/bucket" in _recorded(moved)
    assert f"{moved}/mlruns/team/other" in _recorded(moved)
    assert lead_artifacts_here(moved / "mlflow.db") == 0


def test_a_location_that_is_an_address_is_read_and_written_as_one(project: Path, tmp_path: Path) -> None:
    """MLflow records either, a path or a file:// address, in which some characters are written as numbers."""
    here = project.rename(tmp_path / "100%20 of it")
    lead_artifacts_here(here / "mlflow.db")
    with closing(sqlite3.connect(here / "mlflow.db")) as database, database:
        database.execute(
            "INSERT INTO experiments (experiment_id, name, artifact_location, lifecycle_stage, workspace) "
            "VALUES (77, 'address', ?, 'active', 'default')",
            (f"file://{tmp_path}/100%2520%20of%20it/mlruns/address",),
        )
    recorded = _recorded(here)
    assert f"{here}/mlruns/qure" in recorded
    assert lead_artifacts_here(here / "mlflow.db") == 0, "both are where they should be"
    assert _recorded(here) == recorded
    moved = here.rename(tmp_path / "a new place")
    assert lead_artifacts_here(moved / "mlflow.db") > 1
    assert f"'file://{tmp_path}/a%20new%20place/mlruns/address'" in _recorded(moved)
    assert f"'{moved}/mlruns/qure'" in _recorded(moved)
    assert "100%" not in _recorded(moved)


def test_a_database_that_was_moved_and_is_in_use_is_told(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "_BUSY", 0.01)
    moved = project.rename(tmp_path / "moved")
    recorded = _recorded(moved)
    with closing(sqlite3.connect(moved / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        told = r"mlflow\.db' was moved or copied here, .* cannot be rewritten: database is locked\. .*stop what uses"
        with pytest.raises(StageFailed, match=told):
            lead_artifacts_here(moved / "mlflow.db")
    assert _recorded(moved) == recorded


def test_where_there_is_no_database_one_is_prepared(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Made anew it takes seconds: here a copy of an empty one stands for it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "params.yaml").write_text("training: {}\n")
    monkeypatch.setattr(
        preparing, "ensure_database", lambda file: shutil.copy(sqlite_uri.removeprefix("sqlite:///"), file)
    )
    level = logging.getLogger("qure").level
    try:
        assert preparing.main() == 0
    finally:
        logging.getLogger("qure").setLevel(level)
    with closing(sqlite3.connect(tmp_path / "mlflow.db")) as made:
        assert made.execute("SELECT artifact_location FROM experiments").fetchall() == [(f"{tmp_path}/mlruns/0",)]


def test_a_database_that_is_not_mlflows_is_left_alone(tmp_path: Path) -> None:
    with closing(sqlite3.connect(tmp_path / "notes.db")) as made, made:
        made.execute("CREATE TABLE notes (text)")
    before = (tmp_path / "notes.db").read_bytes()
    assert lead_artifacts_here(tmp_path / "notes.db") == 0
    assert (tmp_path / "notes.db").read_bytes() == before


def test_whoever_starts_mlflow_without_qure_prepares_the_database(project: Path, tmp_path: Path) -> None:
    """As `make mlflow` does it: a process of its own, which knows nothing of what this one has told MLflow."""
    moved = project.rename(tmp_path / "moved")
    (moved / "params.yaml").write_text("training: {}\n")
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}

    def prepare() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "qure.tracking"]
        return subprocess.run(command, cwd=moved, env=environment, capture_output=True, text=True, timeout=120)

    assert prepare().returncode == 0
    assert str(project) not in _recorded(moved)
    (moved / "mlflow.db").write_text("no database" * 100)
    refused = prepare()
    assert refused.returncode == 2
    assert "not MLflow's database" in refused.stderr

"""MLflow's SQLite file: killed while it is made, raced for, left unfinished, older, newer, not a database."""

import contextlib
import multiprocessing
import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.errors import BadInput, StageFailed
from qure.tracking import connect, database, stage_run


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_QUIET", 0.2)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "project").mkdir()
    return tmp_path / "project" / "mlflow.db"


def _connect(file: Path) -> None:
    connect(TrackingSettings(uri=f"sqlite:///{file}"))


def _made_by_mlflow(file: Path) -> None:
    """As `mlflow server`, or an earlier version of qure, makes it: in place."""
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    SqlAlchemyStore(f"sqlite:///{file}", str(file.parent / "mlruns"))


def _start(act: Callable[[], Any]) -> multiprocessing.Process:
    def quietly() -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in what a shell starts in the background
        with contextlib.redirect_stdout(None), contextlib.redirect_stderr(None):
            act()

    child = multiprocessing.get_context("fork").Process(target=quietly)
    child.start()
    return child


def _killed_at(statement: str, act: Callable[[], Any]) -> None:
    """Runs `act` in a process that dies like by kill -9 once a statement has been executed that begins so."""

    def die(*seen: Any) -> None:
        if seen[2].startswith(statement):
            os.kill(os.getpid(), signal.SIGKILL)

    def doomed() -> None:
        from sqlalchemy import event
        from sqlalchemy.engine import Engine

        event.listen(Engine, "after_cursor_execute", die)
        act()

    child = _start(doomed)
    child.join()
    assert child.exitcode == -signal.SIGKILL


def _whole(file: Path) -> bool:
    from mlflow.store.db.utils import _get_latest_schema_revision

    with contextlib.closing(sqlite3.connect(file)) as found:
        (check,) = found.execute("PRAGMA integrity_check").fetchone()
        revisions = found.execute("SELECT version_num FROM alembic_version").fetchall()
        experiments = found.execute("SELECT artifact_location FROM experiments").fetchall()
    return (check, revisions, experiments) == (
        "ok",
        [(_get_latest_schema_revision(),)],
        [(str(file.parent / "mlruns" / "0"),)],
    )


def test_a_process_that_is_killed_while_it_makes_the_database_leaves_none(file: Path) -> None:
    _killed_at("INSERT INTO _alembic_tmp_experiments", lambda: _connect(file))
    assert not file.exists()
    assert list(file.parent.glob(".qure-*.partial/*/mlflow.db"))
    file.touch()  # an empty one, as whoever opens it with SQLite leaves it
    _connect(file)
    assert _whole(file)
    assert [one.name for one in file.parent.iterdir()] == ["mlflow.db"]


def test_two_first_stages_make_one_database(file: Path) -> None:
    children = [_start(lambda: _connect(file)) for _ in range(2)]
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0, 0]
    assert _whole(file)
    assert [one.name for one in file.parent.iterdir()] == ["mlflow.db"]


def test_a_file_that_somebody_else_makes_meanwhile_stays(
    file: Path, sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's own server knows nothing of the lock."""
    moved = database._move

    def faster(temporary: Path, target: Path, alone: bool) -> None:
        shutil.copy(sqlite_uri.removeprefix("sqlite:///"), target)
        with contextlib.closing(sqlite3.connect(target)) as theirs, theirs:
            theirs.execute("CREATE TABLE theirs (x)")
        moved(temporary, target, alone)

    monkeypatch.setattr(database, "_move", faster)
    database.ensure_database(file)
    with contextlib.closing(sqlite3.connect(file)) as found:
        assert found.execute("SELECT count(*) FROM theirs").fetchone() == (0,)
    assert [one.name for one in file.parent.iterdir()] == ["mlflow.db"]


def test_a_database_that_was_left_unfinished_is_named_with_the_way_out(file: Path) -> None:
    _killed_at("INSERT INTO _alembic_tmp_experiments", lambda: _made_by_mlflow(file))
    before = file.read_bytes()
    told = r"killed while it made or upgraded '.*mlflow\.db', and cannot go on: .*_alembic_tmp_experiments already"
    with pytest.raises(StageFailed, match=rf"{told}.* holds no run: move it away \(mv "):
        _connect(file)
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == ["mlflow.db"]


def test_a_database_that_was_left_before_it_could_hold_a_run_holds_none(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with contextlib.closing(sqlite3.connect(file)) as begun, begun:
        begun.execute("CREATE TABLE experiments (experiment_id INTEGER)")

    def stuck(engine: Any) -> None:
        raise RuntimeError("table experiments already exists\nand more")

    monkeypatch.setattr("mlflow.store.db.utils._initialize_tables", stuck)
    with pytest.raises(StageFailed, match=r"table experiments already exists\. It holds no run: move it away \(mv "):
        database.ensure_database(file)


def _made_by_an_older_mlflow(file: Path) -> str:
    """One revision back, with a run in it: that revision."""
    from alembic import command
    from mlflow.store.db.utils import _get_alembic_config, create_sqlalchemy_engine
    from mlflow.store.tracking.dbmodels.initial_models import Base

    engine = create_sqlalchemy_engine(f"sqlite:///{file}")
    Base.metadata.create_all(engine)
    with engine.begin() as connection:
        config = _get_alembic_config(f"sqlite:///{file}")
        config.attributes["connection"] = connection
        command.upgrade(config, "head-1")
    engine.dispose()
    with contextlib.closing(sqlite3.connect(file)) as older, older:
        (revision,) = older.execute("SELECT version_num FROM alembic_version").fetchone()
        older.execute("INSERT INTO runs (run_uuid, name, status) VALUES ('a', 'a run of then', 'FINISHED')")
    return str(revision)


def test_an_older_database_is_upgraded_whole_and_kept_as_it_was(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    revision = _made_by_an_older_mlflow(file)
    before = file.read_bytes()
    _killed_at("UPDATE alembic_version", lambda: _connect(file))
    assert file.read_bytes() == before
    _connect(file)
    with contextlib.closing(sqlite3.connect(file)) as found:
        assert found.execute("SELECT name FROM runs").fetchall() == [("a run of then",)]
        assert found.execute("SELECT version_num FROM alembic_version").fetchone() != (revision,)
    kept = file.with_name(f"mlflow.db.{revision}.backup")
    with contextlib.closing(sqlite3.connect(kept)) as found:
        assert found.execute("SELECT name FROM runs").fetchall() == [("a run of then",)]
        assert found.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)
    assert kept.name in caplog.text
    assert {one.name for one in file.parent.iterdir()} == {"mlflow.db", kept.name}


def test_a_newer_database_is_told(sqlite_uri: str) -> None:
    file = Path(sqlite_uri.removeprefix("sqlite:///"))
    with contextlib.closing(sqlite3.connect(file)) as newer, newer:
        newer.execute("UPDATE alembic_version SET version_num = 'ffffffffffff'")
    before = file.read_bytes()
    with pytest.raises(StageFailed, match="comes from a newer MLflow than the installed one"):
        _connect(file)
    assert file.read_bytes() == before


def test_a_file_that_is_no_database_is_named(file: Path) -> None:
    file.write_text("notes" * 1000)
    with pytest.raises(BadInput, match=r"mlflow\.db: this is not MLflow's database"):
        _connect(file)
    assert file.read_text() == "notes" * 1000


def _cpu(process: int) -> float | None:
    """Seconds of processor time; None once it has ended."""
    try:
        fields = Path(f"/proc/{process}/stat").read_text(encoding="ascii").rsplit(")", 1)[1].split()
    except OSError:
        return None
    return None if fields[0] == "Z" else (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _first_stage(file: Path) -> None:
    with stage_run(TrackingSettings(uri=f"sqlite:///{file}"), stage="validate", pipeline="one"):
        pass


@pytest.mark.integration
@pytest.mark.timeout(3600)
@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_a_kill_at_any_moment_of_the_first_stage_wedges_nothing(tmp_path: Path, how: signal.Signals) -> None:
    _connect(tmp_path / "imported.db")  # so that the children's time is that of making the database
    whole, child = 0.0, _start(lambda: _first_stage(tmp_path / "measured.db"))
    while (now := _cpu(child.pid or 0)) is not None:
        whole = now
        time.sleep(0.005)
    child.join()
    moments = 12
    for moment in range(moments):
        folder = tmp_path / str(moment)
        folder.mkdir()
        child = _start(lambda: _first_stage(folder / "mlflow.db"))  # noqa: B023 - forked at once
        while (now := _cpu(child.pid or 0)) is not None and now < whole * (moment + 0.5) / moments:
            time.sleep(0.005)
        if child.pid is not None and now is not None:
            os.kill(child.pid, how)
        child.join()
        again = _start(lambda: _first_stage(folder / "mlflow.db"))  # noqa: B023 - forked at once
        again.join()
        assert again.exitcode == 0, f"killed at moment {moment} of {moments}"
        assert not list(folder.glob(".mlflow.db.*"))


def test_an_older_database_that_somebody_writes_to_meanwhile_stays_as_it_is(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    revision = _made_by_an_older_mlflow(file)
    copy = database._copy

    def written_to(source: Path, target: Path) -> None:
        copy(source, target)
        if source == file and target.parent != file.parent:
            with contextlib.closing(sqlite3.connect(file)) as theirs, theirs:
                theirs.execute("INSERT OR IGNORE INTO runs (run_uuid, name, status) VALUES ('b', 'of now', 'FINISHED')")

    monkeypatch.setattr(database, "_copy", written_to)
    with pytest.raises(
        StageFailed, match=r"mlflow\.db' was written to while its copy was upgraded\. Stop what uses it"
    ):
        database.ensure_database(file)
    with contextlib.closing(sqlite3.connect(file)) as found:
        assert found.execute("SELECT count(*) FROM runs").fetchone() == (2,)
        assert found.execute("SELECT version_num FROM alembic_version").fetchone() == (revision,)


def test_an_older_database_that_another_process_has_upgraded_meanwhile_is_taken(
    sqlite_uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = Path(sqlite_uri.removeprefix("sqlite:///"))
    before, look = file.read_bytes(), database._look
    monkeypatch.setattr(database, "_await_whole", lambda file, latest: look(file)._replace(revision="older"))
    database.ensure_database(file)
    assert file.read_bytes() == before
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_a_new_database_is_on_the_disk_before_it_has_its_name(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[int, bool]] = []
    monkeypatch.setattr(database, "sync", lambda path: synced.append((path.stat().st_ino, file.exists())))
    database.ensure_database(file)
    assert synced == [(file.stat().st_ino, False), (file.parent.stat().st_ino, True)]


def test_what_it_was_made_with_is_closed_and_forgotten(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    known = set(SqlAlchemyStore._engine_map)
    database.ensure_database(file)
    assert set(SqlAlchemyStore._engine_map) == known
    opened = []
    for handle in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the listing's own
            opened.append(str(handle.readlink()))
    assert not [one for one in opened if one.startswith(str(file.parent))]


@pytest.mark.parametrize("locks", [True, False])
def test_where_files_have_one_name_only_it_is_moved_into_place_under_the_lock(
    file: Path, locks: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(*_: Any) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(Path, "hardlink_to", refused)
    if locks:
        database.ensure_database(file)
        assert _whole(file)
        assert [one.name for one in file.parent.iterdir()] == ["mlflow.db"]
        return
    monkeypatch.setattr(database.fcntl, "flock", refused)
    with pytest.raises(StageFailed, match=r"mlflow\.db' cannot be made or upgraded: Operation not permitted"):
        database.ensure_database(file)
    assert not file.exists()


def test_where_there_are_no_locks_whoever_is_first_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_locks(*_: Any) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr(database.fcntl, "flock", no_locks)
    database.ensure_database(file)
    assert _whole(file)


def test_what_a_killed_process_has_left_goes_with_the_next(file: Path, sqlite_uri: str) -> None:
    whole = Path(sqlite_uri.removeprefix("sqlite:///"))
    home = whole.parent / f".qure-{os.getuid()}.partial"
    (home / "ab").mkdir(parents=True)
    (home / "ab.lock").touch()
    before = whole.read_bytes()
    database.ensure_database(whole)
    assert [one.name for one in whole.parent.iterdir()] == [whole.name]
    assert whole.read_bytes() == before


def test_a_database_without_tables_is_empty(file: Path) -> None:
    assert database.is_empty(file)
    with contextlib.closing(sqlite3.connect(file)) as made, made:
        assert database.is_empty(file)
        made.execute("CREATE TABLE x (y)")
    assert not database.is_empty(file)


def test_what_another_process_is_making_is_waited_for(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`mlflow server` makes it in place, statement by statement; here every look finds one table more."""
    file.touch()
    pauses: list[float] = []

    def made_further(seconds: float) -> None:
        pauses.append(seconds)
        with contextlib.closing(sqlite3.connect(file)) as theirs, theirs:
            if len(pauses) < 3:
                theirs.execute(f"CREATE TABLE t{len(pauses)} (x)")
            elif len(pauses) == 3:
                theirs.execute("CREATE TABLE alembic_version (version_num)")
                theirs.execute("INSERT INTO alembic_version VALUES ('the latest')")

    monkeypatch.setattr(database.time, "sleep", made_further)
    monkeypatch.setattr(database.time, "monotonic", lambda: float(len(pauses)))
    monkeypatch.setattr(database, "_QUIET", 2.0)
    state = database._await_whole(file, "the latest")
    assert (state.revision, len(pauses)) == ("the latest", 3)
    pauses.extend([0.0] * 10)  # from now on nothing changes
    assert database._await_whole(file, "another").revision == "the latest"
    assert len(pauses) == 15, "two seconds, and no longer"

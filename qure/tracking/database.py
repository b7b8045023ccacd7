"""MLflow's SQLite file: it appears whole, and it is upgraded whole.

MLflow makes and upgrades its tables in dozens of steps, each of which stays. A process that is killed in between
leaves tables that no later attempt gets past. So the file is made aside and moved into place, and an older one is
upgraded in a copy.

Processes take turns by a lock on the folder, which the system releases when its owner dies. Where there is no such
lock, or MLflow itself (`mlflow server`) makes the file meanwhile, whoever is first wins and the other one's is dropped.
"""

import contextlib
import fcntl
import functools
import logging
import os
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from qure.errors import BadInput, StageFailed
from qure.files import atomic_file, sync
from qure.scratch import remove_leftovers, scratch_folder

logger = logging.getLogger(__name__)

#: Seconds to wait for another process that writes.
_BUSY = 60.0
#: An unfinished database that nobody has changed for so many seconds is not being made right now.
_QUIET = 5.0
_PAUSE = 0.2


class _State(NamedTuple):
    tables: frozenset[str]
    revision: str | None


def ensure_database(file: Path) -> None:
    """Lets a database that this MLflow takes be at `file`: made, upgraded, or left as it is.

    Raises:
        BadInput: the file is no database.
        StageFailed: it was left unfinished by a killed MLflow, comes from a newer one, or cannot be written.
    """
    file, latest = Path(file).resolve(), _latest_revision()
    try:
        if is_empty(file):
            _make(file)
        if _await_whole(file, latest).revision != latest:
            _upgrade(file, latest)
        else:  # what processes have left that were killed right after their file had its name
            remove_leftovers(file.parent)
    except OSError as error:
        raise StageFailed(
            f"MLflow's database {str(file)!r} cannot be made or upgraded: {error.strerror or error}. Make its folder "
            "writable, or set tracking.uri"
        ) from None


@functools.cache
def _latest_revision() -> str:
    from mlflow.store.db.utils import _get_latest_schema_revision

    return str(_get_latest_schema_revision())


@contextlib.contextmanager
def opened(file: Path) -> Iterator[sqlite3.Connection]:
    """A connection to an existing file, closed in the end; transactions are the caller's.

    Not read-only: SQLite must be able to roll back what a killed writer has left.

    Raises:
        BadInput: the file is no database.
    """
    uri = f"{file.resolve().as_uri()}?mode=rw"
    with contextlib.closing(sqlite3.connect(uri, uri=True, timeout=_BUSY, isolation_level=None)) as database:
        try:
            yield database
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            raise BadInput(
                f"this is not MLflow's database: {error}", file=file, remedy="Move it away, or set tracking.uri"
            ) from None


def is_empty(file: Path) -> bool:
    """Whether there is no file, or one without tables."""
    return not _look(file).tables


def _look(file: Path) -> _State:
    if not file.exists():
        return _State(frozenset(), None)
    with opened(file) as database:
        tables = frozenset(name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'"))
        found = database.execute("SELECT version_num FROM alembic_version") if "alembic_version" in tables else ()
        return _State(tables, next((revision for (revision,) in found), None))


def _await_whole(file: Path, latest: str) -> _State:
    """The file's state, once it is whole or nobody works on it."""
    state, stamp, since = _look(file), _stamp(file), time.monotonic()
    while state.revision != latest and time.monotonic() - since < _QUIET:
        time.sleep(_PAUSE)
        if _stamp(file) != stamp:
            state, stamp, since = _look(file), _stamp(file), time.monotonic()
    return state


def _stamp(file: Path) -> tuple[int, int]:
    status = file.stat()
    return status.st_mtime_ns, status.st_size


def _make(file: Path) -> None:
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    with _alone(file.parent) as alone, _aside(file) as temporary:
        if not is_empty(file):  # another process was faster
            return
        uri = _uri(temporary)
        store = SqlAlchemyStore(uri, str(file.parent / "mlruns"))
        store.engine.dispose()
        SqlAlchemyStore._engine_map.pop(uri, None)
        sync(temporary)
        if file.exists():  # empty: whoever holds it open shall see the tables too
            _copy(temporary, file)
        else:
            _move(temporary, file, alone)
        sync(file.parent)


def _upgrade(file: Path, latest: str) -> None:
    from mlflow.store.db.utils import _initialize_tables, create_sqlalchemy_engine

    with _alone(file.parent), _aside(file) as temporary:
        before, stamp = _look(file), _stamp(file)
        if before.revision == latest:
            return
        _copy(file, temporary)
        engine = create_sqlalchemy_engine(_uri(temporary))
        try:
            _initialize_tables(engine)
        except Exception as error:
            raise StageFailed(_stuck(file, before, error)) from None
        finally:
            engine.dispose()
        kept = _keep(file, before) if _runs(file, before) else None
        if _stamp(file) != stamp:
            raise StageFailed(
                f"{str(file)!r} was written to while its copy was upgraded. Stop what uses it (mlflow server, other "
                "stages) and start this command again"
            )
        _copy(temporary, file)
    if kept is not None:
        logger.warning("%s came from an older MLflow and was upgraded; as it was, it is kept as %s", file, kept.name)


def _stuck(file: Path, state: _State, error: Exception) -> str:
    said = str(error).strip().splitlines()[0]
    if "Can't locate revision" in said:
        return f"{str(file)!r} comes from a newer MLflow than the installed one: {said}. Install that one (make setup)"
    runs = _runs(file, state)
    way_out = (
        f"It holds {runs} runs: put a copy from before in its place ({file.name}.*.backup, where there is one)"
        if runs
        else f"It holds no run: move it away (mv {file} {file}.broken) and start this command again"
    )
    return f"MLflow was killed while it made or upgraded {str(file)!r}, and cannot go on: {said}. {way_out}"


def _runs(file: Path, state: _State) -> int:
    if "runs" not in state.tables:
        return 0
    with opened(file) as database:
        return int(database.execute("SELECT count(*) FROM runs").fetchone()[0])


def _keep(file: Path, state: _State) -> Path:
    """A copy of the file as it is, under a name that tells its revision."""
    kept = file.with_name(f"{file.name}.{state.revision or 'unfinished'}.backup")
    with atomic_file(kept) as temporary:
        _copy(file, temporary)
    return kept


def _copy(source: Path, target: Path) -> None:
    """Makes `target` what `source` is, in one transaction; processes that have it open see all of it or nothing."""
    target.touch()
    with opened(source) as one, opened(target) as other:
        one.backup(other)


def _move(made: Path, file: Path, alone: bool) -> None:
    """Gives the made file its name, unless another process has been faster."""
    try:
        file.hardlink_to(made)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        if not alone or file.exists():
            raise
        made.rename(file)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """One process at a time; False where the file system knows no locks."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:
            yield False
            return
        yield True
    finally:
        os.close(handle)


@contextlib.contextmanager
def _aside(file: Path) -> Iterator[Path]:
    """A path for the new file, in a folder of its own that SQLite may also put its journal in."""
    with scratch_folder(file.parent) as folder:
        yield folder / file.name


def _uri(file: Path) -> str:
    # Relative: names of folders above may hold what means something in a URI ("?", "#").
    return f"sqlite:///{os.path.relpath(file)}"

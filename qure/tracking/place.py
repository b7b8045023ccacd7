"""Artifact locations that follow their database when a project is moved, renamed or copied.

MLflow records where artifacts lie as absolute paths: of experiments, runs, logged models, versions and traces. An
experiment that lies beside its database, in `mlruns/`, shall lie beside it wherever the database is: when it is opened
in another folder than the one recorded, the recorded paths are rewritten, in one transaction. The files themselves
are not touched, nor is the database in the old folder, if one is still there: a copy is a project of its own.
"""

import logging
import sqlite3
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote, unquote

from qure.errors import StageFailed
from qure.tracking.database import opened

logger = logging.getLogger(__name__)

#: Folder of artifacts beside the database, as MLflow itself calls it.
FOLDER = "mlruns"

#: Table, column and further condition of everything that MLflow records a location in.
_LOCATIONS = (
    ("experiments", "artifact_location", "1"),
    ("runs", "artifact_uri", "1"),
    ("logged_models", "artifact_location", "1"),
    ("model_versions", "storage_location", "1"),
    ("model_versions", "source", "1"),
    ("trace_tags", "value", "key = 'mlflow.artifactLocation'"),
)
_SCHEME = "file://"


class _Move(NamedTuple):
    recorded: str
    now: str
    #: The project's folder as recorded.
    former: Path


def lead_artifacts_here(file: Path, keep: str | None = None) -> int:
    """Rewrites the artifact locations in MLflow's database that belong beside it and lead elsewhere.

    Args:
        file: the SQLite file.
        keep: a location that was asked for (`tracking.artifacts`): stays, wherever it is.

    Returns:
        how many locations were rewritten.

    Raises:
        StageFailed: the database has been moved and cannot be written to.
    """
    file = Path(file).resolve()
    with opened(file) as database:
        if not _moves(database, file, keep):
            return 0
        try:
            database.execute("BEGIN IMMEDIATE")
            moves = _moves(database, file, keep)
            rewritten = sum(_rewrite(database, move) for move in moves)
            database.execute("COMMIT")
        except sqlite3.OperationalError as error:
            raise StageFailed(
                f"{str(file)!r} was moved or copied here, and its artifact locations cannot be rewritten: {error}. "
                "Make it writable, or stop what uses it"
            ) from None
    if rewritten > len(moves):  # more than experiments without a run
        _tell(file, moves)
    return rewritten


def _tell(file: Path, moves: list[_Move]) -> None:
    former = ", ".join(sorted({str(move.former / FOLDER) for move in moves}))
    here = file.parent / FOLDER
    if here.is_dir():
        logger.info("MLflow's database was moved or copied: its artifacts are those in %s now, not in %s", here, former)
    else:
        logger.warning("MLflow's database came here without its artifacts: bring %s along, as %s", former, here)


def _moves(database: sqlite3.Connection, file: Path, keep: str | None) -> list[_Move]:
    if not _has(database, "experiments", "artifact_location"):
        return []
    found = database.execute("SELECT experiment_id, name, artifact_location FROM experiments ORDER BY experiment_id")
    moves = (_move(file, str(number), name, location) for number, name, location in found if location)
    return [move for move in moves if move is not None and move.recorded != keep]


def _move(file: Path, number: str, name: str, location: str) -> _Move | None:
    """How an experiment's location changes; None where it stays."""
    if not location.startswith((_SCHEME + "/", "/")):
        return None  # a bucket or a server
    path, here = Path(_path(location)), file.parent
    below = next((one for one in (Path(FOLDER, name), Path(FOLDER, number)) if _ends(path, one)), None)
    if below is None:
        return None  # a folder that somebody chose
    former, now = path.parents[len(below.parts) - 1], here / below
    if former == here or _same(former, here):
        return None
    another = former / file.name
    if not now.is_dir() and path.exists() and not (another.is_file() and not _same(another, file)):
        return None  # the database alone was moved away from its artifacts, or they were put elsewhere on purpose
    return _Move(location, _SCHEME + quote(str(now)) if location.startswith(_SCHEME) else str(now), former)


def _rewrite(database: sqlite3.Connection, move: _Move) -> int:
    changed = 0
    for table, column, condition in _LOCATIONS:
        if _has(database, table, column):
            changed += database.execute(
                f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                f"WHERE {condition} AND ({column} = ? OR substr({column}, 1, ?) = ?)",
                (move.now, len(move.recorded) + 1, move.recorded, len(move.recorded) + 1, f"{move.recorded}/"),
            ).rowcount
    return changed


def _has(database: sqlite3.Connection, table: str, column: str) -> bool:
    return column in {row[1] for row in database.execute(f"PRAGMA table_info({table})")}


def _path(location: str) -> str:
    return unquote(location.removeprefix(_SCHEME)) if location.startswith(_SCHEME) else location


def _ends(path: Path, end: Path) -> bool:
    return path.parts[-len(end.parts) :] == end.parts


def _same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except OSError:
        return False

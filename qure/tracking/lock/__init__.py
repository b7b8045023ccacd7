"""Locks for things of which only one may happen at a time on a whole cluster.

What serves as the lock depends on what the tracking URI names, because its state must be out of reach of MLflow's
pages, and a dead owner must be replaced:

| tracking URI | the lock | a dead owner's |
|---|---|---|
| SQLite | `flock` on a file beside the database (`files.py`) | is freed by the kernel, with the process |
| PostgreSQL | a session's advisory lock (`postgres.py`) | is freed by the server, with the session |
| an MLflow server, others | an experiment, there while it is held (`experiments.py`) | is taken over after a lease |

Whoever writes to one registry should do so through one address: two kinds of lock do not know of each other. What is
written under them is guarded once more (`qure.registry.champions`), so that of two such writers one gives up.
"""

from typing import TYPE_CHECKING

from qure.tracking.connection import sqlite_file
from qure.tracking.lock.base import LockLost, RegistryLock
from qure.tracking.retrying import impatient

if TYPE_CHECKING:
    from mlflow import MlflowClient

__all__ = ["LockLost", "RegistryLock", "registry_lock"]


def registry_lock(client: "MlflowClient", name: str, *, lease: float = 30.0, wait: float = 1800.0) -> RegistryLock:
    """A lock for all who reach the registry as this client does; not taken yet.

    Args:
        client: of the registry.
        name: the lock's name, for example "qure-cirr.champion".
        lease: seconds without a sign of life after which an owner counts as dead, where that has to be guessed.
        wait: seconds to wait for the lock before giving up.
    """
    uri = str(client.tracking_uri)
    file = sqlite_file(uri)
    if file is not None:
        from qure.tracking.lock.files import FileLock

        return FileLock(file, name, wait=wait)
    if uri.startswith("postgresql"):
        from qure.tracking.lock.postgres import PostgresLock

        return PostgresLock(uri, name, wait=wait)
    from qure.tracking.lock.experiments import ExperimentLock

    # Its signs of life must be in time, and a repeated attempt would find its own lock taken.
    return ExperimentLock(impatient(client), name, lease=lease, wait=wait)

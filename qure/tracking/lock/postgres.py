"""The lock in PostgreSQL: a session's advisory lock on a connection of its own.

The server frees it when the session ends: at once when the process dies, after a minute when its machine vanishes
(the session asks for TCP keepalives). A process that is only slow or suspended keeps it. What can take it away is a
connection that breaks under a living process; `check` finds that. A pooler in transaction mode (PgBouncer) between
client and server gives every statement another session, and `check` refuses to go on.
"""

import hashlib
from typing import TYPE_CHECKING, Any

from qure.tracking.lock.base import LockLost, RegistryLock
from qure.tracking.remedies import first_line

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: Longest name of a session that PostgreSQL keeps.
_LONGEST_NAME = 63
#: Set where this server knows them: the session waits idle for as long as its owner works, and ends with its machine.
_SESSION = """
SELECT set_config(known.name, wanted.value, false)
FROM pg_settings AS known JOIN (VALUES
    ('idle_session_timeout', '0'), ('tcp_keepalives_idle', '20'), ('tcp_keepalives_interval', '10'),
    ('tcp_keepalives_count', '4'), ('application_name', :owner)
) AS wanted (name, value) USING (name)
"""
_OURS = """
SELECT count(*) FROM pg_locks
WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND objsubid = 1
  AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND classid::bigint = :high AND objid::bigint = :low
"""
_HOLDER = """
SELECT session.application_name FROM pg_locks AS held JOIN pg_stat_activity AS session USING (pid)
WHERE held.locktype = 'advisory' AND held.granted AND held.objsubid = 1
  AND held.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND held.classid::bigint = :high AND held.objid::bigint = :low
"""


class PostgresLock(RegistryLock):
    """A lock of all processes that use one PostgreSQL database.

    Args:
        uri: of the database, for SQLAlchemy.
        name, wait: as `RegistryLock` takes them.
    """

    def __init__(self, uri: str, name: str, *, wait: float) -> None:
        super().__init__(name, wait=wait)
        digest = hashlib.sha256(f"qure {name}".encode()).digest()
        self._key = int.from_bytes(digest[:8], "big", signed=True)
        # As pg_locks shows a key: two unsigned halves.
        self._halves = {"high": (self._key >> 32) & 0xFFFFFFFF, "low": self._key & 0xFFFFFFFF}
        self._uri = uri
        self._engine: Engine | None = None
        self._session: Connection | None = None

    def check(self) -> None:
        """Whether the session still is, and has the lock; `RegistryLock.check`."""
        try:
            ours = bool(self._ask(_OURS, self._halves))
        except Exception as error:
            raise LockLost(
                f"the lock {self.name!r} is lost, its connection broke: {first_line(error)}. Start the command again"
            ) from None
        if not ours:
            raise LockLost(
                f"the lock {self.name!r} is lost: this is another database session than the one that took it. Behind "
                "a pooler, let it keep sessions (PgBouncer: pool_mode = session). Start the command again"
            )

    def _take(self) -> bool:
        if self._session is None:
            from sqlalchemy import NullPool, create_engine

            self._engine = create_engine(self._uri, poolclass=NullPool, isolation_level="AUTOCOMMIT")
            self._session = self._engine.connect()
            self._ask(_SESSION, {"owner": f"qure lock, {self.owner}"[:_LONGEST_NAME]})
        return bool(self._ask("SELECT pg_try_advisory_lock(:key)", {"key": self._key}))

    def __enter__(self) -> "PostgresLock":
        try:
            return super().__enter__()
        except BaseException:
            self._release()
            raise

    def _release(self) -> None:
        session, engine, self._session, self._engine = self._session, self._engine, None, None
        if session is not None:
            session.close()
        if engine is not None:
            engine.dispose()

    def _holder(self) -> str | None:
        name = self._ask(_HOLDER, self._halves)
        return None if name is None else str(name)

    def _ask(self, statement: str, values: dict[str, Any]) -> Any:
        from sqlalchemy import text

        if self._session is None:
            raise ConnectionError("there is no session")
        return self._session.execute(text(statement), values).scalar()

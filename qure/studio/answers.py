"""What people say: one table in SQLite (WAL), only ever added to, on the disk before an answer is acknowledged.

People are known by a token alone, of which a digest is kept: whoever reads the database cannot answer in their place.
"""

import hashlib
import json
import os
import re
import secrets
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from qure.errors import BadInput, StageFailed
from qure.files import sync
from qure.scratch import scratch_folder

Kind = Literal["consent", "preference", "mark"]

#: Seconds to wait for another process that writes.
_BUSY = 30.0
_FORMAT = 1

_TABLES = """
CREATE TABLE answers (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    at TEXT NOT NULL,
    kind TEXT NOT NULL,
    person TEXT NOT NULL,
    subject TEXT NOT NULL,
    content TEXT NOT NULL,
    once TEXT UNIQUE
);
CREATE INDEX answers_by_kind ON answers (kind, person);
CREATE TRIGGER answers_stay BEFORE UPDATE ON answers BEGIN SELECT RAISE(ABORT, 'answers are only added'); END;
CREATE TRIGGER answers_keep BEFORE DELETE ON answers BEGIN SELECT RAISE(ABORT, 'answers are only added'); END;
"""


@dataclass(frozen=True, slots=True)
class Answer:
    """One thing that one person said.

    Attributes:
        number: ascending in the order in which answers arrived.
        at: when, UTC, ISO 8601.
        kind: what kind of thing.
        person: digest of the person's token (`person_of`).
        subject: what it is about: a survey, a question, a query.
        content: what was said, JSON-able.
    """

    number: int
    at: str
    kind: Kind
    person: str
    subject: str
    content: dict[str, Any]


class Answers:
    """The database of answers; every call has a connection of its own, so threads and processes may share a file.

    Args:
        file: made with its folder when the first answer is added.
        read_only: refuse to add.

    Raises:
        BadInput: the file is something else.
    """

    def __init__(self, file: Path, *, read_only: bool = False) -> None:
        self.file, self.read_only = Path(file), read_only
        if self.file.exists():
            with self._opened() as database:
                self._require_format(database)

    def add(
        self, kind: Kind, person: str, subject: str, content: dict[str, Any], *, once: str | None = None
    ) -> Answer | None:
        """Adds an answer; when this returns it is on the disk.

        Args:
            kind, person, subject, content: as in `Answer`.
            once: what may be answered only once, for example a person's question: the first answer stays.

        Returns:
            the answer; None where there is one with this `once` already.

        Raises:
            StageFailed: answers are shown only, or the database cannot be written.
        """
        return self.add_decided(kind, person, subject, lambda _: content, once=once)

    def add_decided(
        self,
        kind: Kind,
        person: str,
        subject: str,
        decide: Callable[[int], dict[str, Any]],
        *,
        once: str | None = None,
    ) -> Answer | None:
        """The same, where the content depends on how many answers of this kind and subject there are.

        Nobody else adds one between the counting and the adding.
        """
        if self.read_only:
            raise StageFailed("answers are only shown here, none are taken")
        self._make()
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with self._opened() as database:
            database.execute("BEGIN IMMEDIATE")
            try:
                counted = "SELECT count(*) FROM answers WHERE kind = ? AND subject = ?"
                content = decide(int(database.execute(counted, (kind, subject)).fetchone()[0]))
                added = database.execute(
                    "INSERT INTO answers (at, kind, person, subject, content, once) VALUES (?, ?, ?, ?, ?, ?)"
                    " ON CONFLICT (once) DO NOTHING RETURNING number",
                    (now, kind, person, subject, json.dumps(content, ensure_ascii=False, allow_nan=False), once),
                ).fetchone()
                database.execute("COMMIT")
            except BaseException:
                if database.in_transaction:
                    database.execute("ROLLBACK")
                raise
        return None if added is None else Answer(int(added[0]), now, kind, person, subject, content)

    def of(self, kind: Kind, *, person: str | None = None, subject: str | None = None) -> list[Answer]:
        """Answers of a kind in the order in which they arrived."""
        if not self.file.exists():
            return []
        where, values = "kind = ?", [str(kind)]
        for column, value in (("person", person), ("subject", subject)):
            if value is not None:
                where, values = f"{where} AND {column} = ?", [*values, value]
        query = f"SELECT number, at, kind, person, subject, content FROM answers WHERE {where} ORDER BY number"
        with self._opened() as database:
            return [
                Answer(number, at, kind_of, whose, about, json.loads(content))
                for number, at, kind_of, whose, about, content in database.execute(query, values)
            ]

    def _without_log(self) -> str:
        """How SQLite reads a file in WAL mode where nobody writes and it cannot put the log's index beside it."""
        log = self.file.with_name(f"{self.file.name}-wal")
        alone = self.read_only and not os.access(self.file.parent, os.W_OK) and not log.exists()
        return "&immutable=1" if alone else ""

    def _make(self) -> None:
        """Makes the file aside and names it when it is whole; where another process was faster, its file stays."""
        if self.file.exists():
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with scratch_folder(self.file.parent) as scratch:
            made = scratch / self.file.name
            with closing(sqlite3.connect(made)) as database:
                database.execute("PRAGMA journal_mode = WAL")
                database.executescript(_TABLES)
                database.execute(f"PRAGMA user_version = {_FORMAT}")
            sync(made)
            with suppress(FileExistsError):
                os.link(made, self.file)
            sync(self.file.parent)

    def _require_format(self, database: sqlite3.Connection) -> None:
        found = database.execute("PRAGMA user_version").fetchone()[0]
        if found != _FORMAT:
            raise BadInput(
                f"answers of format {found}, not {_FORMAT}", file=self.file, remedy="Name another folder: --folder"
            )

    @contextmanager
    def _opened(self) -> Iterator[sqlite3.Connection]:
        uri = f"{self.file.absolute().as_uri()}?mode={'ro' if self.read_only else 'rw'}{self._without_log()}"
        try:
            with closing(sqlite3.connect(uri, uri=True, timeout=_BUSY, isolation_level=None)) as database:
                # FULL: in WAL the default would lose the last answers in a power cut.
                database.execute("PRAGMA synchronous = FULL")
                yield database
        except sqlite3.OperationalError as error:
            raise StageFailed(
                f"{self.file}: the answers cannot be read or written: {error}. Make the folder writable, make space, "
                "or name another one: --folder"
            ) from None
        except sqlite3.DatabaseError as error:
            raise BadInput(
                f"this is no database of answers: {error}", file=self.file, remedy="Name another folder: --folder"
            ) from None


def new_token() -> str:
    """A token that nobody guesses: 96 random bits."""
    return secrets.token_urlsafe(12)


def is_token(text: str) -> bool:
    """Whether a text can be a token of `new_token`.

    >>> is_token(new_token()), is_token("guessed"), is_token("")
    (True, False, False)
    """
    return re.fullmatch(r"[A-Za-z0-9_-]{16}", text) is not None


def person_of(token: str) -> str:
    """What is kept of a token.

    >>> person_of("a token") == person_of("a token") != person_of("another")
    True
    """
    return hashlib.sha256(f"qure studio {token}".encode()).hexdigest()[:20]

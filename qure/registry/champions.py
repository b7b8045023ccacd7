"""Who is champion: an alias for readers, an append-only history as the truth, one writer at a time.

Each change writes a history entry first, a tag of the registered model (`qure.champion.<number>.<writer>`), looks
again whether it is the newest, then moves the alias `champion`, then marks the entry done. An entry's number is one
more than the newest that its writer had seen when it decided. So two changes decided on the same state cannot both
pass, even if the lock under which they are made (`qure.tracking.lock`) failed: both write before they look again, and
whoever sees the other gives up. An entry that is not done belongs to a writer that died; the next one finishes it.

What a lock with time limits cannot rule out, where the lock can be lost by a living owner: a writer pauses between its
last look and the moment at which the server moves the alias, and the alias names its version although a later owner
has decided otherwise. The writer looks again right after and mends it. If it dies in exactly that moment, its entry
says so (`outstanding`): then nobody can tell whether the alias was moved by it or by a person, and a person is asked.
In every other case an alias that differs from the history was set by a person, who is believed: it becomes an entry.
"""

import contextlib
import logging
import uuid
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qure.errors import BadInput, StageFailed
from qure.registry.described import tell_history
from qure.registry.history import Entry, read_history, void, write_entry
from qure.tracking.connection import first_line
from qure.tracking.lock import LockLost, RegistryLock, registry_lock
from qure.tracking.lock.base import whoever

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

#: Seconds without a sign of life after which a process that changes the champion counts as dead, where that is guessed.
LEASE = 30.0

CHAMPION, CHALLENGER = "champion", "challenger"
ROLLED_BACK = "qure.rolled_back"

#: Longest sentence of a reason that an entry keeps; MLflow takes tags of 5,000 characters.
_LONGEST = 1000


class Champions:
    """Champion and history of one registered model.

    Args:
        client: of the registry.
        name: the registered model.
    """

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.name = name
        self._client = client
        self._seen: int | None = None

    def lock(self) -> RegistryLock:
        """The lock under which this model's aliases are changed."""
        return registry_lock(self._client, f"{self.name}.champion", lease=LEASE)

    def current(self) -> int | None:
        """The champion's version; None when there is none."""
        return self._alias(CHAMPION)

    def history(self) -> list[Entry]:
        """Every change of champion, oldest first."""
        return read_history(self._client, self.name)

    def settle(self, lock: RegistryLock, *, believe: bool = False) -> int | None:
        """Makes alias and history agree; to be called under the lock, before anything is decided.

        Args:
            lock: held.
            believe: whether an alias that may be a dead writer's is taken for a person's, who has been asked.

        Returns:
            the champion's version; None when there is none.

        Raises:
            StageFailed: a person must say who is champion.
        """
        alias = self.current()
        history = self._standing(alias)
        self._seen = history[-1].token if history else 0
        if not history:
            return self._by_hand(lock, alias, None, history)
        latest = history[-1]
        if not latest.done:
            return self._finish(lock, latest)
        if alias == latest.version:
            return alias
        if alias is None and not self._exists(latest.version):
            return self._bring_back(lock, history)
        if not believe and any(entry.outstanding and entry.version == alias for entry in history):
            raise StageFailed(
                f"{self.name}: version {latest.version} was made champion last, and the alias names version {alias}: "
                "either a process that died had moved it late, or a person has. Say who is champion: "
                f"qure rollback --to-version {latest.version}, or --to-version {alias}"
            )
        return self._by_hand(lock, alias, latest.version, history)

    def crown(self, lock: RegistryLock, version: int, *, previous: int | None, reason: str, why: str = "") -> None:
        """Makes a version champion; under the lock, after `settle`.

        Raises:
            LockLost: another process took the lock over, or changed the champion in spite of it. Nothing was changed,
                or what was changed has been mended.
        """
        if self._seen is None:
            self._seen = max((entry.token for entry in self.history()), default=0)
        entry = self._entry(version, previous, reason, why)
        lock.check()
        write_entry(self._client, self.name, entry)
        try:
            lock.check()
            self._require_newest(entry)
        except LockLost:
            self._client.delete_registered_model_tag(self.name, entry.key)
            raise
        self._client.set_registered_model_alias(self.name, CHAMPION, str(version))
        try:
            lock.check()
            self._require_newest(entry)
        except LockLost:
            self._mend(entry)
            raise
        write_entry(self._client, self.name, replace(entry, done=True))
        self._seen = entry.token
        self._tell()

    def make_challenger(self, version: int) -> None:
        """Gives a version the alias `challenger`."""
        self._client.set_registered_model_alias(self.name, CHALLENGER, str(version))

    def roll_back(self, lock: RegistryLock, to_version: int | None) -> tuple[int | None, int]:
        """Makes an earlier version champion again, and bars the present one from being promoted by a pipeline.

        Args:
            lock: held.
            to_version: a version; None for the champion before the present one.

        Returns:
            the version that was champion, and the one that is now.

        Raises:
            BadInput: there is no earlier champion, or no such version.
        """
        latest = self.history()[-1:]
        is_confirmed = bool(latest) and latest[0].version != self.current() == to_version  # the alias was in doubt
        present, history = self.settle(lock, believe=to_version is not None), self.history()
        target = to_version if to_version is not None else (history[-1].previous if history else None)
        if target is None:
            raise BadInput(
                f"{self.name}: version {present} had no champion before it"
                if present is not None
                else f"{self.name} has no champion",
                remedy="Name a version: qure rollback --to-version N",
            )
        self.version(target)
        if target == present:
            if is_confirmed:
                return present, target
            raise BadInput(f"{self.name}: version {target} is champion already")
        earlier = next((entry.previous for entry in reversed(history) if entry.version == target), present)
        if present is not None:
            self._client.set_model_version_tag(self.name, str(present), ROLLED_BACK, _now())
        if ROLLED_BACK in self.version(target).tags:
            self._client.delete_model_version_tag(self.name, str(target), ROLLED_BACK)
        why = f"version {present} was rolled back" if present is not None else ""
        self.crown(lock, target, previous=earlier, reason="rolled back", why=why)
        return present, target

    def version(self, number: int, remedy: str = "`make mlflow` shows what there is") -> "ModelVersion":
        """A version; `remedy` is what is told where it is missing.

        Raises:
            BadInput: it does not exist.
        """
        return self._tolerant(
            lambda: self._client.get_model_version(self.name, str(number)),
            BadInput(f"{self.name} has no version {number}", remedy=remedy),
        )

    def _standing(self, alias: int | None) -> list[Entry]:
        """The history; entries that count for nothing are removed."""
        history = self.history()
        left_over = void(history, alias)
        for entry in left_over:
            self._client.delete_registered_model_tag(self.name, entry.key)
        return [entry for entry in history if entry not in left_over]

    def _finish(self, lock: RegistryLock, entry: Entry) -> int:
        logger.warning(
            "%s: a process died or stalled while it made version %s champion: finishing it", self.name, entry.version
        )
        lock.check()
        self._client.set_registered_model_alias(self.name, CHAMPION, str(entry.version))
        write_entry(self._client, self.name, replace(entry, done=True, outstanding=lock.losable))
        self._tell()
        return entry.version

    def _by_hand(self, lock: RegistryLock, alias: int | None, recorded: int | None, history: list[Entry]) -> int | None:
        """What a person has done stays: it is taken down. Nobody else can move the alias from now on."""
        if alias == recorded:
            return alias
        logger.warning("%s: version %s was made champion by hand; it was %s", self.name, alias, recorded)
        lock.check()
        for entry in history:
            if entry.outstanding:
                write_entry(self._client, self.name, replace(entry, outstanding=False))
        if alias is not None:
            entry = replace(self._entry(alias, recorded, "set by hand", ""), by="", done=True)
            write_entry(self._client, self.name, entry)
            self._seen = entry.token
            self._tell()
        return alias

    def _bring_back(self, lock: RegistryLock, history: list[Entry]) -> int | None:
        """The champion's version was deleted: the newest champion before it that is still there follows."""
        gone = history[-1].version
        for entry in reversed(history):
            if self._exists(entry.version) and ROLLED_BACK not in self.version(entry.version).tags:
                logger.warning(
                    "%s: the champion, version %d, was deleted: version %d is champion again",
                    self.name,
                    gone,
                    entry.version,
                )
                why = f"version {gone} was deleted"
                self.crown(lock, entry.version, previous=entry.previous, reason="brought back", why=why)
                return entry.version
        logger.warning("%s: the champion, version %d, was deleted, and no champion before it is left", self.name, gone)
        return None

    def _require_newest(self, entry: Entry) -> None:
        rival = next((one for one in self.history() if one.token >= entry.token and one.key != entry.key), None)
        if rival is not None:
            raise LockLost(
                f"{self.name}: {rival.by or 'another process'} changed the champion to version {rival.version} at the "
                "same time. Start the command again"
            )

    def _mend(self, entry: Entry) -> None:
        logger.warning("%s: the lock was lost while the champion was changed; checking who is champion", self.name)
        with self.lock() as lock:
            history = self.history()
            latest = history[-1] if history else None
            if latest is not None and latest.key != entry.key and self.current() == entry.version != latest.version:
                lock.check()
                self._client.set_registered_model_alias(self.name, CHAMPION, str(latest.version))
            if any(one.key == entry.key for one in history):
                # Whoever finished it meanwhile need not fear a late move of the alias any more.
                write_entry(self._client, self.name, replace(entry, done=True))

    def _entry(self, version: int, previous: int | None, reason: str, why: str) -> Entry:
        token, writer = (self._seen or 0) + 1, uuid.uuid4().hex[:8]
        return Entry(version, previous, reason, _now(), why[:_LONGEST], whoever(), token=token, writer=writer)

    def _tell(self) -> None:
        """The history for people; that it cannot be written changes nothing."""
        try:
            tell_history(self._client, self.name, self.history())
        except Exception as error:
            logger.warning("%s: its page does not show the newest change: %s", self.name, first_line(error))

    def _exists(self, number: int) -> bool:
        with contextlib.suppress(BadInput):
            self.version(number)
            return True
        return False

    def _alias(self, alias: str) -> int | None:
        aliases = self._client.get_registered_model(self.name).aliases
        return int(aliases[alias]) if alias in aliases else None

    @staticmethod
    def _tolerant(call: "Callable[[], ModelVersion]", otherwise: BadInput) -> "ModelVersion":
        from mlflow.exceptions import MlflowException

        try:
            return call()
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise otherwise from None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

"""Who is champion: an alias for readers, an append-only history as the truth, one writer at a time.

Each change writes a history entry first, a tag of the registered model whose key holds the writer's fencing token
(`qure.champion.<token>`), then moves the alias `champion`, then marks the entry done. Keys never collide and grow with
every owner of the lock (`qure.tracking.lock`), so the highest is the present champion even if a writer that had lost
the lock without noticing writes late. An entry that is not done belongs to a writer that died; the next one finishes
it.

What can still happen, and how it ends: a writer pauses for longer than the lock's lease between its last check and the
moment at which the server moves the alias. Then the alias names that writer's version although a later owner has
decided otherwise. The writer checks again right after and mends it; if it dies in exactly that moment, the next
promotion or rollback mends it, because an owner that took the lock over from a dead one says so in its entry.
Without such a take-over, an alias that differs from the history was set by a person, who is believed: it becomes an
entry.
"""

import json
import logging
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qure.errors import BadInput
from qure.tracking.lock import LockLost, RegistryLock

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

#: Seconds without a sign of life after which a process that changes the champion counts as dead.
LEASE = 30.0

CHAMPION, CHALLENGER = "champion", "challenger"
ENTRY = "qure.champion."
ROLLED_BACK = "qure.rolled_back"

_ENTRY_KEY = re.compile(re.escape(ENTRY) + r"(\d+)")


@dataclass(frozen=True, slots=True)
class Entry:
    """One change of champion.

    Attributes:
        version: who became champion.
        previous: who becomes champion when this one is rolled back; None for nobody.
        reason: "promoted", "rolled back" or "set by hand".
        at: UTC, ISO 8601.
        took_over: whether the writer had taken the lock over from an owner without signs of life.
        done: whether the alias was moved.
        token: fencing token of the writer.
    """

    version: int
    previous: int | None
    reason: str
    at: str
    took_over: bool
    done: bool = False
    token: int = 0


class Champions:
    """Champion and history of one registered model.

    Args:
        client: of the registry.
        name: the registered model.
    """

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.name = name
        self._client = client

    def lock(self) -> RegistryLock:
        """The lock under which this model's aliases are changed."""
        return RegistryLock(self._client, f"{self.name}.lock", lease=LEASE)

    def current(self) -> int | None:
        """The champion's version; None when there is none."""
        return self._alias(CHAMPION)

    def history(self) -> list[Entry]:
        """Every change of champion, oldest first."""
        entries = []
        for key, value in self._client.get_registered_model(self.name).tags.items():
            match = _ENTRY_KEY.fullmatch(key)
            if match:
                entries.append(Entry(**{**json.loads(value), "token": int(match[1])}))
        return sorted(entries, key=lambda entry: entry.token)

    def settle(self, lock: RegistryLock) -> int | None:
        """Makes alias and history agree; to be called under the lock, before anything is decided.

        Returns:
            the champion's version; None when there is none.
        """
        history, alias = self.history(), self.current()
        latest = history[-1] if history else None
        recorded = latest.version if latest else None
        if latest is not None and (not latest.done or (alias != recorded and (lock.took_over or latest.took_over))):
            logger.warning(
                "%s: a process died or stalled while it made version %s champion: finishing it", self.name, recorded
            )
            lock.check()
            self._client.set_registered_model_alias(self.name, CHAMPION, str(recorded))
            self._write(replace(latest, done=True))
            return recorded
        if alias != recorded:
            logger.warning("%s: version %s was made champion by hand; it was %s", self.name, alias, recorded)
            if alias is not None:
                self._write(Entry(alias, recorded, "set by hand", _now(), lock.took_over, True, lock.token))
        return alias

    def crown(self, lock: RegistryLock, version: int, *, previous: int | None, reason: str) -> None:
        """Makes a version champion; under the lock, after `settle`.

        Raises:
            LockLost: another process took the lock over. Nothing was changed, or what was changed has been mended.
        """
        entry = Entry(version, previous, reason, _now(), lock.took_over, False, lock.token)
        lock.check()
        self._write(entry)
        try:
            lock.check()
        except LockLost:
            self._client.delete_registered_model_tag(self.name, _key(entry.token))
            raise
        self._client.set_registered_model_alias(self.name, CHAMPION, str(version))
        self._write(replace(entry, done=True))
        try:
            lock.check()
        except LockLost:
            self._mend()
            raise

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
        present, history = self.settle(lock), self.history()
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
            raise BadInput(f"{self.name}: version {target} is champion already")
        earlier = next((entry.previous for entry in reversed(history) if entry.version == target), present)
        if present is not None:
            self._client.set_model_version_tag(self.name, str(present), ROLLED_BACK, _now())
        if ROLLED_BACK in self.version(target).tags:
            self._client.delete_model_version_tag(self.name, str(target), ROLLED_BACK)
        self.crown(lock, target, previous=earlier, reason="rolled back")
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

    def _mend(self) -> None:
        logger.warning("%s: the lock was lost while the champion was changed; checking who is champion", self.name)
        with self.lock() as lock:
            lock.took_over = True  # from this process
            self.settle(lock)

    def _write(self, entry: Entry) -> None:
        content = {key: value for key, value in asdict(entry).items() if key != "token"}
        self._client.set_registered_model_tag(self.name, _key(entry.token), json.dumps(content))

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


def _key(token: int) -> str:
    return f"{ENTRY}{token:08d}"


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")

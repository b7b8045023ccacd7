"""Who is champion: an alias for readers, an append-only history as the truth, one writer at a time.

Each change writes a history entry first, a tag of the registered model (`qure.champion.<number>.<writer>`), looks
again whether it is the newest and whether the alias is as it was, then moves the alias `champion`, then marks the entry
done. **The change is made when the alias moves.** An entry that is not done belongs to a writer that died: where the
alias names its version it was made, else it is withdrawn, and whoever was champion, or was set by hand, stays.

An entry's number is one more than the newest that its writer had seen when it decided. So two changes decided on the
same state cannot both pass, even if the lock under which they are made (`qure.tracking.lock`) failed: both write before
they look again, and whoever sees the other gives up.

**People** move the alias as they like: an alias that differs from the history is believed and becomes an entry. Whoever
takes it away leaves the model without champion, and whoever deletes the champion's version brings the one before back;
the gate stays closed all the same (`Champions.to_beat`).

Two things cannot be told apart, because MLflow has no compare-and-set:

- A person who moves the alias between a writer's last look and its own move, two calls that follow each other, is
  overwritten.
- A lock that its living owner can lose: a writer pauses at just that place, loses its lock, moves the alias late and
  dies before it can mend it. Its entry was withdrawn meanwhile and says so (`outstanding`): nobody can tell whether the
  alias was moved by it or by a person, and a person is asked.
"""

import logging
import uuid
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qure.errors import BadInput, StageFailed
from qure.registry import history as changes
from qure.registry.history import Entry, barred, predecessors
from qure.registry.journal import Journal
from qure.tracking.lock import LockLost, RegistryLock, registry_lock
from qure.tracking.lock.base import whoever

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

#: Seconds without a sign of life after which a process that changes the champion counts as dead, where that is guessed.
LEASE = 30.0

CHALLENGER = "challenger"

#: How often a writer tries to mend what it has moved too late, when it loses the lock again meanwhile.
_ATTEMPTS = 5
#: Longest sentence of a reason that an entry keeps; MLflow takes tags of 5,000 characters.
_LONGEST = 1000


@dataclass(frozen=True)
class _Seen:
    """What a decision rests on: the newest entry's number, and the alias."""

    token: int
    alias: int | None


class Champions:
    """Champion and history of one registered model.

    Args:
        client: of the registry.
        name: the registered model.
        command: what people are told made the changes.
        run: the MLflow run that makes them.
    """

    def __init__(self, client: "MlflowClient", name: str, *, command: str = "", run: str = "") -> None:
        self.name = name
        self._command, self._run = command, run
        self._journal = Journal(client, name)
        self._seen: _Seen | None = None

    def lock(self) -> RegistryLock:
        """The lock under which this model's aliases are changed."""
        return registry_lock(self._journal.client, f"{self.name}.champion", lease=LEASE)

    def current(self) -> int | None:
        """The champion's version; None when there is none."""
        return self._journal.read()[1]

    def history(self) -> list[Entry]:
        """Every change of champion, oldest first."""
        return [entry for entry in self._journal.read()[0] if entry.counts]

    def to_beat(self) -> int | None:
        """Whom a challenger must not be worse than: the champion; without one, the newest that was and still stands.

        So nobody opens the gate by taking the alias away, or by deleting a version. None when nobody is left.
        """
        entries, champion = self._journal.read()
        if champion is not None:
            return champion
        history = [entry for entry in entries if entry.counts]
        left = barred(history)
        newest_first = dict.fromkeys(entry.version for entry in reversed(history))
        return next((one for one in newest_first if one not in left and self._journal.exists(one)), None)

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
        entries, alias = self._journal.read()
        if self._journal.restore(lock):
            entries, alias = self._journal.read()
        entries = self._closed(lock, entries, alias)
        self._seen = _Seen(max((entry.token for entry in entries), default=0), alias)
        history = [entry for entry in entries if entry.counts]
        latest = history[-1] if history else None
        if alias == (latest.version if latest else None):
            return alias
        if alias is None:
            assert latest is not None
            if not self._journal.exists(latest.version):
                return self._bring_back(lock, history)
            logger.warning("%s: the alias was taken from version %d: nobody is champion", self.name, latest.version)
            return None
        if not believe and any(entry.outstanding and entry.version == alias for entry in entries):
            last = latest.version if latest else None
            choices = [one for one in (last, alias) if one is not None and self._journal.exists(one)]
            raise StageFailed(
                f"{self.name}: version {last} was made champion last, and the alias names version {alias}: "
                "either a process that died had moved it late, or a person has. Say who is champion: qure rollback "
                + ", or ".join(f"--to-version {one}" for one in choices)
            )
        self._take_down(lock, alias, latest.version if latest else None, entries)
        return alias

    def crown(
        self,
        lock: RegistryLock,
        version: int,
        *,
        previous: int | None,
        reason: str,
        why: str = "",
        bars: int | None = None,
        difference: float | None = None,
    ) -> None:
        """Makes a version champion; under the lock, after `settle`. The arguments are `Entry`'s.

        Raises:
            LockLost: another process took the lock over, or changed the champion in spite of it; or a person moved
                the alias meanwhile. Nothing was changed, or what was changed has been mended.
        """
        if self._seen is None:
            self.settle(lock)
        assert self._seen is not None
        entry = replace(self._entry(version, previous, reason, why), bars=bars, difference=difference)
        lock.check()
        self._journal.write(entry)
        try:
            lock.check()
            self._require_newest(entry, alias=self._seen)
        except LockLost:
            self._journal.remove(entry)
            raise
        self._journal.move_alias(version)
        try:
            lock.check()
            self._require_newest(entry)
        except LockLost:
            self._mend(entry)
            raise
        self._journal.write(replace(entry, done=True))
        self._seen = _Seen(entry.token, version)
        self._journal.show_history(self.history())

    def make_challenger(self, version: int) -> None:
        """Gives a version the alias `challenger`."""
        self._journal.client.set_registered_model_alias(self.name, CHALLENGER, str(version))

    def roll_back(self, lock: RegistryLock, to_version: int | None) -> tuple[int | None, int]:
        """Makes an earlier version champion again, and bars the present one from being promoted by a pipeline.

        Without a version it is the nearest champion before the present one that still exists and was not rolled back
        itself.

        Args:
            lock: held.
            to_version: a version; None for the champion before the present one.

        Returns:
            the version that was champion, and the one that is now.

        Raises:
            BadInput: there is no earlier champion, or no such version.
        """
        entries, alias = self._journal.read()
        latest = [entry for entry in entries if entry.counts][-1:]
        is_confirmed = bool(latest) and latest[0].version != alias == to_version  # the alias was in doubt
        present, history = self.settle(lock, believe=to_version is not None), self.history()
        leaves = present if present is not None else (history[-1].version if history else None)
        target = to_version if to_version is not None else self._before(history, leaves)
        self._journal.version(target)
        if target == present:
            if is_confirmed:
                return present, target
            raise BadInput(f"{self.name}: version {target} is champion already")
        known = {entry.version: entry.previous for entry in history}
        self.crown(
            lock,
            target,
            previous=known.get(target, present),
            reason=changes.ROLLED_BACK,
            why=f"version {leaves} was rolled back" if leaves not in (None, target) else "",
            bars=leaves if leaves != target else None,
        )
        self._journal.show_barred(leaves, target)
        return present, target

    def version(self, number: int, remedy: str = "`make mlflow` shows what there is") -> "ModelVersion":
        """A version; `remedy` is what is told where it is missing.

        Raises:
            BadInput: it does not exist.
        """
        return self._journal.version(number, remedy)

    def _closed(self, lock: RegistryLock, entries: list[Entry], alias: int | None) -> list[Entry]:
        """Entries of which none is open any more: whoever holds the lock is the only one who may have one."""
        found = []
        for entry in entries:
            if entry.done or entry.withdrawn:
                found.append(entry)
            elif entry.version == alias:
                logger.warning("%s: a process ended while it made version %s champion", self.name, alias)
                found.append(self._journal.rewrite(lock, entry, done=True))
            elif lock.losable:
                logger.warning("%s: a process ended before it made version %s champion", self.name, entry.version)
                found.append(self._journal.withdraw(lock, entry, outstanding=True))
            else:
                lock.check()
                self._journal.remove(entry)
        return found

    def _take_down(self, lock: RegistryLock, alias: int, recorded: int | None, entries: list[Entry]) -> None:
        """What a person has done stays: it becomes an entry. Nobody else can move the alias from now on."""
        logger.warning("%s: version %s was made champion by hand; it was %s", self.name, alias, recorded)
        for entry in entries:
            if entry.outstanding and entry.withdrawn:
                self._journal.withdraw(lock, entry, outstanding=False)
            elif entry.outstanding:  # as older versions of qure wrote it
                self._journal.rewrite(lock, entry, outstanding=False)
        noticed = f"the alias was moved in MLflow; noticed by {self._command or whoever()}"
        entry = replace(self._entry(alias, recorded, changes.SET_BY_HAND, noticed), by="", command="", run="")
        lock.check()
        self._journal.write(replace(entry, done=True))
        self._seen = _Seen(entry.token, alias)
        self._journal.show_barred(None, alias)
        self._journal.show_history(self.history())

    def _bring_back(self, lock: RegistryLock, history: list[Entry]) -> int | None:
        """The champion's version was deleted: the nearest champion before it that is still there follows."""
        gone, left = history[-1].version, barred(history)
        chain = predecessors(history, gone)
        follows = next((one for one in chain if one not in left and self._journal.exists(one)), None)
        if follows is None:
            logger.warning(
                "%s: the champion, version %d, was deleted, and no champion before it is left", self.name, gone
            )
            return None
        logger.warning(
            "%s: the champion, version %d, was deleted: version %d is champion again", self.name, gone, follows
        )
        previous = next(iter(predecessors(history, follows)), None)
        why = f"version {gone} was deleted"
        self.crown(lock, follows, previous=previous, reason=changes.BROUGHT_BACK, why=why, bars=gone)
        return follows

    def _before(self, history: list[Entry], version: int | None) -> int:
        """The nearest champion before a version that still exists and was not rolled back.

        Raises:
            BadInput: there is none; says what has become of those that were.
        """
        left, gone = barred(history), []
        for one in predecessors(history, version) if version is not None else ():
            if one in left:
                gone.append(f"version {one} was rolled back")
            elif not self._journal.exists(one):
                gone.append(f"version {one} was deleted")
            else:
                return one
        if version is None:
            problem = f"{self.name} has no champion"
        elif gone:
            problem = f"{self.name}: of the champions before version {version}, {', '.join(gone)}"
        else:
            problem = f"{self.name}: version {version} had no champion before it"
        raise BadInput(problem, remedy="Name a version: qure rollback --to-version N")

    def _require_newest(self, entry: Entry, alias: _Seen | None = None) -> None:
        """That nobody has decided anything since; with `alias`, that nobody has moved it either."""
        entries, now = self._journal.read()
        rival = next((one for one in entries if one.token >= entry.token and one.key != entry.key), None)
        if rival is not None:
            raise LockLost(
                f"{self.name}: {rival.by or 'another process'} changed the champion to version {rival.version} at the "
                "same time. Start the command again"
            )
        if alias is not None and now != alias.alias:
            raise LockLost(
                f"{self.name}: the alias was moved by hand from version {alias.alias} to {now} at the same time, and "
                "stays there. Start the command again"
            )

    def _mend(self, entry: Entry) -> None:
        """What a writer does that finds, after it moved the alias, that it had lost the right to."""
        logger.warning("%s: the lock was lost while the champion was changed; checking who is champion", self.name)
        for _ in range(_ATTEMPTS):
            try:
                with self.lock() as lock:
                    self._mend_under(lock, entry)
                    return
            except LockLost:  # again: whoever has it now does not know what this one has moved
                continue

    def _mend_under(self, lock: RegistryLock, entry: Entry) -> None:
        entries, alias = self._journal.read()
        own = next((one for one in entries if one.key == entry.key), None)
        if own is not None and own.done:
            return  # it was in time: the next owner has found the alias moved
        # Also one that is not done yet: its writer decided later, and may have moved the alias before this one did.
        later = [one for one in entries if not one.withdrawn and one.token >= entry.token and one.key != entry.key]
        if own is not None and not own.withdrawn and not later and alias == entry.version:
            self._journal.rewrite(lock, own, done=True)  # nobody has decided anything since
            return
        lock.check()
        if alias == entry.version:
            before = later[-1].version if later else self._seen.alias if self._seen else None
            self._journal.move_alias(before if before is not None and self._journal.exists(before) else None)
        if own is not None:  # nobody need fear a late move of the alias any more
            self._journal.withdraw(lock, own, outstanding=False)

    def _entry(self, version: int, previous: int | None, reason: str, why: str) -> Entry:
        token, writer = (self._seen.token if self._seen else 0) + 1, uuid.uuid4().hex[:8]
        return Entry(
            version,
            previous,
            reason,
            datetime.now(UTC).isoformat(timespec="seconds"),
            why=why[:_LONGEST],
            by=whoever(),
            command=self._command,
            run=self._run,
            token=token,
            writer=writer,
        )

"""Alias and history of one registered model, as MLflow holds them: read, written, and shown to people.

`qure.registry.champions` decides what is written and when.
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from qure.errors import BadInput
from qure.registry.described import tell_history
from qure.registry.history import Entry, entries_of, withdraw, write_entry
from qure.registry.record import HistoryRecord
from qure.tracking.lock import RegistryLock
from qure.tracking.remedies import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion, RegisteredModel

logger = logging.getLogger(__name__)

CHAMPION = "champion"
#: Shows on a version's page that it was rolled back, and when. The history decides.
ROLLED_BACK_TAG = "qure.rolled_back"


class Journal:
    """The alias `champion` and the entries of one registered model.

    Args:
        client: of the registry.
        name: the registered model.
    """

    def __init__(self, client: "MlflowClient", name: str) -> None:
        self.name = name
        self.client = client
        self._record = HistoryRecord(client)
        self._model: RegisteredModel | None = None

    def read(self) -> tuple[list[Entry], int | None]:
        """All entries, oldest first, and the alias's version, as they were at one moment."""
        model = self._model = self.client.get_registered_model(self.name)
        return entries_of(model), int(model.aliases[CHAMPION]) if CHAMPION in model.aliases else None

    def restore(self, lock: RegistryLock) -> bool:
        """Brings back what was edited or deleted on the model's page of changes that were made, and records the rest.

        To be called after `read`, whose answer it goes by.

        Returns:
            whether anything was brought back: then the history is to be read again.

        Raises:
            LockLost: the lock is not held any more.
        """
        assert self._model is not None
        told = {entry.key: replace(entry, outstanding=False) for entry in entries_of(self._model) if entry.counts}
        recorded = self._record.entries(self._model)
        lost = [entry for key, entry in recorded.items() if told.get(key) != entry]
        for entry in lost:
            lock.check()
            logger.warning(
                "%s: its page has lost the change of champion to version %d at %s: it is written there again",
                self.name,
                entry.version,
                entry.at,
            )
            write_entry(self.client, self.name, entry)
        for key in told.keys() - recorded.keys():  # of an older version of qure, or cleared away by `mlflow gc`
            self._record.keep(self._model, told[key])
        return bool(lost)

    def version(self, number: int, remedy: str = "`make mlflow` shows what there is") -> "ModelVersion":
        """A version; `remedy` is what is told where it is missing.

        Raises:
            BadInput: it does not exist.
        """
        from mlflow.exceptions import MlflowException

        try:
            return self.client.get_model_version(self.name, str(number))
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise BadInput(f"{self.name} has no version {number}", remedy=remedy) from None

    def exists(self, number: int) -> bool:
        """Whether there is such a version."""
        try:
            self.version(number)
        except BadInput:
            return False
        return True

    def move_alias(self, version: int | None) -> None:
        """Makes the alias name a version; None takes it away."""
        if version is None:
            self.client.delete_registered_model_alias(self.name, CHAMPION)
        else:
            self.client.set_registered_model_alias(self.name, CHAMPION, str(version))

    def write(self, entry: Entry) -> None:
        """Writes an entry whole; one whose change was made is final, and recorded as well."""
        write_entry(self.client, self.name, entry)
        if entry.counts and self._model is not None:
            self._record.keep(self._model, replace(entry, outstanding=False))

    def remove(self, entry: Entry) -> None:
        """Takes an entry away that counts for nothing."""
        self.client.delete_registered_model_tag(self.name, entry.key)

    def rewrite(self, lock: RegistryLock, entry: Entry, **known: Any) -> Entry:
        """Writes what is newly known of an entry, if the lock is still held; returns the entry as it is now."""
        lock.check()
        changed = replace(entry, **known)
        self.write(changed)
        return changed

    def withdraw(self, lock: RegistryLock, entry: Entry, *, outstanding: bool) -> Entry:
        """Says that an entry counts for nothing, if the lock is still held; returns the entry as it is now."""
        lock.check()
        withdraw(self.client, self.name, entry, outstanding=outstanding)
        return replace(entry, withdrawn=True, outstanding=outstanding)

    def show_barred(self, left: int | None, champion: int) -> None:
        """On the versions' pages, for people: that it cannot be written changes nothing."""
        try:
            if left is not None and left != champion and self.exists(left):
                at = datetime.now(UTC).isoformat(timespec="seconds")
                self.client.set_model_version_tag(self.name, str(left), ROLLED_BACK_TAG, at)
            if ROLLED_BACK_TAG in self.version(champion).tags:
                self.client.delete_model_version_tag(self.name, str(champion), ROLLED_BACK_TAG)
        except Exception as error:
            logger.warning("%s: a version's page does not show the rollback: %s", self.name, first_line(error))

    def show_history(self, history: Sequence[Entry]) -> None:
        """The history for people; that it cannot be written changes nothing."""
        try:
            tell_history(self.client, self.name, history)
        except Exception as error:
            logger.warning("%s: its page does not show the newest change: %s", self.name, first_line(error))

"""A lock in MLflow's registry, for things of which only one may happen at a time on a whole cluster.

MLflow has no compare-and-set; what it has is the uniqueness of a registered model's name. The lock `name` is a
series of registered models `name.1`, `name.2`, ...: its generations.

- Free: no generation exists, or the highest one carries the tag `released`.
- To take it is to create the next generation, which the database lets exactly one process do. The number is the
  owner's *fencing token*: it grows with every owner. Whoever has created a generation looks again whether it is the
  highest (a slow process may have re-created one that was already cleared away) and gives it up otherwise.
- The owner's heartbeat changes a tag. Another process that has watched a generation for `lease` seconds without any
  change, on its own clock, takes its owner for dead and takes over by creating the next generation.
  Clocks of two machines are never compared.
- Owner is whoever holds the highest generation, so a take-over takes the lock away from an owner that was only
  slow. It must ask (`check`) right before and right after what it does: a write that the server carries out
  between a successful check and a take-over is what no lock with time limits can rule out. The second check
  finds it, so that the caller can mend it.
- Older generations are deleted by the next owner, never the highest: numbers do not repeat.
"""

import contextlib
import logging
import re
import threading
import time
import uuid
from typing import TYPE_CHECKING, Any, NamedTuple

from qure.errors import StageFailed
from qure.tracking.connection import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

OWNER, BEAT, RELEASED = "qure.lock.owner", "qure.lock.beat", "qure.lock.released"

_DESCRIPTION = "A lock of qure, not a model: qure/tracking/lock.py says how it works. Do not delete it while in use."
#: Seconds between two looks: the first, and the longest.
_POLL = (0.1, 2.0)


class LockLost(StageFailed):
    """Another process has taken the lock over: whatever the loser was about to do belongs to the other one now."""


class _Generation(NamedTuple):
    number: int
    tags: dict[str, str]


class RegistryLock:
    """Context manager that holds a lock in MLflow's registry.

    Args:
        client: of the registry.
        name: the lock's name.
        lease: seconds without a heartbeat after which an owner counts as dead. Longer than any pause of the
            process or of the connection that shall be survived.
        wait: seconds to wait for the lock before giving up.

    Raises:
        StageFailed: not acquired within `wait`; names the owner.

    Attributes:
        token: the fencing token, while held: larger than that of every owner before.
        took_over: whether it was taken from an owner without signs of life.
    """

    def __init__(self, client: "MlflowClient", name: str, *, lease: float = 30.0, wait: float = 1800.0) -> None:
        self.name, self.lease, self.wait = name, lease, wait
        self.owner = uuid.uuid4().hex
        self.token = 0
        self.took_over = False
        self._client = client
        self._watched: tuple[int, str | None] | None = None
        self._watched_since = 0.0
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None

    def __enter__(self) -> "RegistryLock":
        deadline = time.monotonic() + self.wait
        told, pause = False, _POLL[0]
        while True:
            latest = self._latest()
            if self._may_be_taken(latest) and self._claim(latest.number + 1 if latest else 1):
                self.took_over = latest is not None and RELEASED not in latest.tags
                break
            if time.monotonic() > deadline:
                owner = latest.tags.get(OWNER) if latest else None
                raise StageFailed(
                    f"the lock {self.name!r} was not free within {self.wait:.0f} s; {owner!r} holds it. "
                    "Wait for the other run to end and start this one again"
                )
            if not told and latest is not None and RELEASED not in latest.tags:
                logger.info("waiting for the lock %s, held by %s", self.name, latest.tags.get(OWNER))
                told = True
            time.sleep(pause)
            pause = min(1.5 * pause, _POLL[1], self.lease / 5)
        self._stop.clear()
        self._heart = threading.Thread(target=self._beat, name=f"heartbeat of {self.name}", daemon=True)
        self._heart.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        if self._heart is not None:
            self._heart.join(timeout=self.lease)
        try:
            self._client.set_registered_model_tag(self._model(self.token), RELEASED, "true")
        except Exception as error:
            # Not an error of what was done under the lock; the next owner waits for one lease.
            logger.warning("the lock %s could not be released: %s", self.name, first_line(error))
        self.token = 0

    def check(self) -> None:
        """Asks the registry whether this process still owns the lock.

        Raises:
            LockLost: it does not.
        """
        latest = self._latest()
        if latest is None or latest.number != self.token or latest.tags.get(OWNER) != self.owner:
            owner = latest.tags.get(OWNER) if latest else None
            raise LockLost(
                f"the lock {self.name!r} was taken over by {owner!r}: this process gave no sign of life for more than "
                f"{self.lease:.0f} s. Start the command again"
            )

    def _may_be_taken(self, latest: _Generation | None) -> bool:
        if latest is None or RELEASED in latest.tags:
            return True
        seen = (latest.number, latest.tags.get(BEAT))
        if seen != self._watched:
            self._watched, self._watched_since = seen, time.monotonic()
            return False
        silent = time.monotonic() - self._watched_since
        if silent < self.lease:
            return False
        logger.warning(
            "%s held the lock %s and has given no sign of life for %.0f s: taking it over",
            latest.tags.get(OWNER),
            self.name,
            silent,
        )
        return True

    def _claim(self, number: int) -> bool:
        created = _tolerant(
            self._client.create_registered_model,
            self._model(number),
            tags={OWNER: self.owner, BEAT: "0"},
            description=_DESCRIPTION,
        )
        found = self._generations()
        latest = max(found, default=None)
        # A create whose answer got lost is repeated by MLflow's transport and then refused, although it is ours.
        ours = latest is not None and latest.number == number and latest.tags.get(OWNER) == self.owner
        if not ours:
            if created:
                _tolerant(self._client.delete_registered_model, self._model(number))
            return False
        self.token = number
        for older in found:
            if older.number < number:
                with contextlib.suppress(Exception):  # its former owner may be writing to it; the next owner deletes it
                    self._client.delete_registered_model(self._model(older.number))
        return True

    def _beat(self) -> None:
        beats = 0
        while not self._stop.wait(self.lease / 6):
            beats += 1
            with contextlib.suppress(Exception):  # a lost lock is found by check(), a lost connection by the next beat
                self._client.set_registered_model_tag(self._model(self.token), BEAT, str(beats))

    def _latest(self) -> _Generation | None:
        return max(self._generations(), default=None)

    def _generations(self) -> list[_Generation]:
        pattern = re.compile(re.escape(self.name) + r"\.(\d+)")
        found: list[_Generation] = []
        page: str | None = None
        while True:
            models = self._client.search_registered_models(f"name LIKE '{self.name}.%'", page_token=page)
            for model in models:
                match = pattern.fullmatch(model.name)
                if match:
                    found.append(_Generation(int(match[1]), dict(model.tags)))
            page = models.token
            if not page:
                return found

    def _model(self, number: int) -> str:
        return f"{self.name}.{number}"


def _tolerant(call: Any, *arguments: Any, **named: Any) -> bool:
    """Calls; False when another process was faster."""
    from mlflow.exceptions import MlflowException

    try:
        call(*arguments, **named)
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_ALREADY_EXISTS", "RESOURCE_DOES_NOT_EXIST"):
            raise
        return False
    return True

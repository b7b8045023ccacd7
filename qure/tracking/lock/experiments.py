"""The lock behind an MLflow server: clients have no database, and MLflow has no compare-and-set.

What it has is the uniqueness of an experiment's name, deleted ones included. The lock is a series of experiments
`qure-lock/<name>/1`, `.../2`, ...: its generations.

- Free: no generation exists, or the highest one is deleted. MLflow's pages do not list deleted experiments, so a lock
  is seen while it is held, for seconds; `mlflow gc` clears deleted ones away.
- To take it is to create the next generation, which the database lets exactly one process do. Whoever has created one
  looks again whether it is the highest (a slow process may have re-created one that `mlflow gc` had cleared away) and
  gives it up otherwise.
- The owner's heartbeat changes a tag. Another process that has watched a generation for `lease` seconds without any
  change, on its own clock, takes its owner for dead and creates the next generation. Clocks of two machines are never
  compared.
- Owner is whoever holds the highest generation, so a take-over takes the lock away from an owner that was only slow.
  It must ask (`check`) right before and right after what it does: a write that the server carries out between a
  successful check and a take-over is what no lock with time limits can rule out. The second check finds it, so that
  the caller can mend it. A person who deletes the experiment takes the lock away, too, and is found by the same check.
"""

import contextlib
import logging
import re
import threading
import time
from typing import TYPE_CHECKING, Any, NamedTuple

from qure.tracking.lock.base import LockLost, RegistryLock

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

OWNER, BEAT = "qure.lock.owner", "qure.lock.beat"
_DESCRIPTION = (
    "Not an experiment: a lock of qure, here for the seconds in which a pipeline changes the registry. It goes by "
    "itself; one whose owner has died goes with the next run."
)
#: The newest generations, of which the highest is looked for.
_NEWEST = 100


class _Generation(NamedTuple):
    number: int
    experiment: str
    held: bool
    tags: dict[str, str]


class ExperimentLock(RegistryLock):
    """A lock of all clients of one MLflow server.

    Args:
        client: of the server.
        lease: seconds without a heartbeat after which an owner counts as dead. Longer than any pause of the
            process or of the connection that shall be survived.
        name, wait: as `RegistryLock` takes them.
    """

    def __init__(self, client: "MlflowClient", name: str, *, lease: float, wait: float) -> None:
        super().__init__(name, wait=wait)
        self.lease = lease
        self._client = client
        self._held: _Generation | None = None
        self._watched: tuple[int, str | None] | None = None
        self._watched_since = 0.0
        self._stop = threading.Event()
        self._heart: threading.Thread | None = None

    def check(self) -> None:
        """Whether the highest generation is ours; `RegistryLock.check`."""
        latest = self._latest()
        if latest is None or self._held is None or not self._is_ours(latest, self._held.number):
            raise LockLost(
                f"the lock {self.name!r} was taken over by {latest.tags.get(OWNER) if latest else None!r}: this "
                f"process gave no sign of life for more than {self.lease:.0f} s. Start the command again"
            )

    def _take(self) -> bool:
        latest = self._latest()
        if not self._may_be_taken(latest) or not self._claim(latest.number + 1 if latest else 1):
            return False
        self._stop.clear()
        self._heart = threading.Thread(target=self._beat, name=f"heartbeat of {self.name}", daemon=True)
        self._heart.start()
        return True

    def _release(self) -> None:
        self._stop.set()
        if self._heart is not None:
            self._heart.join(timeout=self.lease)
        held, self._held = self._held, None
        if held is not None:
            _tolerant(self._client.delete_experiment, held.experiment)

    def _holder(self) -> str | None:
        latest = self._latest()
        return latest.tags.get(OWNER) if latest is not None and latest.held else None

    def _longest_pause(self) -> float:
        return min(super()._longest_pause(), self.lease / 5)

    def _may_be_taken(self, latest: _Generation | None) -> bool:
        if latest is None or not latest.held:
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
        from qure.tracking.pages import KIND, MODEL_DEVELOPMENT, NOTE

        created = _tolerant(
            self._client.create_experiment,
            f"{self._prefix}{number}",
            tags={OWNER: self.owner, BEAT: "0", KIND: MODEL_DEVELOPMENT, NOTE: _DESCRIPTION},
        )
        found = self._generations()
        latest = max(found, default=None)
        # A create whose answer got lost is repeated by MLflow's transport and then refused, although it is ours.
        if latest is None or not self._is_ours(latest, number):
            for one in found:
                if created and self._is_ours(one, number):
                    _tolerant(self._client.delete_experiment, one.experiment)
            return False
        self._held = latest
        for older in found:
            if older.number < number and older.held:
                with contextlib.suppress(Exception):  # the next owner deletes it
                    self._client.delete_experiment(older.experiment)
        return True

    def _is_ours(self, generation: _Generation, number: int) -> bool:
        return generation.number == number and generation.held and generation.tags.get(OWNER) == self.owner

    def _beat(self) -> None:
        beats = 0
        held = self._held
        while held is not None and not self._stop.wait(self.lease / 6):
            beats += 1
            with contextlib.suppress(Exception):  # a lost lock is found by check(), a lost connection by the next beat
                self._client.set_experiment_tag(held.experiment, BEAT, str(beats))

    def _latest(self) -> _Generation | None:
        return max(self._generations(), default=None)

    def _generations(self) -> list[_Generation]:
        from mlflow.entities import ViewType

        pattern = re.compile(re.escape(self._prefix) + r"(\d+)")
        experiments = self._client.search_experiments(
            view_type=ViewType.ALL,
            filter_string=f"name LIKE '{self._prefix}%'",
            order_by=["experiment_id DESC"],
            max_results=_NEWEST,
        )
        return [
            _Generation(int(match[1]), str(one.experiment_id), one.lifecycle_stage == "active", dict(one.tags))
            for one in experiments
            if (match := pattern.fullmatch(one.name))
        ]

    @property
    def _prefix(self) -> str:
        return f"qure-lock/{self.name}/"


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

"""What all locks have in common: waiting, saying who holds it, noticing that it was lost."""

import abc
import getpass
import logging
import os
import socket
import time
import uuid
from typing import ClassVar, Self

from qure.errors import StageFailed
from qure.tracking.remedies import first_line

logger = logging.getLogger(__name__)

#: Seconds between two looks: the first, and the longest.
_POLL = (0.05, 2.0)


class LockLost(StageFailed):
    """Another process has taken the lock over: whatever the loser was about to do belongs to the other one now."""


class RegistryLock(abc.ABC):
    """Context manager that holds a lock.

    Args:
        name: the lock's name.
        wait: seconds to wait for the lock before giving up.

    Raises:
        StageFailed: not acquired within `wait`; names the owner.

    Attributes:
        owner: this owner, for people and unlike every other: "anna@laptop, process 4711, 1f0c9a2b".
    """

    #: Whether an owner can lose it while it lives: then it must ask (`check`) right before and after what it does.
    losable: ClassVar[bool] = True

    def __init__(self, name: str, *, wait: float) -> None:
        self.name, self.wait = name, wait
        self.owner = f"{whoever()}, process {os.getpid()}, {uuid.uuid4().hex[:8]}"

    def __enter__(self) -> Self:
        deadline = time.monotonic() + self.wait
        announced, pause = False, _POLL[0]
        while not self._take():
            if time.monotonic() > deadline:
                raise StageFailed(
                    f"the lock {self.name!r} was not free within {self.wait:g} s; {self._holder()!r} holds it. "
                    "Wait for the other run to end and start this one again"
                )
            if not announced:
                logger.info("waiting for the lock %s, held by %s", self.name, self._holder())
                announced = True
            time.sleep(pause)
            pause = min(1.5 * pause, self._longest_pause())
        return self

    def __exit__(self, *_: object) -> None:
        try:
            self._release()
        except Exception as error:
            # Not an error of what was done under the lock.
            logger.warning("the lock %s could not be released: %s", self.name, first_line(error))

    @abc.abstractmethod
    def check(self) -> None:
        """Asks whether this process still owns the lock.

        Raises:
            LockLost: it does not.
        """

    @abc.abstractmethod
    def _take(self) -> bool:
        """Takes the lock if that can be done at once."""

    @abc.abstractmethod
    def _release(self) -> None:
        """Frees it."""

    @abc.abstractmethod
    def _holder(self) -> str | None:
        """Who holds it, as far as that can be told."""

    def _longest_pause(self) -> float:
        return _POLL[1]


def whoever() -> str:
    """Who runs this process, for people: "anna@laptop"."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user without a name
        user = str(os.getuid())
    return f"{user}@{socket.gethostname()}"

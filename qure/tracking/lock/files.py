"""The lock beside an SQLite database: `flock` on a file, which the kernel frees when its owner ends in whatever way.

The file is never removed, only locked: whoever removed it while another one waits would let in two. It holds the name
of its last owner. (A child made by `fork` shares its parent's lock; nothing forks while it is held.)
"""

import fcntl
import os
import re
from pathlib import Path
from typing import ClassVar

from qure.errors import StageFailed
from qure.tracking.lock.base import LockLost, RegistryLock

_UNUSUAL = re.compile(r"[^\w.-]")


class FileLock(RegistryLock):
    """A lock of all processes that use one SQLite database.

    Args:
        database: the database's file; the lock's is beside it.
        name, wait: as `RegistryLock` takes them.
    """

    losable: ClassVar[bool] = False

    def __init__(self, database: Path, name: str, *, wait: float) -> None:
        super().__init__(name, wait=wait)
        place = database.resolve()  # the same file, whatever link or folder it is reached by
        self.file = place.with_name(f"{place.name}.{_UNUSUAL.sub('_', name)}.lock")
        self._handle: int | None = None

    def check(self) -> None:
        """Whether the file that is locked is still the one that others will lock; `RegistryLock.check`."""
        if self._handle is None or not self._is_in_place(self._handle):
            raise LockLost(f"{self.file} was removed while it was locked. Start the command again")

    def _take(self) -> bool:
        try:
            handle = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except OSError as error:
            raise StageFailed(f"{self.file} cannot be opened: {error.strerror}") from None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Between opening and locking, somebody may have removed the file and another one locked its successor.
            if not self._is_in_place(handle):
                os.close(handle)
                return False
            os.ftruncate(handle, 0)
            os.pwrite(handle, self.owner.encode(), 0)
        except BlockingIOError:
            os.close(handle)
            return False
        except OSError as error:
            os.close(handle)
            raise StageFailed(f"{self.file} cannot be locked: {error.strerror}") from None
        self._handle = handle
        return True

    def _release(self) -> None:
        if self._handle is not None:
            handle, self._handle = self._handle, None
            os.close(handle)

    def _holder(self) -> str | None:
        try:
            return self.file.read_text(encoding="utf-8") or None
        except (OSError, UnicodeDecodeError):
            return None

    def _is_in_place(self, handle: int) -> bool:
        try:
            there, ours = self.file.stat(), os.fstat(handle)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (ours.st_dev, ours.st_ino)

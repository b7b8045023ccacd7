"""Unfinished work and who is at it: what a killed process leaves is removed, what a living one has is left alone.

Whoever works holds `flock` on a file. The kernel frees it when its holder ends, in whatever way, and also when process
numbers are used again or the clock is set. Unfinished things lie beside what they become:

    artifacts/.qure-1000.partial/3f9c04d1.lock    held by the process that made it (1000: its user)
    artifacts/.qure-1000.partial/3f9c04d1/        its files

Where a file system knows no locks, the holder's host, process number and start time, written in the file, must do.
"""

import contextlib
import fcntl
import os
import secrets
import shutil
import socket
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from qure.errors import StageFailed

#: In a scratch folder: what had the name of a file or folder that was just about to be replaced.
REPLACED = ".replaced"
#: How often a folder is made again that another process, which found it empty, has removed meanwhile.
_TRIES = 1000
#: Seconds after which a process of another host is taken for dead; asked only where there are no locks.
_STALE = 86_400.0
_LOCK = ".lock"


@contextlib.contextmanager
def scratch_folder(parent: Path) -> Iterator[Path]:
    """An empty folder below `parent`, so on its file system, that nobody else touches and that goes in the end.

    If this process is killed, the next one that wants a scratch folder of the same `parent` removes it.
    """
    remove_leftovers(parent)
    folder, handle = _new_folder(Path(parent))
    try:
        yield folder
    finally:
        try:
            _remove(folder)
        finally:
            os.close(handle)


def temporary_folder() -> contextlib.AbstractContextManager[Path]:
    """A scratch folder below the system's folder for temporary files: for copies as large as a model.

    What `tempfile.TemporaryDirectory` makes stays for ever when its process is killed.
    """
    return scratch_folder(Path(tempfile.gettempdir()).resolve())


def remove_leftovers(parent: Path) -> None:
    """Removes the scratch folders below `parent` that no living process has.

    What a dead one was about to replace, and had moved aside for it, is put back.
    """
    home = _home(Path(parent))
    with contextlib.suppress(OSError):
        for lock in home.glob(f"*{_LOCK}"):
            with contextlib.suppress(OSError):  # its owner, or another process that cleans up, has been faster
                handle = os.open(lock, os.O_RDWR | os.O_CLOEXEC)
                try:
                    if _lock(handle) and _is_in_place(handle, lock):
                        _put_back(lock.with_suffix("") / REPLACED, Path(parent))
                        _remove(lock.with_suffix(""))
                finally:
                    os.close(handle)
        home.rmdir()


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keeps every other process from the work on `path` (an output, whether it is there yet or not) meanwhile.

    Folders that were made for this and that nothing was written to are gone afterwards.

    Raises:
        StageFailed: another process is at it; says which one. Or nothing can be written beside `path`.
    """
    path = Path(path).resolve()
    file = path.with_name(f".{path.name}{_LOCK}")
    new = [folder for folder in path.parents if not folder.exists()]
    try:
        handle = _held(file)
    except OSError as error:
        raise StageFailed(
            f"{path.parent} cannot be written: {error.strerror}. Make it writable, or name another output"
        ) from None
    if handle is None:
        raise StageFailed(
            f"another process is at work on {path}: {_holder(file)}. Wait until it has ended, or stop it, and start "
            "this command again"
        )
    try:
        yield
    finally:
        file.unlink(missing_ok=True)  # before it is unlocked: who has opened it meanwhile sees that it is gone
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_UN)  # also for children that have inherited it
        os.close(handle)
        with contextlib.suppress(OSError):  # the first that is in use keeps all above it
            for folder in new:
                folder.rmdir()


def make_folder(folder: Path) -> None:
    """Makes a folder and those above it, also while other processes remove them as soon as they are empty.

    `Path.mkdir(exist_ok=True)` alone fails when the folder is there as it begins and gone when it looks again.

    Raises:
        OSError: something else has the name, or it cannot be made.
    """
    for attempt in range(1, _TRIES + 1):
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except (FileExistsError, FileNotFoundError):
            if attempt == _TRIES:
                raise
        else:
            return


def _home(parent: Path) -> Path:
    """One for each user: in a folder that several share, none can remove another's."""
    return parent / f".qure-{os.getuid()}.partial"


def _new_folder(parent: Path) -> tuple[Path, int]:
    """An empty folder and the handle that holds it."""
    home = _home(parent)
    while True:
        make_folder(home)
        lock = home / f"{secrets.token_hex(8)}{_LOCK}"
        try:
            handle = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # another process has just removed `home`, which was empty
            continue
        try:
            _sign(handle)
            # Between opening and locking, a process that cleans up may have taken it for a dead one's.
            if _lock(handle) and _is_in_place(handle, lock):
                folder = lock.with_suffix("")
                folder.mkdir()
                return folder, handle
        except BaseException:
            _remove(lock.with_suffix(""))
            os.close(handle)
            raise
        os.close(handle)


def _remove(folder: Path) -> None:
    """Removes a scratch folder that this process holds; the lock last, so that whatever is left has one."""
    with contextlib.suppress(OSError):  # what cannot be removed now, the next one tries to
        shutil.rmtree(folder, ignore_errors=True)
    if not folder.exists():
        folder.with_suffix(_LOCK).unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # others are in use
        folder.parent.rmdir()


def _put_back(replaced: Path, parent: Path) -> None:
    """What was moved aside and whose successor never came."""
    if replaced.is_dir():
        for old in replaced.iterdir():
            if not os.path.lexists(parent / old.name):
                old.rename(parent / old.name)


def _held(file: Path) -> int | None:
    """A handle that holds a file, which is made if need be; None while another process holds it."""
    while True:
        make_folder(file.parent)
        try:
            handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        except FileNotFoundError:  # another process has just removed the folder, which was empty
            continue
        try:
            if not _lock(handle):
                os.close(handle)
                return None
            if _is_in_place(handle, file):
                _sign(handle)
                return handle
        except BaseException:
            os.close(handle)
            raise
        os.close(handle)  # its last holder has removed it between opening and locking


def _lock(handle: int) -> bool:
    """Whether the file is this process's now."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:  # a file system without locks
        return not _lives(_signature(handle), os.fstat(handle).st_mtime)


def _is_in_place(handle: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(handle), file.stat())
    except FileNotFoundError:
        return False


def _sign(handle: int) -> None:
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()} {_started(os.getpid())} {socket.gethostname()}".encode(), 0)


def _signature(handle: int) -> list[str]:
    return os.pread(handle, 4096, 0).decode(errors="replace").split()


def _holder(file: Path) -> str:
    try:
        process, _, host = file.read_text(encoding="utf-8").split()
        since = datetime.fromtimestamp(file.stat().st_mtime, UTC)
    except (OSError, ValueError):  # it has just ended, or begun
        return "it has not said which"
    return f"process {process} on {host}, since {since:%Y-%m-%d %H:%M} UTC"


def _lives(signature: list[str], signed: float) -> bool:
    if len(signature) != 3:
        return False
    process, started, host = signature
    if host != socket.gethostname():
        return time.time() - signed < _STALE
    return process != str(os.getpid()) and started == _started(int(process))


def _started(process: int) -> str:
    """When a process began, in the kernel's ticks: tells it from a later one of the same number; "-" for none."""
    try:
        return Path(f"/proc/{process}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return "-"

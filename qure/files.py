"""Files and folders that appear whole or not at all, and fingerprints of what they hold."""

import contextlib
import ctypes
import errno
import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.errors import BadInput
from qure.scratch import REPLACED, make_folder, scratch_folder

if TYPE_CHECKING:
    import pandas as pd

#: In a scratch folder: the folder that is to be.
_NEW = "new"
#: renameat2(2): paths are relative to the working folder; both must exist and change places.
_HERE, _EXCHANGE = -100, 2


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields the path of an empty temporary file; on success it is synced to disk and renamed to `path`.

    A reader sees the old file or the new one, never half of one, also after kill -9 or a full disk. Of several
    writers the last one's is there in the end. Its rights are those that the umask gives.
    """
    path = Path(path)
    _make_lasting_folder(path.parent)
    with scratch_folder(path.parent) as scratch:
        temporary = scratch / path.name
        temporary.touch()
        yield temporary
        _settle(temporary, scratch)
        temporary.replace(path)
        sync(path.parent)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty temporary folder; on success it is synced to disk and takes the place of `path`.

    A reader sees the old folder or the new one, never a mixture, also after kill -9 or a full disk; where the file
    system can exchange two names (Linux's own can) `path` is there at every moment. Of several writers the last one's
    is there in the end. Rights are those that the umask gives.
    """
    path = Path(path)
    _make_lasting_folder(path.parent)
    with scratch_folder(path.parent) as scratch:
        temporary = scratch / _NEW
        temporary.mkdir()
        yield temporary
        _publish(scratch, path)


def _publish(scratch: Path, path: Path) -> None:
    new = scratch / _NEW
    for place in (*new.rglob("*"), new):
        _settle(place, scratch)
    old = scratch / REPLACED / path.name
    while not (_try_to_rename(new, path) or _try_to_exchange(new, path) or _try_to_rename_in_two_steps(new, path, old)):
        pass  # another writer has been faster: its folder is replaced
    sync(path.parent)


def _try_to_rename(new: Path, path: Path) -> bool:
    """Renames; False where something else than an empty folder has the name."""
    try:
        new.rename(path)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
            raise
        return False
    return True


def _try_to_exchange(new: Path, path: Path) -> bool:
    """Lets two names change places at one stroke; False where that cannot be done. Python has no call for it."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_HERE, os.fsencode(new), _HERE, os.fsencode(path), _EXCHANGE) == 0:
        return True
    code = ctypes.get_errno()
    if code not in (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOENT):
        raise OSError(code, os.strerror(code), str(path))
    return False


def _try_to_rename_in_two_steps(new: Path, path: Path, old: Path) -> bool:
    """Moves aside what has the name, then renames; False where another writer has taken the name meanwhile.

    A process that is killed in between leaves the old one where `remove_leftovers` finds it and puts it back.
    """
    old.parent.mkdir()
    try:
        with contextlib.suppress(FileNotFoundError):
            path.rename(old)
        try:
            return _try_to_rename(new, path)
        except BaseException:
            if not os.path.lexists(path):
                old.rename(path)
            raise
    finally:
        if os.path.lexists(path):
            shutil.rmtree(old.parent, ignore_errors=True)


def _settle(place: Path, scratch: Path) -> None:
    """Syncs a file or folder, once others have the rights that the umask gives: some libraries write for their owner.

    `scratch` was made with all rights but those that the umask takes away. What its owner may not do (write to DVC's
    files), others may not either.
    """
    mode = place.lstat().st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        return
    for_all = (mode >> 6 & 0o7) * 0o111
    wanted = mode | (for_all & scratch.stat().st_mode)
    if wanted != mode:
        place.chmod(stat.S_IMODE(wanted))
    sync(place)


def _make_lasting_folder(folder: Path) -> None:
    """Makes a folder and those above it, and syncs them to disk."""
    missing = [one for one in (folder, *folder.parents) if not one.exists()]
    make_folder(folder)
    for one in missing:
        sync(one.parent)


def sync(path: Path) -> None:
    """Asks the operating system to put a file's or folder's content on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically: indented, keys as given, floats in full, NaN refused."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False)
    with atomic_file(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def read_json(path: Path, *, remedy: str | None = None) -> Any:
    """Reads a JSON file.

    Raises:
        BadInput: the file is missing, cannot be read, is not UTF-8 or is not whole JSON; names line and column.
    """
    text = read_text(path, remedy=remedy)
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        raise BadInput(
            f"not valid JSON at line {error.lineno}, column {error.colno}: {error.msg}",
            file=path,
            remedy=remedy or "The file is cut off or damaged: restore it (dvc checkout) or download it again",
        ) from None
    except ValueError as error:  # a whole number of more digits than Python takes
        raise BadInput(f"not valid JSON: {error}", file=path, remedy=remedy) from None
    except RecursionError:
        raise BadInput("JSON nested too deeply", file=path, remedy=remedy) from None


def read_text(path: Path, *, remedy: str | None = None) -> str:
    """Reads a text file.

    Raises:
        BadInput: the file is missing, is none, cannot be read or is not UTF-8.
    """
    refuse_pipe(path, remedy=remedy)
    try:
        return Path(path).read_text(encoding="utf-8")
    except FileNotFoundError:
        raise BadInput("the file does not exist", file=path, remedy=remedy) from None
    except IsADirectoryError:
        raise BadInput("this is a folder, not a file", file=path, remedy=remedy) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 text at byte {error.start}", file=path, remedy=remedy) from None
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=path, remedy=remedy) from None


def read_parquet(path: Path, *, columns: Sequence[str] | None = None, remedy: str | None = None) -> "pd.DataFrame":
    """Reads a Parquet file.

    Args:
        path: the file.
        columns: those that it must have, and that are read; None for all.
        remedy: what the user can do about a file that cannot be read.

    Raises:
        BadInput: the file is missing, damaged, or lacks a column.
    """
    import pandas as pd

    refuse_pipe(path, remedy=remedy)
    try:
        return pd.read_parquet(path, columns=None if columns is None else list(columns))
    except FileNotFoundError:
        raise BadInput("the file does not exist", file=path, remedy=remedy) from None
    except Exception as error:  # Arrow and pandas raise whatever the damage makes of them
        raise BadInput(f"not a whole Parquet file: {error}", file=path, remedy=remedy) from None


def is_file(path: Path) -> bool:
    """Whether a file is there; none is by a name that is too long for one, which `Path.is_file` raises for."""
    try:
        return Path(path).is_file()
    except OSError as error:
        if error.errno != errno.ENAMETOOLONG:
            raise
        return False


def refuse_pipe(path: Path, *, remedy: str | None = None) -> None:
    """Refuses what would be waited for without end: a named pipe, a socket, a device. What is not there is let pass.

    Raises:
        BadInput: the path is neither a file nor a folder.
    """
    try:
        mode = Path(path).stat().st_mode
    except (OSError, ValueError):  # no such file; a name that none can have
        return
    if not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)):
        kind = "named pipe" if stat.S_ISFIFO(mode) else "socket" if stat.S_ISSOCK(mode) else "device"
        raise BadInput(f"this is a {kind}, not a file", file=path, remedy=remedy)


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value in canonical form: the same value always has the same fingerprint.

    >>> fingerprint({"b": 1, "a": [2]}) == fingerprint({"a": [2], "b": 1})
    True
    """
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    # JSON can hold half a character, which is no text: "\ud800".
    return hashlib.sha256(canonical.encode(errors="surrogatepass")).hexdigest()


def file_digest(path: Path) -> str:
    """SHA-256 (hex) of a file's bytes."""
    with Path(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def folder_digest(folder: Path) -> str:
    """SHA-256 (hex) over relative names and bytes of every file below `folder`, hidden files excepted."""
    folder = Path(folder)
    files = sorted(
        file
        for file in folder.rglob("*")
        if file.is_file() and not any(part.startswith(".") for part in file.relative_to(folder).parts)
    )
    return fingerprint([[file.relative_to(folder).as_posix(), file_digest(file)] for file in files])

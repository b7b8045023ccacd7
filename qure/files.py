"""Files and folders that appear whole or not at all, and fingerprints of what they hold."""

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from qure.errors import BadInput


@contextlib.contextmanager
def atomic_file(path: Path) -> Iterator[Path]:
    """Yields a temporary path beside `path`; on success it is synced to disk and renamed to `path`.

    A reader sees the old file or the new one, never half of one, also after kill -9 or a full disk.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        temporary.chmod(0o644)
        sync(temporary)
        temporary.replace(path)
        sync(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Yields an empty temporary folder beside `path`; on success it takes the place of `path`.

    An older folder under that name is moved aside first and removed last, so the name is missing only
    between two renames and never holds a mixture.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    remove_leftovers(path)
    temporary = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent))
    try:
        yield temporary
        temporary.chmod(0o755)
        for file in temporary.rglob("*"):
            sync(file)
        old = path.parent / f".{path.name}.{os.getpid()}.old.partial"
        if path.exists():
            path.rename(old)
        temporary.rename(path)
        sync(path.parent)
        shutil.rmtree(old, ignore_errors=True)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def remove_leftovers(path: Path) -> None:
    """Removes what a killed `atomic_file` or `atomic_folder` of the same name has left beside `path`."""
    for leftover in path.parent.glob(f".{path.name}.*.partial"):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


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
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise BadInput("the file does not exist", file=path, remedy=remedy) from None
    except IsADirectoryError:
        raise BadInput("this is a folder, not a file", file=path, remedy=remedy) from None
    except UnicodeDecodeError as error:
        raise BadInput(f"not UTF-8 text at byte {error.start}", file=path, remedy=remedy) from None
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
    except OSError as error:
        raise BadInput(f"cannot be read: {error.strerror}", file=path, remedy=remedy) from None


def fingerprint(value: Any) -> str:
    """SHA-256 (hex) of a JSON-able value in canonical form: the same value always has the same fingerprint.

    >>> fingerprint({"b": 1, "a": [2]}) == fingerprint({"a": [2], "b": 1})
    True
    """
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


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

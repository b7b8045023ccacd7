"""How an error ends a command: one message with the way out, and an exit code.

Everything that a user or a machine can do wrong ends as one line: bad input, a stage that failed, an extra that is not
installed, a file that cannot be written, too little memory. Only what is a fault of qure itself shows a traceback;
`qure --verbose` shows it for every error.
"""

import errno
import os
import re
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from typing import NamedTuple

from qure.errors import QureError

#: Top-level module -> the extra of `qure` that brings it.
EXTRAS = {
    "boto3": "s3",
    "botocore": "s3",
    "s3transfer": "s3",
    "mlflow": "tracking",
    "psutil": "tracking",
    "sqlalchemy": "tracking",
    "alembic": "tracking",
    "psycopg": "postgres",
    "psycopg2": "postgres",
    "great_expectations": "validation",
    "simplejpeg": "validation",
    "faiss": "index",
    "starlette": "studio",
    "uvicorn": "studio",
    "dvc": "data",
    "dvc_s3": "data",
    "kfp": "pipelines",
    "kfp_server_api": "pipelines",
    "docker": "pipelines",
    "kubeflow": "trainer",
    "kubeflow_trainer_api": "trainer",
    "kubernetes": "trainer",
}

AGAIN = "and run the same command again: it goes on from what is whole"

#: What the operating system says, and what can be done about it.
WAYS_OUT = {
    errno.ENOSPC: f"Make space {AGAIN}",
    errno.EDQUOT: f"Make space, or have the quota raised, {AGAIN}",
    errno.EFBIG: f"Raise the file-size limit (`ulimit -f unlimited`), or make space, {AGAIN}",
    errno.EROFS: "Name a folder that can be written (--artifacts, --work, --output)",
    errno.EACCES: "Have the permissions changed, or name another folder (--data, --artifacts, --work, --output)",
    errno.EPERM: "Have the permissions changed, or name another folder (--data, --artifacts, --work, --output)",
    errno.EISDIR: "This is a folder where a file is needed: name a file, or move the folder away",
    errno.ENOTDIR: "A file lies where a folder is needed: move it away, or name another folder",
    errno.ENOENT: "Is the path right? Run the stage before this one first (`dvc repro`), if it makes this file",
    errno.EEXIST: "Move away what lies there",
    errno.EMFILE: "Raise the limit of open files (`ulimit -n 4096`)",
    errno.ENAMETOOLONG: "Work in a folder with a shorter path",
    errno.ELOOP: "A link leads to itself: remove it",
    errno.EIO: "The disk or the network folder failed: see the system's log",
    errno.ENOTEMPTY: "Another process writes there: wait for it, and run the same command again",
    errno.EADDRINUSE: "Another process uses the port: end it, or choose another port",
}

#: How libraries word such errors in exceptions of their own; groups of one kind.
WORDED = {
    errno.ENOSPC: r"no space left on device|database or disk is full",
    errno.EDQUOT: r"disk quota exceeded",
    errno.EFBIG: r"file too large",
    errno.EROFS: r"read-only file system|attempt to write a readonly database",
    errno.EACCES: r"permission denied|unable to open database file",
}

OUT_OF_MEMORY = re.compile(
    r"out of memory|not enough memory|can(not|'t) allocate memory|unable to allocate|std::bad_alloc"
    r"|failed to map segment from shared object|can't start new thread",
    re.IGNORECASE,
)
MEMORY_WAY_OUT = (
    "Close what else runs, or ask for less: a smaller batch_size (more accumulation_steps), features.hold: disk, "
    "fewer validation.workers"
)


class Ending(NamedTuple):
    """What is said, and the process's exit code."""

    message: str
    exit_code: int


def ending(error: BaseException) -> Ending | None:
    """How an error ends a command; None for a fault of qure itself, which deserves its traceback.

    >>> ending(OSError(errno.EROFS, "Read-only file system", "artifacts/x")).message.split(". ")[0]
    'artifacts/x: Read-only file system'
    """
    if isinstance(error, QureError):
        return Ending(str(error), error.exit_code)
    for one in _chain(error):
        if isinstance(one, ModuleNotFoundError) and (extra := EXTRAS.get((one.name or "").split(".")[0])):
            return Ending(f"{one.name} is not installed. Install it: pip install 'qure[{extra}]'", 2)
    for one in _chain(error):
        if _out_of_memory(one):
            return Ending(f"not enough memory ({_first_line(one) or 'the system gave none'}). {MEMORY_WAY_OUT}", 1)
        if isinstance(one, BrokenExecutor):  # from precomputing's and validation's processes
            return Ending(f"a helper process was killed, most likely because memory ran out. {MEMORY_WAY_OUT}", 1)
    for one in _chain(error):
        if isinstance(one, OSError) and one.errno in WAYS_OUT:
            return Ending(_os_message(one), 1)
    for one in _chain(error):
        for number, words in WORDED.items():
            if re.search(words, str(one), re.IGNORECASE):
                return Ending(f"{os.strerror(number)} ({_first_line(one)}). {WAYS_OUT[number]}", 1)
    if isinstance(error, OSError):
        return Ending(_os_message(error), 1)
    return None


def _os_message(error: OSError) -> str:
    """Path, the system's words, the way out."""
    places = [os.fsdecode(place) for place in (error.filename, error.filename2) if isinstance(place, str | bytes)]
    place = f"{' -> '.join(places)}: " if places else ""
    way_out = WAYS_OUT.get(error.errno or 0, "")
    return f"{place}{error.strerror or _first_line(error) or type(error).__name__}. {way_out}".rstrip(". ") + (
        "" if way_out else "."
    )


def _out_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    says_so = isinstance(error, RuntimeError | OSError | ImportError) and bool(OUT_OF_MEMORY.search(str(error)))
    return says_so or getattr(error, "errno", None) == errno.ENOMEM


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else ""


def _chain(error: BaseException) -> Iterator[BaseException]:
    """The error, and those that it was raised for."""
    seen: set[int] = set()
    one: BaseException | None = error
    while one is not None and id(one) not in seen:
        seen.add(id(one))
        yield one
        one = one.__cause__ or one.__context__

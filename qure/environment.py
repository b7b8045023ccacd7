"""Is what is installed whole? Finds what a full disk or a killed installation has left, and names it.

Python writes a module's bytecode beside it and moves the file into place however few bytes the disk took (3.12.8 no
longer does: https://github.com/python/cpython/issues/126606). Every later import then ends in "marshal data too short",
which a command line shows as "Aborted." And an installer that was killed leaves packages with missing files.

    python -ISB qure/environment.py [requirements.lock]

run by `make setup`, removes bytecode that was cut (Python makes it anew), prints which packages are damaged or, with a
lock file, missing, and whether the project was moved, and exits with 1 for any of these. It takes under a second:
bytecode that was whole is not read again. Only the standard library is imported: the rest may be what is damaged.
"""

import contextlib
import csv
import gc
import importlib.util
import marshal
import os
import re
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

#: Folders of a checkout that hold modules.
SOURCES = ("qure", "components", "pipelines", "infra", "benchmarks", "tests")

#: What `make setup` installs besides the lock file.
UNLOCKED = ("pip", "uv", "torch", "qure")

_HEADER = 16  # bytes before a bytecode file's code


@contextlib.contextmanager
def naming_damage() -> Iterator[None]:
    """Ends the process with one line and exit code 1 when what is inside fails because a file is damaged."""
    try:
        yield
    except Exception as error:
        found = damage(error)
        if found is None:
            raise
        sys.exit(f"error: {found}")


@contextlib.contextmanager
def without_collecting() -> Iterator[None]:
    """Imports what is inside faster: modules make objects that stay, and looking through them for garbage again and
    again takes a fifth to a quarter of the import of torch, transformers and MLflow."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def damage(error: BaseException) -> str | None:
    """What is damaged and the way out, when an error comes from a damaged environment; else None."""
    for one in _with_causes(error):
        file = _bytecode_read_by(one)
        if file is not None:
            return (
                f"{file}: this bytecode file is damaged, as a full disk leaves it. Make space, then run `make setup`, "
                "or remove the file: Python makes it anew"
            )
        library = one.path if isinstance(one, ImportError) else None
        if library is not None and library.endswith(".so") and not isinstance(one, ModuleNotFoundError):
            return f"{library}: this library cannot be loaded ({one}). Run `make setup`: it installs what is damaged"
    return None


def _with_causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    following: BaseException | None = error
    while following is not None and id(following) not in seen:
        seen.add(id(following))
        yield following
        following = following.__cause__ or following.__context__


def _bytecode_read_by(error: BaseException) -> str | None:
    """The file in whose code the import system failed, if it did; it says so nowhere but in its own frame."""
    place = error.__traceback__
    while place is not None and place.tb_next is not None:
        place = place.tb_next
    if place is None or place.tb_frame.f_code.co_name != "_compile_bytecode":
        return None
    return str(place.tb_frame.f_locals.get("bytecode_path"))


def cut_bytecode(folder: Path, since: float = 0.0) -> list[Path]:
    """Bytecode files below a folder, written after `since` (seconds since 1970), that this Python cannot read.

    Files of another Python's, and those without a whole header, are none: Python writes them anew by itself.
    """
    found = []
    for place, _, names in os.walk(folder):
        if os.path.basename(place) != "__pycache__":  # noqa: PTH119 - tens of thousands of folders
            continue
        for name in names:
            file = Path(place, name)
            with contextlib.suppress(FileNotFoundError):  # one of an import that goes on meanwhile
                if name.endswith(".pyc") and file.stat().st_mtime >= since and not _is_whole(file.read_bytes()):
                    found.append(file)
    return sorted(found)


def _is_whole(content: bytes) -> bool:
    if len(content) < _HEADER or content[:4] != importlib.util.MAGIC_NUMBER:
        return True
    try:
        return isinstance(marshal.loads(content[_HEADER:]), CodeType)
    except (EOFError, ValueError, TypeError):
        return False


def damaged_packages(site: Path) -> dict[str, str]:
    """Installed packages of which a file is missing or was cut: name -> what is wrong with the first such file.

    A file that somebody shortened in an editor ends with a line; it is not taken for one that was cut.
    """
    found = {}
    for folder in sorted(site.glob("*.dist-info")):
        problem = _problem(site, folder / "RECORD")
        if problem is not None:
            found[_name(folder)] = problem
    return found


def _problem(site: Path, record: Path) -> str | None:
    """The first file of a package's own list that is not as the list says."""
    try:
        rows = list(csv.reader(record.read_text(encoding="utf-8").splitlines()))
    except FileNotFoundError:
        return f"{record} is missing"
    for name, _, size in rows:
        if name.endswith(".pyc"):
            continue
        file = f"{site}/{name}"
        try:
            there = os.stat(file).st_size  # noqa: PTH116 - tens of thousands of files
        except FileNotFoundError:
            return f"{file} is missing"
        if size and there < int(size) and not Path(file).read_bytes().endswith(b"\n"):
            return f"{file} was cut: {there} of {size} bytes"
    return None


def missing_packages(site: Path, lock: Path) -> list[str]:
    """Names that a lock file pins, or `make setup` adds, and that are not installed."""
    pinned = re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text(encoding="utf-8"), re.MULTILINE)
    installed = {_name(folder) for folder in site.glob("*.dist-info")}
    return sorted({_normal(name) for name in (*pinned, *UNLOCKED)} - installed)


def belongs_elsewhere(environment: Path) -> str | None:
    """The environment that its own programs start, when it is another one: the project was moved or copied."""
    program = environment / "bin" / "qure"
    start = re.search(rb"(/.*?)/bin/python", program.read_bytes()[:1000]) if program.exists() else None
    if start is None:
        return None
    stated = Path(os.fsdecode(start[1]))
    return None if stated.exists() and stated.samefile(environment) else str(stated)


def _name(dist_info: Path) -> str:
    return _normal(dist_info.name.partition("-")[0])


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def main(arguments: list[str]) -> int:
    """Mends what can be mended in place and prints what was found; 1 when packages must be installed again."""
    root = Path(__file__).resolve().parents[1]
    environment = Path(sys.executable).parents[1]
    # Without `site`, which a damaged package can break, Python does not know that this is a virtual environment.
    site = Path(sysconfig.get_path("purelib", "venv", {"base": str(environment), "platbase": str(environment)}))
    checked = environment / ".checked"
    started = time.time()
    since = checked.stat().st_mtime if checked.exists() else 0.0
    for folder in (site, *(root / name for name in SOURCES)):
        for file in cut_bytecode(folder, since):
            file.unlink(missing_ok=True)
            print(f"removed {file}: bytecode that was cut; Python makes it anew")
    broken = damaged_packages(site)
    for name, problem in broken.items():
        print(f"{name}: {problem}")
    elsewhere = belongs_elsewhere(environment)
    if elsewhere is not None:
        print(f"{environment}: was made as {elsewhere}")
    missing = missing_packages(site, Path(arguments[0])) if arguments else []
    if missing:
        print(f"not installed: {', '.join(missing)}")
    checked.touch()
    os.utime(checked, (started, started))
    return 1 if broken or missing or elsewhere else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Whether a data root still is what `data.dvc` says: an edit without `dvc add` must not pass as the old data.

What is compared, without reading the images: the number of files and their total size with the .dvc file; where DVC's
cache holds its listing of the folder, also every name; and the bytes of the text files (annotations), as DVC hashes
them. What is not noticed: an image replaced by another one of exactly the same size. Links to folders are left out,
as DVC leaves them out.
"""

import configparser
import functools
import hashlib
import json
import os
import posixpath
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from qure.files import fingerprint

_TEXT = (".json", ".jsonl", ".txt", ".csv", ".tsv", ".md", ".yaml", ".yml")
#: Told by name; the others are counted.
_NAMED = 3


class Changes(NamedTuple):
    """How a data root differs from its .dvc file.

    Attributes:
        says: what differs, in words.
        digest: eight characters; two different states of the data have different ones.
    """

    says: str
    digest: str


class _File(NamedTuple):
    size: int
    modified: int


def data_changes(root: Path, output: Mapping[str, Any]) -> Changes | None:
    """What differs between the files of a data root and DVC's record of it; None where nothing does.

    Args:
        root: the data root; a folder.
        output: its entry in the .dvc file: `md5`, and where DVC wrote them `nfiles`, `size` and `hash`.
    """
    found = dict(_files(root))
    listed = _listing(root, output)
    if listed is None and _counts_agree(found, output):
        return None
    unlisted = found.keys() - (listed or {}).keys()
    found = {name: file for name, file in found.items() if name not in unlisted or not _ignored(root, name)}
    differences = _against_counts(found, output) if listed is None else _against_listing(root, found, listed, output)
    if not differences:
        return None
    texts = {name: _md5_of(root, name, file) for name, file in found.items() if name.endswith(_TEXT)}
    state = sorted([name, file.size, texts.get(name)] for name, file in found.items())
    return Changes(_sentence(differences), fingerprint(state)[:8])


def hidden_from_dvc(root: Path, names: Iterable[str]) -> list[str]:
    """Names below a data root that a .dvcignore of the project hides: `dvc add` leaves them out without a word."""
    root, project = root.absolute(), _repository(root)
    if project is None:
        return []
    folders: dict[str, list[str]] = {}
    for name in names:
        folders.setdefault(posixpath.dirname(name), []).append(name)
    hidden = []
    for folder, inside in folders.items():
        own = root / folder
        above = [one for one in (own, *own.parents) if one == project or project in one.parents]
        patterns = {len(str(one)) + 1: found for one in above if (found := _patterns(one / ".dvcignore")) is not None}
        paths = ((name, f"{root}/{name}") for name in inside if patterns)
        hidden += [
            name for name, path in paths if any(found.match_file(path[start:]) for start, found in patterns.items())
        ]
    return hidden


def _files(folder: Path, prefix: str = "") -> Iterator[tuple[str, _File]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            name = f"{prefix}{entry.name}"
            if entry.is_dir(follow_symlinks=False):
                yield from _files(Path(entry.path), f"{name}/")
            elif entry.is_file():
                status = entry.stat()
                yield name, _File(status.st_size, status.st_mtime_ns)


def _counts_agree(found: Mapping[str, _File], output: Mapping[str, Any]) -> bool:
    return not _against_counts(found, output)


def _against_counts(found: Mapping[str, _File], output: Mapping[str, Any]) -> list[str]:
    files, size = output.get("nfiles"), output.get("size")
    bytes_found = sum(file.size for file in found.values())
    differences = [f"{len(found)} files instead of {files}"] if files not in (None, len(found)) else []
    return differences + ([f"{bytes_found} bytes instead of {size}"] if size not in (None, bytes_found) else [])


def _against_listing(
    root: Path, found: Mapping[str, _File], listed: Mapping[str, str], output: Mapping[str, Any]
) -> list[str]:
    differences = [f"{name} is missing" for name in sorted(listed.keys() - found.keys())]
    differences += [f"{name} is new" for name in sorted(found.keys() - listed.keys())]
    if output.get("hash") == "md5":  # DVC before 3.0 hashed text with other line ends
        texts = sorted(name for name in listed.keys() & found.keys() if name.endswith(_TEXT))
        differences += [f"{name} was edited" for name in texts if _md5_of(root, name, found[name]) != listed[name]]
    return differences or _against_counts(found, output)


def _sentence(differences: list[str]) -> str:
    more = len(differences) - _NAMED
    return ", ".join(differences[:_NAMED]) + (f", and {more} more" if more > 0 else "")


def _md5_of(root: Path, name: str, file: _File) -> str:
    return _md5(root / name, file.size, file.modified)


@functools.lru_cache(maxsize=10_000)
def _md5(file: Path, _size: int, _modified: int) -> str:
    """Of a file's bytes; read once a process as long as its size and time stay."""
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, functools.partial(hashlib.md5, usedforsecurity=False)).hexdigest()


def _listing(root: Path, output: Mapping[str, Any]) -> dict[str, str] | None:
    """Relative name -> MD5 of every file as DVC recorded them; None where its cache does not hold the listing."""
    cache = _cache(root)
    digest = str(output.get("md5", ""))
    if cache is None or not digest.endswith(".dir"):
        return None
    try:
        entries = json.loads((cache / "files" / "md5" / digest[:2] / digest[2:]).read_text(encoding="utf-8"))
        return {entry["relpath"]: entry["md5"] for entry in entries}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _repository(root: Path) -> Path | None:
    return next((folder for folder in root.absolute().parents if (folder / ".dvc").is_dir()), None)


def _cache(root: Path) -> Path | None:
    """DVC's cache: `cache.dir` of the project's two configuration files, else .dvc/cache."""
    project = _repository(root)
    if project is None:
        return None
    settings = configparser.RawConfigParser(strict=False)
    try:
        settings.read([project / ".dvc" / "config", project / ".dvc" / "config.local"], encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return None
    differences = settings.get("cache", "dir", fallback="cache").strip("\"'")
    return project / ".dvc" / differences


def _ignored(root: Path, name: str) -> bool:
    """Whether a .dvcignore of the project hides a file from DVC."""
    project = _repository(root)
    if project is None:
        return False
    path = root.absolute() / name
    above = [folder for folder in path.parents if folder == project or project in folder.parents]
    return any(_hides(folder / ".dvcignore", path.relative_to(folder).as_posix()) for folder in above)


def _hides(file: Path, path: str) -> bool:
    patterns = _patterns(file)
    return patterns is not None and bool(patterns.match_file(path))


@functools.lru_cache(maxsize=1000)
def _patterns(file: Path) -> Any:
    try:
        from pathspec import PathSpec  # comes with DVC

        return PathSpec.from_lines("gitignore", file.read_text(encoding="utf-8").splitlines())
    except (ImportError, OSError, ValueError):
        return None

"""Images as files."""

import logging
import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from qure.datasets.ids import IMAGE_SUFFIXES, first_few, shown, unsafe_reason
from qure.datasets.image_base import ImageStore, Refusal, check_inside, leads_outside, link_remedy, missing_image
from qure.datasets.rows import LAYOUT_REMEDY
from qure.errors import BadInput

logger = logging.getLogger(__name__)


class FolderStore(ImageStore):
    """One file per image.

    Args:
        root: the benchmark's folder.
        files: id -> path relative to it.
        expected: a description of where an image is looked for.
        refused: what lies there and is not read.
    """

    def __init__(self, root: Path, files: dict[str, str], expected: str, refused: Sequence[Refusal] = ()) -> None:
        self._root, self._files, self._expected = root, files, expected
        self._refused = tuple(sorted(refused, key=lambda one: one.file))
        self._refusals = {one.image: one for one in self._refused if one.image and one.image not in files}
        self._ids = tuple(sorted(files))
        self._base = str(root / "_")[:-1]  # joined as text: paths are asked for by the ten thousand

    @property
    def root(self) -> Path:
        return self._root

    @property
    def ids(self) -> tuple[str, ...]:
        return self._ids

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._files

    @property
    def refused(self) -> tuple[Refusal, ...]:
        return self._refused

    def refusal(self, image_id: str) -> Refusal | None:
        return self._refusals.get(image_id)

    def read(self, image_id: str) -> bytes:
        path = self._path(image_id)
        try:
            with open(path, "rb") as stream:  # noqa: PTH123
                return stream.read()
        except OSError as error:
            raise _unreadable(image_id, Path(path), error) from None

    def name(self, image_id: str) -> str:
        if image_id in self._files:
            return self._base + self._files[image_id]
        if image_id in self._refusals:
            return self._base + self._refusals[image_id].file
        return f"{self._root / self._expected}: {shown(image_id)}"

    def size(self, image_id: str) -> int:
        path = self._path(image_id)
        try:
            return os.stat(path).st_size  # noqa: PTH116
        except OSError as error:
            raise _unreadable(image_id, Path(path), error) from None

    def relative_path(self, image_id: str) -> str:
        """The image's path below the benchmark's folder."""
        return self._files[image_id]

    def _path(self, image_id: str) -> str:
        if image_id not in self._files:
            refusal = self._refusals.get(image_id)
            raise (
                refused_image(self._root, refusal) if refusal else missing_image(image_id, self._root / self._expected)
            )
        return self._base + self._files[image_id]


def _unreadable(image_id: str, path: Path, error: OSError) -> BadInput:
    if path.is_symlink() and not path.exists():  # since the folder was looked at
        return BadInput(f"image {shown(image_id)} is {_to_nothing(path)}", file=path, remedy=link_remedy(path))
    return BadInput(f"image {shown(image_id)} cannot be read: {error.strerror}", file=path)


def refused_image(root: Path, refusal: Refusal) -> BadInput:
    """The error for an image of which there is something that is not read."""
    problem = f"image {shown(refusal.image)} cannot be read: {refusal.problem}"
    return BadInput(problem, file=root / refusal.file, remedy=refusal.remedy)


class FolderListing(NamedTuple):
    """What lies in a folder by an image's name.

    Attributes:
        names: of the files, sorted.
        refused: name -> why that is not read, without an id.
    """

    names: list[str]
    refused: dict[str, Refusal]


def flat_images(root: Path, folder: Path = Path("images")) -> FolderStore:
    """The plain layout, FashionIQ's: one folder, the file's name without suffix is the id.

    Raises:
        BadInput: there is no such folder, or it is a link that leaves the benchmark's.
    """

    def name_problem(stem: str) -> str | None:
        reason = unsafe_reason(stem)
        return f"its name can be no id, it {reason}" if reason else None

    return images_by_name(root, folder, name_problem, str)


def images_by_name(
    root: Path, folder: Path, name_problem: Callable[[str], str | None], id_of: Callable[[str], str]
) -> FolderStore:
    """A store of one folder whose files' names give the ids. What gives no image is left alone, and said.

    Args:
        root: the benchmark's folder.
        folder: relative to it.
        name_problem: why a name without its suffix gives no id; None where it gives one.
        id_of: a name without its suffix -> the id.

    Raises:
        BadInput: there is no such folder, or it is a link that leaves the benchmark's.
    """
    listing = list_images(root, folder, required=True)
    owners: dict[str, list[str]] = {}
    refused = []
    for name in (*listing.names, *listing.refused):
        problem = name_problem(Path(name).stem)
        if problem is not None:
            refused.append(Refusal((folder / name).as_posix(), None, problem, "Rename it, or remove it"))
        elif name in listing.refused:
            refused.append(replace(listing.refused[name], image=id_of(Path(name).stem)))
        else:
            owners.setdefault(id_of(Path(name).stem), []).append(name)
    files = {}
    for image_id, names in owners.items():
        if len(names) == 1:
            files[image_id] = (folder / names[0]).as_posix()
            continue
        problem = f"two files for image {shown(image_id)}: {names[0]} and {names[1]}"
        refused += [Refusal((folder / name).as_posix(), image_id, problem, "Remove one of them") for name in names[1:]]
    if refused:
        named = first_few(Path(one.file).name for one in refused)
        logger.warning("%s: files that give no image are left alone: %s", root / folder, named)
    return FolderStore(root, files, str(folder), refused)


def list_images(root: Path, folder: Path, *, required: bool = False) -> FolderListing:
    """What lies in a folder by an image's name. Links are followed inside the benchmark's folder alone.

    Raises:
        BadInput: the folder is required and missing, or is a link that leaves the benchmark's.
    """
    path, base = root / folder, root.resolve()
    if not path.is_dir():
        if required:
            deeper = [
                found.relative_to(root).as_posix() for found in sorted(root.glob(f"*/{folder.name}")) if found.is_dir()
            ]
            there = f"There is one a folder deeper, {deeper[0]}: move it up" if deeper else LAYOUT_REMEDY
            raise BadInput("the image folder does not exist", file=path, remedy=there)
        return FolderListing([], {})
    check_inside(path, base)
    listing = FolderListing([], {})
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.lower().endswith(IMAGE_SUFFIXES):
                continue
            if entry.is_file(follow_symlinks=False):  # nearly all of them: nothing more is asked of these
                listing.names.append(entry.name)
                continue
            refusal = _refusal_of(root, folder / entry.name, base)
            if refusal is None:
                listing.names.append(entry.name)
            else:
                listing.refused[entry.name] = refusal
    return FolderListing(sorted(listing.names), dict(sorted(listing.refused.items())))


def _refusal_of(root: Path, relative: Path, base: Path) -> Refusal | None:
    """Why what is no plain file is not read; None for a link to a file that may be."""
    path = root / relative
    remedy = "Put a file there, or remove it"
    if path.is_symlink():
        problem, remedy = leads_outside(path, base), link_remedy(path)
        if problem is None and not path.exists():
            problem = _to_nothing(path)
    else:
        problem = None
    if problem is None and not path.is_file():
        problem = "a folder, not a file" if path.is_dir() else "a pipe, a socket or a device, not a file"
    return None if problem is None else Refusal(relative.as_posix(), None, problem, remedy)


def _to_nothing(path: Path) -> str:
    return f"a link to nothing: no file is at {path.readlink()}"

"""Images as files."""

import logging
import os
from collections.abc import Iterable
from pathlib import Path

from qure.datasets.ids import IMAGE_SUFFIXES, first_few, shown, unsafe_reason
from qure.datasets.image_base import ImageStore, check_inside, missing_image
from qure.datasets.rows import LAYOUT_REMEDY
from qure.errors import BadInput

logger = logging.getLogger(__name__)


class FolderStore(ImageStore):
    """One file per image."""

    def __init__(self, root: Path, files: dict[str, str], expected: str) -> None:
        """Args: root folder, id -> path relative to it, and a description of where an image is looked for."""
        self._root, self._files, self._expected = root, files, expected
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
            raise missing_image(image_id, self._root / self._expected)
        return self._base + self._files[image_id]


def _unreadable(image_id: str, path: Path, error: OSError) -> BadInput:
    if path.is_symlink() and not path.exists():
        return BadInput(
            f"image {shown(image_id)} is a link to nothing: no file is at {path.readlink()}",
            file=path,
            remedy="Put the file itself there",
        )
    return BadInput(f"image {shown(image_id)} cannot be read: {error.strerror}", file=path)


def flat_images(root: Path, folder: Path = Path("images")) -> FolderStore:
    """The plain layout, FashionIQ's: one folder, the file's name without suffix is the id.

    A file whose name can be no id is left alone: no annotation can mean it.

    Raises:
        BadInput: there is no such folder, or two files for one image.
    """
    files: dict[str, str] = {}
    strays = []
    for name in list_images(root, folder, required=True):
        image_id = Path(name).stem
        if unsafe_reason(image_id):
            strays.append(name)
            continue
        if image_id in files:
            raise BadInput(
                f"two files for image {shown(image_id)}: {Path(files[image_id]).name} and {name}",
                file=root / folder,
                remedy="Remove one of them",
            )
        files[image_id] = (folder / name).as_posix()
    if strays:
        logger.warning("%s: image files whose names can be no ids are left alone: %s", root / folder, first_few(strays))
    return FolderStore(root, files, str(folder))


def list_images(root: Path, folder: Path, *, required: bool = False) -> Iterable[str]:
    """Names of the image files in a folder, sorted; links must stay inside the benchmark's folder.

    Raises:
        BadInput: the folder is required and missing, or it or a file in it is a link that leaves the data folder.
    """
    path, base = root / folder, root.resolve()
    if not path.is_dir():
        if required:
            deeper = [
                found.relative_to(root).as_posix() for found in sorted(root.glob(f"*/{folder.name}")) if found.is_dir()
            ]
            there = f"There is one a folder deeper, {deeper[0]}: move it up" if deeper else LAYOUT_REMEDY
            raise BadInput("the image folder does not exist", file=path, remedy=there)
        return []
    check_inside(path, base)
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.lower().endswith(IMAGE_SUFFIXES):
                continue
            if entry.is_symlink():
                check_inside(Path(entry.path), base)
            if entry.is_file() or (entry.is_symlink() and not Path(entry.path).exists()):
                names.append(entry.name)  # a link to nothing is an image that cannot be read, not one that is missing
    return sorted(names)

"""Images as files."""

import os
from collections.abc import Iterable
from pathlib import Path

from qure.datasets.ids import IMAGE_SUFFIXES, check_image_id, shown
from qure.datasets.image_base import ImageStore, check_inside, missing_image
from qure.datasets.rows import LAYOUT_REMEDY
from qure.errors import BadInput


class FolderStore(ImageStore):
    """One file per image."""

    def __init__(self, root: Path, files: dict[str, str], expected: str) -> None:
        """Args: root folder, id -> path relative to it, and a description of where an image is looked for."""
        self._root, self._files, self._expected = root, files, expected
        self._ids = tuple(sorted(files))

    @property
    def ids(self) -> tuple[str, ...]:
        return self._ids

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._files

    def read(self, image_id: str) -> bytes:
        path = self._path(image_id)
        try:
            return path.read_bytes()
        except OSError as error:
            raise BadInput(f"image {shown(image_id)} cannot be read: {error.strerror}", file=path) from None

    def name(self, image_id: str) -> str:
        if image_id in self._files:
            return str(self._root / self._files[image_id])
        return f"{self._root / self._expected}: {shown(image_id)}"

    def size(self, image_id: str) -> int:
        path = self._path(image_id)
        try:
            return path.stat().st_size
        except OSError as error:
            raise BadInput(f"image {shown(image_id)} cannot be read: {error.strerror}", file=path) from None

    def relative_path(self, image_id: str) -> str:
        """The image's path below the benchmark's folder."""
        return self._files[image_id]

    def _path(self, image_id: str) -> Path:
        if image_id not in self._files:
            raise missing_image(image_id, self._root / self._expected)
        return self._root / self._files[image_id]


def flat_images(root: Path, folder: Path = Path("images")) -> FolderStore:
    """The plain layout, FashionIQ's: one folder, the file's name without suffix is the id.

    Raises:
        BadInput: there is no such folder, or two files for one image.
    """
    files: dict[str, str] = {}
    for name in list_images(root, folder, required=True):
        image_id = Path(name).stem
        if image_id in files:
            raise BadInput(
                f"two files for image {shown(image_id)}: {Path(files[image_id]).name} and {name}",
                file=root / folder,
                remedy="Remove one of them",
            )
        check_image_id(image_id, file=root / folder / name)
        files[image_id] = (folder / name).as_posix()
    return FolderStore(root, files, str(folder))


def list_images(root: Path, folder: Path, *, required: bool = False) -> Iterable[str]:
    """Names of the image files in a folder, sorted; links must stay inside the benchmark's folder.

    Raises:
        BadInput: the folder is required and missing, or it or a file in it is a link that leaves the data folder.
    """
    path, base = root / folder, root.resolve()
    if not path.is_dir():
        if required:
            raise BadInput("the image folder does not exist", file=path, remedy=LAYOUT_REMEDY)
        return []
    check_inside(path, base)
    names = []
    with os.scandir(path) as entries:
        for entry in entries:
            if entry.name.startswith(".") or not entry.name.lower().endswith(IMAGE_SUFFIXES):
                continue
            if entry.is_symlink():
                check_inside(Path(entry.path), base)
            if entry.is_file():
                names.append(entry.name)
    return sorted(names)

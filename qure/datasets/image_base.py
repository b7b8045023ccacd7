"""What folder and shard stores have in common."""

import contextlib
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from qure.datasets import links
from qure.datasets.ids import shown
from qure.errors import BadInput


@dataclass(frozen=True, slots=True)
class Refusal:
    """What lies among the images by an image's name and is not read.

    Attributes:
        file: relative to the benchmark's folder.
        image: the id that its name gives; None where it gives none.
        problem: what it is, as a noun phrase: "a link to nothing".
        remedy: what the user can do about it.
    """

    file: str
    image: str | None
    problem: str
    remedy: str


class ImageStore(ABC):
    """A benchmark's images; small enough to be handed to worker processes."""

    @property
    @abstractmethod
    def ids(self) -> tuple[str, ...]:
        """Ids of all images that are there, sorted."""

    @abstractmethod
    def read(self, image_id: str) -> bytes:
        """An image's file content.

        Raises:
            BadInput: there is no such image, or its file is cut off or unreadable.
        """

    @abstractmethod
    def name(self, image_id: str) -> str:
        """Where the image lies, for messages; also for an image that should be there and is not."""

    @abstractmethod
    def size(self, image_id: str) -> int:
        """Size of the image's file in bytes."""

    @property
    @abstractmethod
    def root(self) -> Path:
        """The benchmark's folder, below which everything lies."""

    @property
    def refused(self) -> tuple[Refusal, ...]:
        """What lies among the images and is not read, sorted by file."""
        return ()

    def refusal(self, image_id: str) -> Refusal | None:
        """Why an image is not there though something of its name is; else None."""
        return None

    def stems(self, image_id: str) -> tuple[str, ...]:
        """How an image's file may be named, without suffix: for hints about files in the wrong place."""
        return (image_id, f"{int(image_id):012d}") if image_id.isdecimal() and image_id.isascii() else (image_id,)

    def place(self, image_id: str) -> str:
        """What of an image's place its `name` does not say; empty where the name says it all."""
        return ""

    def changed(self, image_id: str, data: bytes, sha256: str) -> str | None:
        """Why an image's content is not what was put into the store; None where it is, or nothing is known of that."""
        return None

    @abstractmethod
    def __contains__(self, image_id: object) -> bool: ...

    def __len__(self) -> int:
        return len(self.ids)


def missing_image(image_id: str, place: Path) -> BadInput:
    """The error for an image that is not there."""
    return BadInput(f"image {shown(image_id)} does not exist", file=place, remedy="Add the file, or exclude the image")


def check_inside(path: Path, base: Path) -> None:
    """Refuses a path whose links lead out of the folder `base` (itself resolved), DVC's cache excepted."""
    problem = leads_outside(path, base)
    if problem is not None:
        raise BadInput(f"is {problem}", file=path, remedy=link_remedy(path))


def leads_outside(path: Path, base: Path) -> str | None:
    """What a path is whose links lead out of the folder `base` (itself resolved), or nowhere; None for any other.

    DVC's cache counts as inside.
    """
    try:
        target = path.resolve()
        with contextlib.suppress(FileNotFoundError, NotADirectoryError, PermissionError):
            path.stat()  # a link to itself: from Python 3.13 on `resolve` takes it
    except (OSError, RuntimeError):
        return "a link that leads nowhere"
    if target.is_relative_to(base) or _is_cached(target):
        return None
    return f"a link that leaves the data folder (to {target})"


def link_remedy(path: Path) -> str:
    """What to do about a link that is not followed."""
    return links.REMEDY if path.is_dir() else "Put the file itself there"


def _is_cached(target: Path) -> bool:
    """Whether a path lies in a DVC cache, which may stand in for files as links (`cache.type symlink`).

    >>> _is_cached(Path("/home/me/project/.dvc/cache/files/md5/ab/" + "0" * 30))
    True
    >>> _is_cached(Path("/etc/passwd"))
    False
    """
    *_, files, md5, folder, name = ("", "", "", "", *target.parts)
    digest = folder + name.removesuffix(".dir")
    return (files, md5, len(folder), len(digest)) == ("files", "md5", 2, 32) and set(digest) <= set("0123456789abcdef")

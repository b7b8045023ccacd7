"""Image files by id, from a folder in the benchmark's public layout or from uncompressed tar shards.

Shards are for data versioning, which is slow on tens of thousands of small files: `pack_images` writes ordinary tar
files (unpacked into the benchmark's folder they restore the public layout) and an index for reading any image directly.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from qure.benchmarks import benchmarks
from qure.datasets.image_base import ImageStore
from qure.datasets.image_folder import FolderStore, flat_images, refused_image
from qure.datasets.image_shards import ShardStore, write_shards
from qure.datasets.rows import LAYOUT_REMEDY
from qure.errors import BadInput
from qure.files import atomic_folder

__all__ = ["SHARDS", "ImageStore", "image_paths", "open_images", "pack_images", "paths_in"]

logger = logging.getLogger(__name__)

#: Folder below a benchmark's own folder that holds packed images; where it exists, it is read instead of the files.
SHARDS = "image_shards"


def open_images(root: Path) -> ImageStore:
    """The images of a benchmark's folder, packed or not.

    Raises:
        BadInput: no image folder, one that is a link that leaves the data folder, or broken shards.
    """
    root = Path(root)
    if (root / SHARDS).is_dir():
        return ShardStore(root / SHARDS)
    for one in benchmarks():
        store = one.image_files(root)
        if store is not None:
            return store
    return flat_images(root)


def image_paths(root: Path) -> Callable[[str], Path | None]:
    """Finds the file of an image id below a benchmark's folder; None where images are packed or missing."""
    try:
        images = open_images(root) if Path(root).is_dir() else None
    except BadInput:
        images = None
    return paths_in(images, Path(root)) if isinstance(images, FolderStore) else lambda _: None


def paths_in(images: FolderStore, root: Path) -> Callable[[str], Path | None]:
    """Finds the file of an image id in a folder of images, whose paths start at `root`."""
    return lambda image_id: root / images.relative_path(image_id) if image_id in images else None


def pack_images(root: Path, output: Path, shard_bytes: int = 256 * 1024 * 1024) -> None:
    """Writes a benchmark's image files as tar shards with an index; the same images give the same bytes.

    Args:
        root: the benchmark's folder.
        output: the folder to write, whole or not at all; `root / SHARDS` is where `open_images` looks.
        shard_bytes: a shard is closed before it would grow beyond this; a larger image has a shard of its own.

    Raises:
        BadInput: the images are packed already, there are none, or one is a file or link that is not read: it would be
            missing from then on without a word.
    """
    store = open_images(root)
    if not isinstance(store, FolderStore):
        raise BadInput("the images are packed already", file=Path(root) / SHARDS)
    for refusal in store.refused:
        if refusal.image is not None and not (Path(root) / refusal.file).is_dir():
            raise refused_image(Path(root), refusal)
    if not store.ids:
        raise BadInput("there are no images to pack", file=root, remedy=LAYOUT_REMEDY)
    with atomic_folder(Path(output)) as folder:
        shards = write_shards(store, folder, shard_bytes)
    logger.info("packed %d images into %d shards", len(store), shards)

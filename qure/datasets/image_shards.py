"""Images inside uncompressed tar files, with an index for reading any of them directly."""

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from qure.datasets.ids import check_image_id, check_relative_path, shown, unsafe_reason
from qure.datasets.image_base import ImageStore, check_inside, missing_image
from qure.datasets.image_folder import FolderStore
from qure.datasets.rows import Row, load_json
from qure.errors import BadInput
from qure.progress import track

INDEX = "index.json"

_FORMAT = "qure-image-shards"
_BLOCK = tarfile.BLOCKSIZE


class ShardStore(ImageStore):
    """Images inside uncompressed tar files, found through the index; every read opens its own handle."""

    def __init__(self, folder: Path) -> None:
        """Raises BadInput when the index or a shard is missing, malformed or cut off."""
        self._folder = Path(folder)
        path = self._folder / INDEX
        index = Row(load_json(path, remedy="Pack the images again with 'qure data pack'"), path, None)
        if index.value("format") != _FORMAT or index.value("version") != 1:
            raise BadInput("is not an index of image shards of version 1", file=path)
        self._shards = [self._shard(Row(value, path, f"shards[{n}]")) for n, value in enumerate(index.items("shards"))]
        self._packed = _packed(index)
        sizes = [size for _, size in self._shards]
        images = index.part("images")
        self._places = {
            check_image_id(image_id, file=path): _place(images, image_id, sizes) for image_id in images.names()
        }
        self._ids = tuple(sorted(self._places))

    @property
    def root(self) -> Path:
        return self._folder.parent

    @property
    def ids(self) -> tuple[str, ...]:
        return self._ids

    def __contains__(self, image_id: object) -> bool:
        return image_id in self._places

    def read(self, image_id: str) -> bytes:
        shard, offset, size = self._find(image_id)
        path = self._folder / self._shards[shard][0]
        try:
            with path.open("rb") as stream:
                stream.seek(offset)
                data = stream.read(size)
        except OSError as error:
            raise BadInput(f"image {shown(image_id)} cannot be read: {error.strerror}", file=path) from None
        if len(data) != size:
            raise BadInput(f"the shard is cut off inside image {shown(image_id)}", file=path)
        return data

    def name(self, image_id: str) -> str:
        if image_id not in self._places:
            return f"{self._folder}: {shown(image_id)}"
        return f"{self._folder / self._shards[self._places[image_id][0]][0]}: {image_id}"

    def size(self, image_id: str) -> int:
        return self._find(image_id)[2]

    def place(self, image_id: str) -> str:
        _, offset, size = self._find(image_id)
        beside = self._beside(image_id)
        edited = f", beside a file of {beside.st_mtime_ns}" if beside is not None else ""
        return f", {size} bytes at {offset}{edited}"

    def changed(self, image_id: str, data: bytes, sha256: str) -> str | None:
        """By what the index says was packed, by the name in the shard, and by the packed file if it is still there."""
        path, packed = self._packed.get(image_id, (None, sha256))
        if packed != sha256:
            return f"the shard's bytes are not those that were packed: SHA-256 {sha256}, was {packed}"
        member = self._member(image_id)
        if member is not None and not _names(member, image_id):
            return f"the index points at {shown(member)}"
        beside = self._beside(image_id)
        if beside is not None and (beside.st_size != len(data) or (self.root / str(path)).read_bytes() != data):
            return f"the file {path} has been edited since it was packed"
        return None

    def _beside(self, image_id: str) -> os.stat_result | None:
        """The file that an image was packed from, where it is still there; not known of an older index."""
        path, _ = self._packed.get(image_id, (None, ""))
        try:
            return (self.root / path).stat() if path is not None else None
        except OSError:
            return None

    def _member(self, image_id: str) -> str | None:
        """The name in the header block before an image; None where it does not fit there and stands elsewhere."""
        shard, offset, size = self._find(image_id)
        with (self._folder / self._shards[shard][0]).open("rb") as stream:
            stream.seek(max(offset - _BLOCK, 0))
            block = stream.read(min(offset, _BLOCK))
        try:
            member = tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            return f"{size} bytes at {offset}"
        whole = len(member.name) < tarfile.LENGTH_NAME and "?" not in member.name  # "?" stands for what is not ASCII
        return member.name if whole else None

    def _find(self, image_id: str) -> tuple[int, int, int]:
        if image_id not in self._places:
            raise missing_image(image_id, self._folder)
        return self._places[image_id]

    def _shard(self, row: Row) -> tuple[str, int]:
        name, size = row.text("file"), row.integer("bytes")
        if unsafe_reason(name) or not name.endswith(".tar"):
            raise row.error(f"{shown(name)} is not the name of a shard", "file")
        path = self._folder / name
        check_inside(path, self._folder.resolve())
        found = path.stat().st_size if path.is_file() else None
        if found != size:
            problem = "the shard does not exist" if found is None else f"the shard has {found} bytes, not {size}"
            raise BadInput(problem, file=path, remedy="Fetch it again (dvc checkout), or pack the images again")
        return name, size


def write_shards(store: FolderStore, folder: Path, shard_bytes: int) -> int:
    """Writes shards and index into an empty folder; returns the number of shards."""
    shards: list[dict[str, Any]] = []
    places: dict[str, list[int]] = {}
    packed: dict[str, tuple[str, str]] = {}
    for group in _groups(store, shard_bytes):
        name = f"shard-{len(shards):05d}.tar"
        written = _write_shard(folder / name, store, group)
        places |= {image_id: [len(shards), offset, size] for image_id, (offset, size, _) in written.items()}
        packed |= {image_id: (store.relative_path(image_id), digest) for image_id, (_, _, digest) in written.items()}
        shards.append({"file": name, "bytes": (folder / name).stat().st_size})
    index = {"format": _FORMAT, "version": 1, "shards": shards, "images": places, "packed": packed}
    (folder / INDEX).write_text(json.dumps(index, separators=(",", ":")) + "\n", encoding="utf-8")
    return len(shards)


def _groups(store: FolderStore, shard_bytes: int) -> Iterator[list[str]]:
    """Ids shard by shard; a member takes a header block and its content rounded up to blocks."""
    group: list[str] = []
    filled = 0
    for image_id in store.ids:
        needed = 2 * _BLOCK + store.size(image_id)
        if group and filled + needed > shard_bytes:
            yield group
            group, filled = [], 0
        group.append(image_id)
        filled += needed
    yield group


def _write_shard(path: Path, store: FolderStore, ids: list[str]) -> dict[str, tuple[int, int, str]]:
    """Writes one tar file; returns each image's offset and size inside it, and its SHA-256."""
    places = {}
    with path.open("wb") as stream, tarfile.open(fileobj=stream, mode="w", format=tarfile.PAX_FORMAT) as shard:
        for image_id in track(ids, f"Packing {path.name}"):
            data = store.read(image_id)
            member = tarfile.TarInfo(store.relative_path(image_id))
            member.size, member.mode = len(data), 0o644
            shard.addfile(member, io.BytesIO(data))
            offset = shard.offset - -(-len(data) // _BLOCK) * _BLOCK
            places[image_id] = (offset, len(data), hashlib.sha256(data).hexdigest())
    return places


def _packed(index: Row) -> dict[str, tuple[str, str]]:
    """Image id -> its path below the benchmark's folder and its SHA-256 when it was packed; an older index has none."""
    if not index.has("packed"):
        return {}
    packed = index.part("packed")
    found = {}
    for image_id in packed.names():
        path, digest = packed.texts(image_id, 2)
        found[image_id] = check_relative_path(path, file=index.file, row=image_id), digest
    return found


def _names(member: str, image_id: str) -> bool:
    """Whether a shard's member is an image's file; COCO's ids are numbers, its files have leading zeros.

    >>> _names("images/B00.jpg", "B00"), _names("x/000000000042.jpg", "42"), _names("images/B01.jpg", "B00")
    (True, True, False)
    >>> _names("images/0B0.jpg", "B0"), _names("x/000000000042.jpg", "43")
    (False, False)
    """
    stem = PurePosixPath(member).stem
    return stem == image_id or (image_id.isdecimal() and stem.lstrip("0") == image_id.lstrip("0"))


def _place(images: Row, image_id: str, sizes: list[int]) -> tuple[int, int, int]:
    values = images.items(image_id, count=3)
    if not all(isinstance(value, int) and not isinstance(value, bool) and value >= 0 for value in values):
        raise images.error("must hold shard, offset and size", image_id)
    shard, offset, size = values
    if shard >= len(sizes) or offset + size > sizes[shard]:
        raise images.error(f"{shown(values)} lies outside the shards", image_id)
    return shard, offset, size

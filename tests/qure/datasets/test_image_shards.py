"""Tar shards by an index: where images lie in them, what fills one, and whether an image is still what was packed."""

import json
import os
import tarfile
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from qure.datasets.image_shards import ShardStore
from qure.datasets.image_store import SHARDS, open_images, pack_images
from qure.errors import BadInput

BLOCK = 512  # of every tar file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Two images of one size, one of another, and names that do not fit into a header block as they are."""
    folder = tmp_path / "benchmark" / "images"
    folder.mkdir(parents=True)
    for name, size in {"A.jpg": 600, "B.jpg": 600, "C.png": 1024, f"{'L' * 120}.jpg": 10, "Ärmel.jpg": 20}.items():
        (folder / name).write_bytes(name[:1].encode("latin-1") * size)
    return folder.parent


def packed(root: Path, shard_bytes: int = 2**20) -> ShardStore:
    pack_images(root, root / SHARDS, shard_bytes)
    return reopened(root)


def reopened(root: Path) -> ShardStore:
    store = open_images(root)
    assert isinstance(store, ShardStore)
    return store


def edit_index(root: Path, change: Callable[[dict[str, Any]], object]) -> None:
    file = root / SHARDS / "index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    change(index)
    file.write_text(json.dumps(index), encoding="utf-8")


def why_changed(store: ShardStore, image_id: str) -> str | None:
    data = store.read(image_id)
    return store.changed(image_id, data, sha256(data).hexdigest())


def test_the_index_says_what_tarfile_finds(root: Path) -> None:
    packed(root, shard_bytes=4096)
    index = json.loads((root / SHARDS / "index.json").read_text(encoding="utf-8"))
    places, digests = {}, {}
    for number, shard in enumerate(index["shards"]):
        path = root / SHARDS / shard["file"]
        assert shard["bytes"] == path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar.getmembers():
                content = (root / member.name).read_bytes()
                places[Path(member.name).stem] = [number, member.offset_data, len(content)]
                digests[Path(member.name).stem] = [member.name, sha256(content).hexdigest()]
                assert (member.mode, member.mtime, member.uid) == (0o644, 0, 0)
    assert (index["images"], index["packed"]) == (places, digests)
    assert len(index["shards"]) > 1


@pytest.mark.parametrize(
    ("shard_bytes", "counts"),
    [(1, [1, 1, 1, 1, 1]), (2 * 1624, [2, 1, 1, 1]), (2 * 1624 - 1, [1, 1, 1, 1, 1]), (2**20, [5])],
)
def test_a_shard_is_closed_before_it_would_grow_beyond_its_size(
    root: Path, shard_bytes: int, counts: list[int]
) -> None:
    """An image counts with a block for its header and one for what it is rounded up by."""
    for name in (f"{'L' * 120}.jpg", "Ärmel.jpg"):
        (root / "images" / name).write_bytes(b"-" * 2000)
    store = packed(root, shard_bytes)
    files = [store.name(image_id).split(": ")[0] for image_id in store.ids]
    assert [files.count(file) for file in sorted(set(files))] == counts
    assert sorted(path.name for path in (root / SHARDS).glob("*.tar")) == [
        f"shard-{number:05d}.tar" for number in range(len(counts))
    ]


def test_what_was_packed_has_not_changed(root: Path) -> None:
    store = packed(root)
    assert {image_id: why_changed(store, image_id) for image_id in store.ids} == dict.fromkeys(store.ids)
    for path in (root / "images").iterdir():
        path.unlink()
    assert {image_id: why_changed(store, image_id) for image_id in store.ids} == dict.fromkeys(store.ids)


def test_a_shard_whose_bytes_have_changed_is_told_by_both_digests(root: Path) -> None:
    store = packed(root)
    was, now = sha256(b"A" * 600).hexdigest(), sha256(b"a" * 600).hexdigest()
    assert store.changed("A", b"a" * 600, now) == (
        f"the shard's bytes are not those that were packed: SHA-256 {now}, was {was}"
    )


@pytest.mark.parametrize("content", [b"A" * 599, b"A" * 599 + b"B", b""])
def test_an_image_edited_since_it_was_packed(root: Path, content: bytes) -> None:
    store = packed(root)
    (root / "images" / "A.jpg").write_bytes(content)
    assert why_changed(store, "A") == "the file images/A.jpg has been edited since it was packed"
    assert why_changed(store, "B") is None


def test_an_index_that_points_at_another_image(root: Path) -> None:
    """Where it says what was packed, by the bytes; an older one does not, and the shard's own names tell."""
    packed(root)
    edit_index(root, lambda index: index["images"].update(A=index["images"]["B"]))
    assert "are not those that were packed" in (why_changed(reopened(root), "A") or "")
    edit_index(root, lambda index: index.pop("packed"))
    store = reopened(root)
    assert why_changed(store, "A") == "the index points at 'images/B.jpg'"
    assert [why_changed(store, image_id) for image_id in ("B", "C", "L" * 120, "Ärmel")] == [None] * 4


@pytest.mark.parametrize("offset", [0, 100, BLOCK - 1, BLOCK + 1, 2 * BLOCK])
def test_an_older_index_that_points_behind_no_header(root: Path, offset: int) -> None:
    packed(root)
    edit_index(root, lambda index: (index.pop("packed"), index["images"].update(A=[0, offset, 7])))
    assert why_changed(reopened(root), "A") == f"the index points at '7 bytes at {offset}'"


def test_a_place_is_offset_size_and_the_time_of_the_file_beside_it(root: Path) -> None:
    store = packed(root)
    os.utime(root / "images" / "A.jpg", ns=(7, 11))
    assert store.place("A") == f", 600 bytes at {BLOCK}, beside a file of 11"
    (root / "images" / "A.jpg").unlink()
    assert store.place("A") == f", 600 bytes at {BLOCK}"
    assert store.place("B").startswith(f", 600 bytes at {4 * BLOCK}, ")
    edit_index(root, lambda index: index.pop("packed"))
    assert reopened(root).place("B") == f", 600 bytes at {4 * BLOCK}"


def test_images_that_are_not_there_are_named(root: Path) -> None:
    store = packed(root)
    assert store.name("Z") == f"{root / SHARDS}: 'Z'"
    assert ("Z" in store, "A" in store, store.root) == (False, True, root)
    for call in (store.size, store.place, store.read):
        with pytest.raises(BadInput, match="image 'Z' does not exist"):
            call("Z")
    (root / SHARDS / "shard-00000.tar").unlink()
    with pytest.raises(BadInput, match=r"shard-00000\.tar: image 'A' cannot be read: No such file"):
        store.read("A")


def test_an_image_may_end_where_the_shard_does(root: Path) -> None:
    packed(root)
    size = (root / SHARDS / "shard-00000.tar").stat().st_size
    edit_index(root, lambda index: index["images"].update(A=[0, size - 3, 3]))
    assert reopened(root).read("A") == bytes(3)
    edit_index(root, lambda index: index["images"].update(A=[0, size - 2, 3]))
    with pytest.raises(BadInput, match="lies outside the shards"):
        reopened(root)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda index: index.update(format="tar"), "not an index of image shards of version 1"),
        (lambda index: index["shards"][0].update(file="shard-00000.zip"), "'shard-00000.zip' is not the name of a"),
        (lambda index: index["images"].update(A=[1, 0, 1]), r"\[1, 0, 1\] lies outside the shards"),
        (lambda index: index["images"].update(A=[False, 0, 1]), "must hold shard, offset and size"),
        (lambda index: index["packed"].update(A=["images/A.jpg"]), "must hold 2"),
        (lambda index: index["packed"].update(A=["../A.jpg", "0"]), r"'\.\./A\.jpg'"),
    ],
)
def test_a_spoilt_index_is_refused(root: Path, change: Callable[[dict[str, Any]], object], problem: str) -> None:
    packed(root)
    edit_index(root, change)
    with pytest.raises(BadInput, match=problem):
        reopened(root)


def test_a_shard_that_is_a_link_out_of_the_folder_is_refused(root: Path, tmp_path: Path) -> None:
    packed(root)
    (root / SHARDS / "shard-00000.tar").rename(tmp_path / "elsewhere.tar")
    (root / SHARDS / "shard-00000.tar").symlink_to(tmp_path / "elsewhere.tar")
    with pytest.raises(BadInput, match="a link that leaves the data folder"):
        reopened(root)

"""Images from folders and from tar shards; nothing outside the data folder, nothing half."""

import contextlib
import json
import os
import tarfile
from pathlib import Path

import pytest

from qure.benchmarks.circo import files as circo
from qure.datasets import image_store
from qure.datasets.image_store import SHARDS, ImageStore, open_images, pack_images
from qure.errors import BadInput


@pytest.fixture
def flat(tmp_path: Path) -> Path:
    """A FashionIQ-like root: sizes around tar's block of 512 bytes, several suffixes, files that are no images."""
    root = tmp_path / "fashioniq"
    (root / "images").mkdir(parents=True)
    for name, size in (("B.jpg", 0), ("A.JPEG", 511), ("C.png", 512), ("D.webp", 513), ("E.jpg", 2000)):
        (root / "images" / name).write_bytes(bytes([name.encode()[0]]) * size)
    for name in (".hidden.jpg", "Thumbs.db", "notes.txt"):
        (root / "images" / name).write_bytes(b"no image")
    (root / "images" / "folder.jpg").mkdir()
    return root


def content(store: ImageStore) -> dict[str, bytes]:
    return {image_id: store.read(image_id) for image_id in store.ids}


def test_a_folder_of_images(flat: Path) -> None:
    store = open_images(flat)
    assert store.ids == ("A", "B", "C", "D", "E")
    assert len(store) == 5
    assert "A" in store
    assert "Z" not in store
    assert store.read("C") == b"C" * 512
    assert store.size("D") == 513
    assert store.name("A") == str(flat / "images" / "A.JPEG")
    assert "'Z'" in store.name("Z")


def test_a_missing_image_is_named(flat: Path) -> None:
    store = open_images(flat)
    for call in (store.read, store.size):
        with pytest.raises(BadInput, match="image 'Z' does not exist"):
            call("Z")
    (flat / "images" / "E.jpg").unlink()
    for call in (store.read, store.size):
        with pytest.raises(BadInput, match="image 'E' cannot be read"):
            call("E")


def test_a_link_whose_file_went_away_says_where_it_leads(flat: Path) -> None:
    (flat / "images" / "L.jpg").symlink_to("C.png")
    store = open_images(flat)
    (flat / "images" / "C.png").unlink()
    for call in (store.read, store.size):
        with pytest.raises(BadInput, match=r"L\.jpg: image 'L' is a link to nothing.*C\.png"):
            call("L")


@pytest.mark.parametrize("folder", ["empty", "missing"])
def test_where_there_is_no_folder_of_images_no_image_has_a_path(tmp_path: Path, flat: Path, folder: str) -> None:
    (tmp_path / "empty").mkdir()
    assert image_store.image_paths(flat)("C") == flat / "images" / "C.png"
    assert image_store.image_paths(tmp_path / folder)("C") is None


def refusals(store: ImageStore) -> dict[str, tuple[str | None, str]]:
    return {one.file: (one.image, one.problem) for one in store.refused}


def test_of_two_files_for_one_image_none_is_read(flat: Path) -> None:
    (flat / "images" / "A.png").write_bytes(b"other")
    store = open_images(flat)
    assert "A" not in store
    assert refusals(store)["images/A.png"] == ("A", "two files for image 'A': A.JPEG and A.png")
    for call in (store.read, store.size):
        with pytest.raises(BadInput, match=r"A\.png: image 'A' cannot be read: two files .*\. Remove one of them"):
            call("A")
    assert store.read("B") == b""


def test_what_is_no_file_gives_no_image_and_does_not_stand_in_anothers_way(flat: Path) -> None:
    os.mkfifo(flat / "images" / "F.jpg")
    (flat / "images" / "A.png").mkdir()
    (flat / "images" / "not..an id.jpg").write_bytes(b"stray")
    store = open_images(flat)
    assert store.ids == ("A", "B", "C", "D", "E")
    assert store.read("A") == b"A" * 511
    assert refusals(store) == {
        "images/A.png": ("A", "a folder, not a file"),
        "images/F.jpg": ("F", "a pipe, a socket or a device, not a file"),
        "images/folder.jpg": ("folder", "a folder, not a file"),
        "images/not..an id.jpg": (None, "its name can be no id, it contains '..'"),
    }
    assert store.refusal("A") is None
    with pytest.raises(BadInput, match="image 'folder' cannot be read: a folder, not a file"):
        store.read("folder")


def test_no_image_folder_says_where_it_belongs(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="images: the image folder does not exist"):
        open_images(tmp_path)


def test_shards_hold_the_same_bytes_as_the_folder(flat: Path, tmp_path: Path) -> None:
    folder = open_images(flat)
    before = content(folder)
    pack_images(flat, flat / SHARDS, shard_bytes=4096)
    packed = open_images(flat)
    assert packed.ids == folder.ids
    assert content(packed) == before
    assert [packed.size(i) for i in packed.ids] == [folder.size(i) for i in folder.ids]
    assert len(list((flat / SHARDS).glob("*.tar"))) > 1
    assert "shard-00000.tar: A" in packed.name("A")
    with pytest.raises(BadInput, match="image 'Z' does not exist"):
        packed.read("Z")


def test_shards_are_ordinary_tar_files_that_restore_the_layout(flat: Path, tmp_path: Path) -> None:
    before = content(open_images(flat))
    pack_images(flat, tmp_path / "packed", shard_bytes=4096)
    other = tmp_path / "unpacked"
    for shard in sorted((tmp_path / "packed").glob("*.tar")):
        with tarfile.open(shard, "r:") as tar:
            tar.extractall(other, filter="data")
    assert content(open_images(other)) == before


def test_packing_twice_gives_the_same_bytes(flat: Path, tmp_path: Path) -> None:
    for name in ("one", "two"):
        pack_images(flat, tmp_path / name)
        os.utime(flat / "images" / "A.JPEG", (1, 1))
    for file in sorted((tmp_path / "one").iterdir()):
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_packing_what_is_packed_or_empty_is_refused(flat: Path, tmp_path: Path) -> None:
    pack_images(flat, flat / SHARDS)
    with pytest.raises(BadInput, match="packed already"):
        pack_images(flat, tmp_path / "again")
    (tmp_path / "empty" / "images").mkdir(parents=True)
    with pytest.raises(BadInput, match="no images to pack"):
        pack_images(tmp_path / "empty", tmp_path / "again")
    assert not (tmp_path / "again").exists()


def test_a_failure_leaves_no_half_packed_folder(flat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(image_store, "write_shards", failing)
    with pytest.raises(OSError, match="No space"):
        pack_images(flat, tmp_path / "packed")
    assert list(tmp_path.iterdir()) == [flat]


def test_a_shard_cut_off_is_found_when_opened(flat: Path) -> None:
    pack_images(flat, flat / SHARDS)
    shard = flat / SHARDS / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"the shard has \d+ bytes, not \d+.*dvc checkout"):
        open_images(flat)
    shard.unlink()
    with pytest.raises(BadInput, match="the shard does not exist"):
        open_images(flat)


def test_a_shard_cut_off_later_is_found_when_read(flat: Path) -> None:
    pack_images(flat, flat / SHARDS)
    store = open_images(flat)
    shard = flat / SHARDS / "shard-00000.tar"
    shard.write_bytes(shard.read_bytes()[:1000])
    with pytest.raises(BadInput, match="cut off inside image 'E'"):
        store.read("E")


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda index: index.update(version=2), "not an index of image shards"),
        (lambda index: index["images"].update({"../x": [0, 0, 1]}), "contains '/'"),
        (lambda index: index["images"].update(A=[0, 0, 10**9]), "outside the shards"),
        (lambda index: index["images"].update(A=[5, 0, 1]), "outside the shards"),
        (lambda index: index["images"].update(A=[0, -1, 1]), "shard, offset and size"),
        (lambda index: index["images"].update(A=[0, "0", 1]), "shard, offset and size"),
        (lambda index: index["images"].update(A=[0, 1]), "must hold 3 entries"),
        (lambda index: index["shards"][0].update(file="../../etc/passwd.tar"), "not the name of a shard"),
        (lambda index: index["shards"][0].update(bytes="1"), "whole number"),
        (lambda index: index.pop("images"), "missing"),
    ],
)
def test_a_spoilt_index_is_bad_input(flat: Path, change: object, problem: str) -> None:
    pack_images(flat, flat / SHARDS)
    file = flat / SHARDS / "index.json"
    index = json.loads(file.read_text(encoding="utf-8"))
    change(index)  # type: ignore[operator]
    file.write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(BadInput, match=problem):
        open_images(flat)


def test_an_index_cut_at_every_byte_is_bad_input(flat: Path) -> None:
    pack_images(flat, flat / SHARDS)
    file = flat / SHARDS / "index.json"
    text = file.read_bytes().rstrip()
    for length in range(len(text)):
        file.write_bytes(text[:length])
        with pytest.raises(BadInput):
            open_images(flat)


@pytest.mark.parametrize(
    ("to", "problem"),
    [
        ("../../secret.jpg", "a link that leaves the data folder (to {root}/secret.jpg)"),
        ("F.jpg", "a link that leads nowhere"),
        ("../.", "a folder, not a file"),
        ("gone.jpg", "a link to nothing: no file is at gone.jpg"),
    ],
)
def test_links_that_cannot_be_followed_are_not_read_and_the_rest_is(
    flat: Path, tmp_path: Path, to: str, problem: str
) -> None:
    (tmp_path / "secret.jpg").write_bytes(b"secret")
    (flat / "images" / "F.jpg").symlink_to(to)
    store = open_images(flat)
    assert store.ids == ("A", "B", "C", "D", "E")
    assert refusals(store)["images/F.jpg"] == ("F", problem.format(root=tmp_path))
    for call in (store.read, store.size):
        with pytest.raises(BadInput, match=r"F\.jpg: image 'F' cannot be read: a "):
            call("F")
    assert image_store.image_paths(flat)("F") is None
    with pytest.raises(BadInput, match="image 'F' cannot be read") if to != "../." else contextlib.nullcontext():
        pack_images(flat, tmp_path / "packed")


def test_a_linked_image_folder_is_refused(flat: Path, tmp_path: Path) -> None:
    (flat / "images").rename(tmp_path / "elsewhere")
    (flat / "images").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(BadInput, match="images: is a link that leaves the data folder"):
        open_images(flat)


def test_links_inside_the_data_folder_into_dvcs_cache_and_of_the_whole_folder_work(flat: Path, tmp_path: Path) -> None:
    (flat / "images" / "F.jpg").symlink_to("E.jpg")
    cached = tmp_path / ".dvc" / "cache" / "files" / "md5" / "ab" / ("0" * 30)
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"cached")
    (flat / "images" / "G.jpg").symlink_to(cached)
    whole = tmp_path / "link"
    whole.symlink_to(flat)
    store = open_images(whole)
    assert store.read("F") == b"E" * 2000
    assert store.read("G") == b"cached"


@pytest.mark.parametrize("base", ["", "images", "img_raw"])
def test_cirr_finds_its_images_below_three_bases(cirr_root: Path, base: str, tmp_path: Path) -> None:
    for name in ("dev/dev-7-0-img0.png", "train/34/train-7-1-img0.png"):
        path = cirr_root / base / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    store = open_images(cirr_root)
    assert store.ids == ("dev-7-0-img0", "train-7-1-img0")
    assert store.read("train-7-1-img0") == b"train/34/train-7-1-img0.png"
    pack_images(cirr_root, cirr_root / SHARDS)
    assert content(open_images(cirr_root)) == content(store)


def test_cirr_links_out_of_the_data_folder_are_refused(cirr_root: Path, tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "dev-7-0-img0.png").write_bytes(b"secret")
    (cirr_root / "dev").symlink_to(tmp_path / "outside")
    with pytest.raises(BadInput, match="leaves the data folder"):
        open_images(cirr_root)


def test_a_cirr_image_that_is_a_link_out_is_not_read_and_a_stray_one_has_no_id(cirr_root: Path, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"secret")
    (cirr_root / "dev").mkdir()
    for name in ("dev-7-0-img0.png", "stray.png"):
        (cirr_root / "dev" / name).symlink_to(tmp_path / "secret.png")
    store = open_images(cirr_root)
    assert [(one.file, one.image) for one in store.refused] == [
        ("dev/dev-7-0-img0.png", "dev-7-0-img0"),
        ("dev/stray.png", None),
    ]
    assert store.ids == ()
    with pytest.raises(BadInput, match="a link that leaves the data folder"):
        store.read("dev-7-0-img0")


def test_circo_knows_images_by_their_twelve_digits(circo_root: Path) -> None:
    folder = circo_root / circo.IMAGES
    folder.mkdir(parents=True)
    for name in ("000000000011.jpg", "000000000012.jpg", "12.jpg", "cover.jpg"):
        (folder / name).write_bytes(name.encode())
    store = open_images(circo_root)
    assert store.ids == ("11", "12")
    assert store.read("12") == b"000000000012.jpg"
    (folder / "000000000012.png").write_bytes(b"another")
    assert refusals(open_images(circo_root)) == {
        (circo.IMAGES / "000000000012.png").as_posix(): (
            "12",
            "two files for image '12': 000000000012.jpg and 000000000012.png",
        ),
        (circo.IMAGES / "12.jpg").as_posix(): (None, "its name is not twelve digits, as COCO's are"),
        (circo.IMAGES / "cover.jpg").as_posix(): (None, "its name is not twelve digits, as COCO's are"),
    }


def test_circo_without_images_names_their_folder(circo_root: Path) -> None:
    with pytest.raises(BadInput, match="unlabeled2017: the image folder does not exist"):
        open_images(circo_root)

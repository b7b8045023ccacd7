"""Reading by row, from disk and from memory; damage is refused by name."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from qure.errors import BadInput
from qure.features import store as store_module
from qure.features.memory import _cgroup_available, available_device_bytes, available_host_bytes
from qure.features.store import FeatureStore
from qure.features.writing import Shard, StoreIdentity, link_or_copy, read_shard_rows, write_shard, write_store

TOKENS, WIDTH = 3, 4


@pytest.fixture
def features() -> torch.Tensor:
    return torch.arange(10 * TOKENS * WIDTH, dtype=torch.float16).view(10, TOKENS, WIDTH)


@pytest.fixture
def folder(tmp_path: Path, features: torch.Tensor) -> Path:
    """Ten images in shards 0 (rows of ids a-d), 2 (e-h) and 11 (i, j)."""
    shards = []
    for number, (start, end) in {0: (0, 4), 2: (4, 8), 11: (8, 10)}.items():
        rows = [["abcdefghij"[row], f"digest-{row}"] for row in range(start, end)]
        write_shard(tmp_path / f"{number}.safetensors", features[start:end], rows)
        shards.append(Shard(number, tmp_path / f"{number}.safetensors", rows))
    identity = StoreIdentity("vision", "images", 10, "fp16", TOKENS, WIDTH, 4)
    write_store(tmp_path / "store", identity, shards, share=(0, 1))
    return tmp_path / "store"


@pytest.mark.parametrize("where", ["disk", "memory", "auto", "device"])
def test_rows_in_any_order_and_repeated(folder, features, where):
    store = FeatureStore.open(folder).hold(where, "cpu")
    rows = store.rows(["j", "a", "e", "a", "h"])
    assert rows.dtype == np.int64
    assert rows.tolist() == [9, 0, 4, 0, 7]
    for wanted in (rows, rows.tolist(), torch.from_numpy(rows)):
        assert torch.equal(store.read(wanted), features[rows.tolist()])
    assert store.read([]).shape == (0, TOKENS, WIDTH)


@pytest.mark.parametrize("where", ["disk", "memory"])
@pytest.mark.parametrize("rows", [[10], [-1], [0, 3, 12]])
def test_row_out_of_range_is_an_error(folder, where, rows):
    with pytest.raises(IndexError):
        FeatureStore.open(folder).hold(where).read(rows)


def test_holding_a_torch_device(folder):
    store = FeatureStore.open(folder)
    assert store.held == "disk"
    assert store.hold(torch.device("cpu")).held == "cpu"
    assert store.hold("disk").held == "disk"


def test_auto_takes_the_nearest_place_that_is_big_enough(folder, monkeypatch):
    store = FeatureStore.open(folder)
    assert store.nbytes == 10 * TOKENS * WIDTH * 2
    monkeypatch.setattr(store_module, "available_host_bytes", lambda: 2 * store.nbytes + 2)
    assert store.hold("auto").held == "cpu"
    monkeypatch.setattr(store_module, "available_host_bytes", lambda: 2 * store.nbytes)
    assert store.hold("auto").held == "disk"
    monkeypatch.setattr(store_module, "available_device_bytes", lambda _: 2 * store.nbytes + 2)
    assert store._nearest_place(torch.device("cuda")) == "device"


def test_container_limit_counts(tmp_path):
    (tmp_path / "memory.current").write_text("300\n")
    (tmp_path / "memory.max").write_text("1000\n")
    assert _cgroup_available(tmp_path) == 700
    (tmp_path / "memory.max").write_text("max\n")
    assert _cgroup_available(tmp_path) is None
    assert _cgroup_available(tmp_path / "nowhere") is None
    assert available_host_bytes() > 0


def test_where_nothing_tells_how_much_memory_is_left_none_is_taken(monkeypatch):
    def read_text(file, *_, **__):
        raise FileNotFoundError(file)

    monkeypatch.setattr(Path, "read_text", read_text)
    assert available_host_bytes() == 0
    assert available_device_bytes(torch.device("cpu")) == 0


def test_unknown_image_is_named(folder):
    with pytest.raises(BadInput, match="no features of image 'z'"):
        FeatureStore.open(folder).rows(["a", "z"])


def test_missing_and_cut_off_shards_are_named(folder):
    shard = folder / "shard-00002.safetensors"
    content = shard.read_bytes()
    shard.unlink()
    with pytest.raises(BadInput, match=r"shard-00002.*missing"):
        FeatureStore.open(folder)
    shard.write_bytes(content[:-1])
    with pytest.raises(BadInput, match=rf"shard-00002.*: {len(content) - 1} bytes, expected {len(content)}"):
        FeatureStore.open(folder)
    shard.write_bytes(b"\0" * len(content))
    with pytest.raises(BadInput, match=r"shard-00002.*not a readable shard"):
        FeatureStore.open(folder)


def test_shard_of_another_shape_is_refused(folder, features):
    manifest = json.loads((folder / "manifest.json").read_text())
    write_shard(folder / "shard-00002.safetensors", features[:5], [["a", "b"]] * 5)
    manifest["shards"]["shard-00002.safetensors"]["bytes"] = (folder / "shard-00002.safetensors").stat().st_size
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput, match=r"shard-00002.*\[5, 3, 4\], expected torch.float16 \[4, 3, 4\]"):
        FeatureStore.open(folder)


@pytest.mark.parametrize("name", ["manifest.json", "index.parquet"])
@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_damaged_description_is_named(folder, name, content):
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_bytes(content)
    with pytest.raises(BadInput, match=name):
        FeatureStore.open(folder)


def test_reading_from_disk_maps_only_what_is_read(tmp_path):
    """A shard of 64 MiB, of which two rows are read, must not become 64 MiB of memory."""
    big = torch.zeros(64, 256, 2048, dtype=torch.float16)
    rows = [[f"{number:02d}", "digest"] for number in range(64)]
    write_shard(tmp_path / "big.safetensors", big, rows)
    identity = StoreIdentity("vision", "images", 64, "fp16", 256, 2048, 64)
    write_store(tmp_path / "store", identity, [Shard(0, tmp_path / "big.safetensors", rows)], share=(0, 1))
    del big
    store = FeatureStore.open(tmp_path / "store")
    before = resident_bytes()
    store.read([3, 40])
    assert resident_bytes() - before < 24 * 2**20


def resident_bytes() -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmRSS:"))


def test_shard_rows_of_anything_else_are_none(tmp_path, features):
    assert read_shard_rows(tmp_path / "nowhere") is None
    (tmp_path / "odd").write_bytes(b"odd")
    assert read_shard_rows(tmp_path / "odd") is None
    write_shard(tmp_path / "short", features, [["a", "digest"]])
    assert read_shard_rows(tmp_path / "short") is None


def test_files_are_copied_where_they_cannot_be_linked(tmp_path, monkeypatch):
    (tmp_path / "a").write_bytes(b"content")
    link_or_copy(tmp_path / "a", tmp_path / "b")
    assert (tmp_path / "b").stat().st_ino == (tmp_path / "a").stat().st_ino
    monkeypatch.setattr("os.link", lambda *_: (_ for _ in ()).throw(OSError("another file system")))
    link_or_copy(tmp_path / "a", tmp_path / "c")
    assert (tmp_path / "c").read_bytes() == b"content"


@pytest.mark.parametrize(
    ("change", "field"),
    [
        (lambda it: it.pop("dtype"), "dtype"),
        (lambda it: it.update(dtype="int7"), "dtype"),
        (lambda it: it.update(tokens="3"), "tokens"),
        (lambda it: it.update(width=0), "width"),
        (lambda it: it.update(fingerprint=None), "fingerprint"),
        (lambda it: it.pop("images_fingerprint"), "images_fingerprint"),
        (lambda it: it.update(shards=[]), "shards"),
        (lambda it: it.update(share=[0]), "share"),
        (lambda it: it["shards"].update({"../../x.safetensors": _shard_of(it)}), r"shards.../../x.safetensors"),
        (lambda it: it["shards"].update({"shard-1": _shard_of(it)}), "shards.shard-1"),
        (lambda it: _shard_of(it).pop("rows"), "shards.shard-00000.safetensors.rows"),
        (lambda it: _shard_of(it).update(bytes="many"), "shards.shard-00000.safetensors.bytes"),
        (lambda it: _shard_of(it).update(sha256="x"), "shards.shard-00000.safetensors.sha256"),
    ],
)
def test_every_field_of_the_manifest_is_checked(folder, change, field):
    manifest = json.loads((folder / "manifest.json").read_text())
    change(manifest)
    (folder / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(BadInput) as caught:
        FeatureStore.open(folder)
    assert caught.value.field == field
    assert "qure precompute" in str(caught.value)


def _shard_of(manifest):
    return manifest["shards"]["shard-00000.safetensors"]


@pytest.mark.parametrize(("column", "value"), [("shard", 7), ("row", 99), ("row", -1)])
def test_an_index_that_leads_out_of_the_shards_is_refused(folder, column, value):
    index = pd.read_parquet(folder / "index.parquet")
    index.loc[2, column] = value
    index.to_parquet(folder / "index.parquet", index=False)
    with pytest.raises(BadInput, match=r"image 'c' is in row .* which the manifest does not have"):
        FeatureStore.open(folder)


@pytest.mark.parametrize(
    ("column", "value"), [("id", 3), ("sha256", b"digest"), ("shard", 0.0), ("row", "1"), ("row", True)]
)
def test_an_index_of_other_types_is_refused(folder, column, value):
    index = pd.read_parquet(folder / "index.parquet")
    index[column] = [value] * len(index)
    index.to_parquet(folder / "index.parquet", index=False)
    with pytest.raises(BadInput, match=r"index\.parquet: ids and digests must be texts, shards and rows whole numbers"):
        FeatureStore.open(folder)


def test_an_index_that_gives_an_image_anothers_features_is_refused(folder):
    index = pd.read_parquet(folder / "index.parquet")
    index.loc[2, "row"] = index.loc[1, "row"]
    index.to_parquet(folder / "index.parquet", index=False)
    with pytest.raises(BadInput, match=r"image 'c' is in a row that another image has.*qure precompute"):
        FeatureStore.open(folder)


def test_an_index_that_lacks_an_image_is_refused(folder):
    index = pd.read_parquet(folder / "index.parquet")
    index.drop(index=4).to_parquet(folder / "index.parquet", index=False)
    with pytest.raises(BadInput, match="has 9 images, and the shards have 10"):
        FeatureStore.open(folder)

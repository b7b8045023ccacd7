"""Writing a feature store: shards that appear whole or not at all, then the index and the manifest around them."""

import json
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from qure.features.store import FORMAT, INDEX, MANIFEST, TENSOR, shard_name
from qure.files import atomic_file, atomic_folder, file_digest, fingerprint, write_json


@dataclass(frozen=True)
class StoreIdentity:
    """What all shares of one store have in common; shares that differ in any of it are not merged.

    Attributes:
        vision_fingerprint: of the vision tower and image preparation.
        images_fingerprint: of the whole image list.
        images: length of that list.
        dtype: of the stored numbers.
        tokens, width: shape of one image's features.
        shard_images: images a shard.
    """

    vision_fingerprint: str
    images_fingerprint: str
    images: int
    dtype: str
    tokens: int
    width: int
    shard_images: int


@dataclass(frozen=True)
class Shard:
    """One shard on disk.

    Attributes:
        number: its place in the whole list.
        file: where it lies.
        rows: [id, sha256 of the image file] of its rows.
        sha256: of the file, where it is known already.
    """

    number: int
    file: Path
    rows: list[list[str]]
    sha256: str | None = None


def write_shard(file: Path, features: torch.Tensor, rows: Sequence[Sequence[str]]) -> None:
    """Writes one shard atomically, with what it holds in its header."""
    with atomic_file(file) as temporary:
        save_file({TENSOR: features.contiguous()}, temporary, metadata={"images": json.dumps(list(rows))})


def read_shard_rows(file: Path) -> list[list[str]] | None:
    """[id, sha256] of a shard's rows; None when there is no such file or it cannot be read."""
    try:
        with safe_open(file, framework="pt", device="cpu") as stream:
            rows: list[list[str]] = json.loads(stream.metadata()["images"])
            return rows if stream.get_slice(TENSOR).get_shape()[0] == len(rows) else None
    except (SafetensorError, OSError, KeyError, TypeError, json.JSONDecodeError):
        return None


def write_store(
    output: Path, identity: StoreIdentity, shards: Sequence[Shard], *, share: tuple[int, int]
) -> dict[str, Any]:
    """Puts shards together to a store, atomically; files are linked where the file system allows, else copied.

    Returns:
        the manifest.
    """
    index = make_index(shards)
    manifest = _manifest(identity, shards, index, share)
    with atomic_folder(output) as temporary:
        for shard in shards:
            link_or_copy(shard.file, temporary / shard_name(shard.number))
        index.to_parquet(temporary / INDEX, index=False)
        write_json(temporary / MANIFEST, manifest)
    return manifest


def make_index(shards: Sequence[Shard]) -> pd.DataFrame:
    """id, shard, row, sha256 of every image, sorted by id."""
    entries = [
        (image_id, shard.number, row, digest) for shard in shards for row, (image_id, digest) in enumerate(shard.rows)
    ]
    index = pd.DataFrame(sorted(entries), columns=["id", "shard", "row", "sha256"])
    return index.astype({"id": object, "shard": "int32", "row": "int32", "sha256": object})


def link_or_copy(source: Path, target: Path) -> None:
    """A hard link, or a copy where links are not possible (another file system)."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _manifest(
    identity: StoreIdentity, shards: Sequence[Shard], index: pd.DataFrame, share: tuple[int, int]
) -> dict[str, Any]:
    content = index[["id", "sha256"]].to_numpy().tolist()
    covered: Mapping[str, Any] = {
        "vision_fingerprint": identity.vision_fingerprint,
        "dtype": identity.dtype,
        "content": content,
    }
    return {
        "format": FORMAT,
        "fingerprint": fingerprint(covered),
        **asdict(identity),
        "share": list(share),
        "shards": {
            shard_name(shard.number): {
                "rows": len(shard.rows),
                "bytes": shard.file.stat().st_size,
                "sha256": shard.sha256 or file_digest(shard.file),
            }
            for shard in sorted(shards, key=lambda shard: shard.number)
        },
    }

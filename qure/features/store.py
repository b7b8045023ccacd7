"""Reading a feature store: a folder of safetensors shards, a Parquet index and a manifest.

    manifest.json            fingerprint, vision_fingerprint, dtype, shape, shards with size and digest
    index.parquet            id, shard, row, sha256 (of the image file); sorted by id
    shard-00000.safetensors  tensor `features` (images, tokens, width)

The fingerprint covers the vision tower, the image preparation, the dtype and the content of every image, so features
of another backbone or of other data cannot be taken for the wanted ones.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError, safe_open

from qure.errors import BadInput
from qure.features.memory import available_device_bytes, available_host_bytes
from qure.files import read_json, read_parquet
from qure.models.precision import DTYPES

MANIFEST, INDEX, TENSOR = "manifest.json", "index.parquet", "features"
FORMAT = 1

Hold = Literal["auto", "device", "memory", "disk"]

_AGAIN = "Compute the features again: qure precompute"


class FeatureStore:
    """Features by row number. Shards are memory-mapped: opening is instant, rows are read when asked for.

    Attributes:
        folder: where it lies.
        ids: image ids in row order (sorted).
        digests: SHA-256 of the image files, in the same order.
        fingerprint: of everything in it.
        vision_fingerprint: of the vision tower and preparation it was computed with.
        images_fingerprint: of the image list it was computed from (`qure.features.images`).
        dtype: of the stored numbers.
        shape: (tokens, width).
    """

    def __init__(self, folder: Path, manifest: dict[str, Any], index: pd.DataFrame) -> None:
        self.folder = folder
        self.ids: tuple[str, ...] = tuple(index["id"])
        self.digests: tuple[str, ...] = tuple(index["sha256"])
        self.fingerprint: str = manifest["fingerprint"]
        self.vision_fingerprint: str = manifest["vision_fingerprint"]
        self.images_fingerprint: str = manifest["images_fingerprint"]
        self.dtype = DTYPES[manifest["dtype"]]
        self.shape: tuple[int, int] = (manifest["tokens"], manifest["width"])
        self._manifest = manifest
        self._lookup = pd.Index(index["id"])
        names = sorted(manifest["shards"])
        numbers = {shard_number(name): position for position, name in enumerate(names)}
        self._shard_of = index["shard"].map(numbers).to_numpy(dtype=np.int64)
        self._row_of = index["row"].to_numpy(dtype=np.int64)
        self._shards = [self._map(name) for name in names]
        self._held: torch.Tensor | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        expected_vision_fingerprint: str | None = None,
        *,
        expected_images_fingerprint: str | None = None,
    ) -> "FeatureStore":
        """Opens a store and checks that it is whole and the wanted one.

        Args:
            folder: what `precompute` or `collect` wrote.
            expected_vision_fingerprint: `QureModel.vision_fingerprint` of the model that will read it.
            expected_images_fingerprint: `qure.features.images.images_fingerprint` of the data as it is now.

        Raises:
            BadInput: a file is missing or cut off, or a fingerprint differs (both are named).
        """
        folder = Path(folder)
        manifest = read_manifest(folder)
        _compare(folder, "vision_fingerprint", "another backbone", manifest, expected_vision_fingerprint)
        _compare(folder, "images_fingerprint", "other images", manifest, expected_images_fingerprint)
        for name, facts in manifest["shards"].items():
            file = folder / name
            if not file.is_file():
                raise BadInput("a shard of the feature store is missing", file=file, remedy=_AGAIN)
            if file.stat().st_size != facts["bytes"]:
                raise BadInput(f"{file.stat().st_size} bytes, expected {facts['bytes']}", file=file, remedy=_AGAIN)
        index = read_index(folder)
        _check_index(folder, manifest, index)
        return cls(folder, manifest, index)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def nbytes(self) -> int:
        """Size of all features in memory."""
        return len(self) * self.shape[0] * self.shape[1] * self.dtype.itemsize

    def rows(self, ids: Sequence[str]) -> npt.NDArray[np.int64]:
        """Row numbers of images, int64 (len(ids),).

        Raises:
            BadInput: an image has no features here; names it.
        """
        found = self._lookup.get_indexer(pd.Index(list(ids), dtype=object)).astype(np.int64)
        if (found < 0).any():
            missing = [image_id for image_id, row in zip(ids, found, strict=True) if row < 0]
            more = len(missing) - 1
            raise BadInput(
                f"no features of image {missing[0]!r}"
                + (f" and {more} other{'s' if more > 1 else ''}" if more else ""),
                file=self.folder,
                remedy="The image is missing in data/ or was excluded by validation; " + _AGAIN.lower(),
            )
        return found

    def read(self, rows: npt.NDArray[np.int64] | Sequence[int] | torch.Tensor) -> torch.Tensor:
        """Features by row number, in the order asked for; repeated rows are fine.

        Returns:
            (len(rows), tokens, width) in the stored dtype, on the device that holds them (CPU unless `hold` says
            otherwise).
        """
        wanted = torch.as_tensor(rows, dtype=torch.int64)
        if self._held is not None:
            return self._held.index_select(0, wanted.to(self._held.device))
        numbers = wanted.cpu().numpy()
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"rows {numbers.min()}..{numbers.max()} of a store with {len(self)} rows")
        result = torch.empty(len(numbers), *self.shape, dtype=self.dtype)
        shards, within = self._shard_of[numbers], self._row_of[numbers]
        for shard in np.unique(shards):
            places = np.flatnonzero(shards == shard)
            result[torch.from_numpy(places)] = self._shards[shard][torch.from_numpy(within[places])]
        return result

    def hold(self, where: Hold | torch.device = "auto", device: torch.device | str = "cpu") -> "FeatureStore":
        """Decides where `read` takes features from, and returns the store itself.

        Args:
            where: "disk" (memory-mapped), "memory" (host), "device" (the accelerator; a torch.device does too) or
                "auto": the nearest of these that the features fill by less than half.
            device: the accelerator meant by "device" and "auto".
        """
        if isinstance(where, torch.device):
            where, device = "device", where
        device = torch.device(device)
        place = self._nearest_place(device) if where == "auto" else where
        if place == "disk":
            self._held = None
        else:
            self._held = self._copied_to(device if place == "device" else torch.device("cpu"))
        return self

    @property
    def table(self) -> torch.Tensor | None:
        """All features (images, tokens, width) where a device's memory holds them; None: `read` copies them there."""
        return self._held if self._held is not None and self._held.device.type != "cpu" else None

    @property
    def held(self) -> str:
        """Where `read` takes features from: "disk" or a device's name."""
        return "disk" if self._held is None else str(self._held.device)

    def _nearest_place(self, device: torch.device) -> Hold:
        if device.type != "cpu" and self.nbytes < available_device_bytes(device) // 2:
            return "device"
        return "memory" if self.nbytes < available_host_bytes() // 2 else "disk"

    def _copied_to(self, device: torch.device) -> torch.Tensor:
        held = torch.empty(len(self), *self.shape, dtype=self.dtype, device=device)
        for shard, features in enumerate(self._shards):
            rows = np.flatnonzero(self._shard_of == shard)
            held[torch.from_numpy(rows).to(device)] = features[torch.from_numpy(self._row_of[rows])].to(device)
        return held

    def _map(self, name: str) -> torch.Tensor:
        file = self.folder / name
        try:
            with safe_open(file, framework="pt", device="cpu") as stream:
                features: torch.Tensor = stream.get_tensor(TENSOR)  # a view of the mapped file: nothing is read yet
        except (SafetensorError, OSError) as error:
            raise BadInput(f"not a readable shard: {error}", file=file, remedy=_AGAIN) from None
        expected = (self._manifest["shards"][name]["rows"], *self.shape)
        if tuple(features.shape) != expected or features.dtype != self.dtype:
            raise BadInput(
                f"holds {features.dtype} {list(features.shape)}, expected {self.dtype} {list(expected)}",
                file=file,
                remedy=_AGAIN,
            )
        return features


#: A shard's name, which can lead nowhere but into the store's own folder.
_ShardName = Annotated[str, Field(pattern=r"^shard-\d{5,9}\.safetensors$")]


class _Shard(BaseModel):
    """What a manifest says of a shard."""

    model_config = ConfigDict(strict=True)

    rows: int = Field(ge=0)
    bytes: int = Field(ge=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")


class _Manifest(BaseModel):
    """What a manifest must say; it may say more."""

    model_config = ConfigDict(strict=True)

    fingerprint: str = Field(min_length=1)
    vision_fingerprint: str = Field(min_length=1)
    images_fingerprint: str = Field(min_length=1)
    dtype: Literal["fp32", "fp16", "bf16"]
    tokens: int = Field(ge=1)
    width: int = Field(ge=1)
    images: int = Field(ge=0)
    shard_images: int = Field(ge=1)
    share: Annotated[list[int], Field(min_length=2, max_length=2)]
    shards: dict[_ShardName, _Shard]


def read_manifest(folder: Path) -> dict[str, Any]:
    """A store's manifest, every field of which that is read is of its type and range.

    Raises:
        BadInput: no store there, or one of another format; names the field.
    """
    file = Path(folder) / MANIFEST
    manifest: dict[str, Any] = read_json(file, remedy=_AGAIN)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise BadInput("not the manifest of a feature store", file=file, remedy=_AGAIN)
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "[key]")
        raise BadInput(first["msg"], file=file, field=field, remedy=_AGAIN) from None
    return manifest


def read_index(folder: Path) -> pd.DataFrame:
    """A store's index: id, shard, row, sha256."""
    file = Path(folder) / INDEX
    index = read_parquet(file, columns=["id", "shard", "row", "sha256"], remedy=_AGAIN)
    texts = all(isinstance(one, str) for name in ("id", "sha256") for one in index[name].dropna())
    if not texts or not all(pd.api.types.is_integer_dtype(index[name]) for name in ("shard", "row")):
        raise BadInput("ids and digests must be texts, shards and rows whole numbers", file=file, remedy=_AGAIN)
    if index.isna().any(axis=None) or index["id"].duplicated().any():
        raise BadInput("has an empty cell, or an image twice", file=file, remedy=_AGAIN)
    return index


def shard_name(number: int) -> str:
    """A shard's file name.

    >>> shard_name(7)
    'shard-00007.safetensors'
    """
    return f"shard-{number:05d}.safetensors"


def shard_number(name: str) -> int:
    """The inverse of `shard_name`.

    >>> shard_number("shard-00007.safetensors")
    7
    """
    return int(name.removeprefix("shard-").removesuffix(".safetensors"))


def _check_index(folder: Path, manifest: dict[str, Any], index: pd.DataFrame) -> None:
    """Refuses an index whose rows are not those of the shards."""
    rows = {shard_number(name): facts["rows"] for name, facts in manifest["shards"].items()}
    held = index["shard"].map(rows)
    outside = held.isna() | (index["row"] < 0) | (index["row"] >= held)
    if outside.any():
        place = int(np.flatnonzero(outside)[0])
        raise BadInput(
            f"image {index['id'].iloc[place]!r} is in row {index['row'].iloc[place]} of shard "
            f"{index['shard'].iloc[place]}, which the manifest does not have",
            file=folder / INDEX,
            remedy=_AGAIN,
        )
    shared = index.duplicated(["shard", "row"])
    if shared.any():
        place = int(np.flatnonzero(shared)[0])
        raise BadInput(
            f"image {index['id'].iloc[place]!r} is in a row that another image has", file=folder / INDEX, remedy=_AGAIN
        )
    if len(index) != sum(rows.values()):
        raise BadInput(
            f"has {len(index)} images, and the shards have {sum(rows.values())}", file=folder / INDEX, remedy=_AGAIN
        )


def _compare(folder: Path, field: str, of_what: str, manifest: dict[str, Any], expected: str | None) -> None:
    if expected is not None and manifest[field] != expected:
        raise BadInput(
            f"these features are of {of_what}: {field} is {manifest[field]}, expected {expected}",
            file=folder / MANIFEST,
            field=field,
            remedy=_AGAIN,
        )

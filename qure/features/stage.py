"""The precompute stage: every image once through the frozen vision tower.

The sorted image list is cut into shards of fixed size. Share (i, n) computes the shards i, i + n, i + 2n, ..., so that
n parallel runs followed by `collect` write the same bytes as one run, and a killed run goes on behind its last
finished shard.
"""

import hashlib
import logging
import shutil
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import torch

from qure.config import Settings
from qure.datasets.image_store import ImageStore
from qure.datasets.validated import ValidatedData, require_same_images, require_validated
from qure.errors import BadInput
from qure.features.computing import compute_features
from qure.features.images import images_fingerprint
from qure.features.preparing import preparing
from qure.features.store import INDEX, MANIFEST, read_index, read_manifest, shard_name, shard_number
from qure.features.writing import Shard, StoreIdentity, read_shard_rows, write_shard, write_store
from qure.files import file_digest, fingerprint
from qure.models.manifest import read_manifest as read_model_manifest
from qure.models.model import QureModel
from qure.models.precision import default_device
from qure.models.threads import suited_threads
from qure.progress import counted, progress_bar
from qure.scratch import alone
from qure.tracking import SilentRun, data_fingerprint, pipeline_run_id, stage_run, tracking_uri

logger = logging.getLogger(__name__)


def precompute(
    settings: Settings,
    image_set: str,
    *,
    data: Path,
    backbone: Path,
    output: Path,
    validation: Path | None = None,
    shard: tuple[int, int] = (0, 1),
    device: torch.device | str | None = None,
) -> dict[str, Any]:
    """Computes an image set's feature store, or one share of it.

    Finished shards are kept beside `output` (in `.{name}.work`) until the store is whole.

    Args:
        settings: `features` and `tracking` are read.
        image_set: fashioniq, cirr or circo.
        data: data root.
        backbone: model folder whose vision tower is used.
        output: the store's folder, replaced when it exists.
        validation: validation folder: its result must be a success and of this data, and what it excludes is left out.
            None: the caller vouches for the data.
        shard: (i, n): this run computes share i of n.
        device: where; the GPU when there is one.

    Returns:
        images, computed and reused images, seconds, images_per_second, bytes, fingerprint.

    Raises:
        BadInput: data that has not passed validation or has changed since, an image that cannot be decoded (named), or
            an argument that is wrong.
        StageFailed: an image's features are not finite in the chosen dtype (named); or another process computes the
            same `output`.
    """
    number, shares = shard
    if not 0 <= number < shares:
        raise BadInput(f"shard {number} of {shares}: the first number must be 0 to {shares - 1}", field="shard")
    passed = require_validated(validation, data, [image_set])
    with alone(output), _run(settings, image_set, Path(data), Path(backbone), shard) as run:
        summary = _compute(settings, image_set, passed, backbone, output, shard, device or default_device())
        run.log_metrics({name: value for name, value in summary.items() if not isinstance(value, str)})
        run.set_tags({"qure.features": summary["fingerprint"]})
    return summary


def collect(outputs: Sequence[Path], output: Path) -> dict[str, Any]:
    """Merges the shares of parallel `precompute` runs to one store, equal to that of a single run.

    A store that was made of these shares already is left alone: somebody may be reading it.

    Raises:
        BadInput: a share is missing, given twice, or was computed from other images, weights or settings.
    """
    if not outputs:
        raise BadInput("no shares to merge")
    manifests = [read_manifest(folder) for folder in outputs]
    identities = [
        StoreIdentity(**{key: found[key] for key in StoreIdentity.__dataclass_fields__}) for found in manifests
    ]
    for folder, identity in zip(outputs, identities, strict=True):
        differing = [key for key, value in asdict(identity).items() if value != asdict(identities[0])[key]]
        if differing:
            field = differing[0]
            raise BadInput(
                f"{field} is {asdict(identity)[field]}, that of {outputs[0]} is {asdict(identities[0])[field]}",
                file=folder,
                field=field,
                remedy="Compute all shares from the same data, backbone and settings",
            )
    _check_shares(outputs, manifests)
    if (present := _merged_before(output, manifests)) is not None:
        return _summary(present, reused=0, seconds=None)
    shards = [shard for folder, manifest in zip(outputs, manifests, strict=True) for shard in _shards(folder, manifest)]
    manifest = write_store(output, identities[0], sorted(shards, key=lambda one: one.number), share=(0, 1))
    return _summary(manifest, reused=0, seconds=None)


def _compute(
    settings: Settings,
    image_set: str,
    data: ValidatedData,
    backbone: Path,
    output: Path,
    shard: tuple[int, int],
    device: torch.device | str,
) -> dict[str, Any]:
    begun, (number, shares) = time.monotonic(), shard
    model = QureModel.load(backbone, device)
    images, ids, validated = data.images(image_set), data.passed_images(image_set), data.digests(image_set)
    if not ids:
        raise BadInput(f"image set {image_set!r} holds no images", file=data.root)
    identity = _identity(settings, model, images, ids)
    blocks = [ids[start : start + identity.shard_images] for start in range(0, len(ids), identity.shard_images)]
    mine = list(enumerate(blocks))[number::shares]
    work = Path(output).parent / f".{Path(output).name}.work"
    shards: list[Future[Shard]] = []
    reused = 0
    # Beside a GPU images are prepared in processes, which outlive a shard; a thread writes and hashes the shard before.
    preparation = preparing(images, model.config.vision.image_size, processes=model.device.type == "cuda")
    writing = ThreadPoolExecutor(1, "write-shards")
    with suited_threads(model), progress_bar() as bar, preparation as batches, writing as writer:
        shown = bar.add_task(f"features of {image_set}", total=sum(len(block) for _, block in mine), note="")
        for block_number, block in mine:
            file = work / f"{_key(identity, images, block)}.{shard_name(block_number)}"
            rows = _finished_rows(file, images, block)
            if rows is None:
                advance = partial(bar.advance, shown)
                features, digests = compute_features(model, images, block, settings.features, advance, batches)
                rows = [[image_id, digest] for image_id, digest in zip(block, digests, strict=True)]
                if shards:
                    shards[-1].result()  # two shards in memory, not more; and its error, if it had one
                shards.append(writer.submit(_written, block_number, file, features, rows))
            else:
                reused += len(rows)
                bar.advance(shown, len(rows))
                shards.append(writer.submit(Shard, block_number, file, rows))
            require_same_images(((image, digest) for image, digest in rows), validated, file=data.root)
    manifest = write_store(output, identity, [shard.result() for shard in shards], share=(number, shares))
    shutil.rmtree(work, ignore_errors=True)
    return _summary(manifest, reused, time.monotonic() - begun)


def _written(number: int, file: Path, features: torch.Tensor, rows: list[list[str]]) -> Shard:
    write_shard(file, features, rows)
    return Shard(number, file, rows, file_digest(file))


def _run(
    settings: Settings, image_set: str, data: Path, backbone: Path, shard: tuple[int, int]
) -> AbstractContextManager[SilentRun]:
    """The share's MLflow run."""
    if tracking_uri(settings.tracking) is None:
        return nullcontext(SilentRun())  # without hashing the data for nobody
    of_data, (number, shares) = data_fingerprint(data), shard
    return stage_run(
        settings.tracking,
        stage="precompute",
        parameters={"features": settings.features.model_dump(mode="json"), "image_set": image_set, "shares": shares},
        inputs={"data": of_data, "backbone": str(read_model_manifest(backbone)["fingerprint"])},
        run_key=image_set if shares == 1 else f"{image_set} {number}-of-{shares}",
        pipeline=pipeline_run_id(settings.resolved(), of_data),
    )


def _identity(settings: Settings, model: QureModel, images: ImageStore, ids: Sequence[str]) -> StoreIdentity:
    vision = model.config.vision
    assert model.vision_fingerprint is not None  # set by load
    return StoreIdentity(
        vision_fingerprint=model.vision_fingerprint,
        images_fingerprint=images_fingerprint(images, ids),
        images=len(ids),
        dtype=settings.features.dtype,
        tokens=vision.tokens,
        width=vision.width,
        shard_images=settings.features.shard_images,
    )


def _key(identity: StoreIdentity, images: ImageStore, block: Sequence[str]) -> str:
    """Names an unfinished run's shard after what it depends on, so that other settings never find it."""
    content = [identity.vision_fingerprint, identity.dtype, images_fingerprint(images, block)]
    return fingerprint(content)[:16]


def _finished_rows(file: Path, images: ImageStore, block: Sequence[str]) -> list[list[str]] | None:
    """Rows of a shard that an earlier run has finished, if the images still have the same bytes."""
    rows = read_shard_rows(file)
    if rows is None or [image_id for image_id, _ in rows] != list(block):
        return None
    unchanged = all(hashlib.sha256(images.read(image_id)).hexdigest() == digest for image_id, digest in rows)
    return rows if unchanged else None


def _merged_before(output: Path, shares: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """The manifest of a whole store that was made of these shares; None where there is none."""
    if not (output / MANIFEST).is_file():
        return None
    try:
        present = read_manifest(output)
    except BadInput:
        return None
    shards = {name: facts for share in shares for name, facts in share["shards"].items()}
    same = all(present[key] == shares[0][key] for key in StoreIdentity.__dataclass_fields__)
    if not same or present["share"] != [0, 1] or present["shards"] != shards:
        return None
    whole = all(_size(output / name) == facts["bytes"] for name, facts in shards.items())
    return present if whole and (output / INDEX).is_file() else None


def _size(file: Path) -> int:
    return file.stat().st_size if file.is_file() else -1


def _check_shares(outputs: Sequence[Path], manifests: Sequence[dict[str, Any]]) -> None:
    total = manifests[0]["share"][1]
    seen: dict[int, Path] = {}
    for folder, manifest in zip(outputs, manifests, strict=True):
        number, shares = manifest["share"]
        if shares != total:
            raise BadInput(f"share {number} of {shares}, {outputs[0]} is one of {total}", file=folder, field="share")
        if number in seen:
            raise BadInput(f"share {number} of {shares} is also {seen[number]}", file=folder, field="share")
        seen[number] = folder
    missing = sorted(set(range(total)) - seen.keys())
    if missing:
        raise BadInput(f"shares {missing} of {total} are missing", remedy="Run precompute for them first")


def _shards(folder: Path, manifest: dict[str, Any]) -> list[Shard]:
    index = read_index(folder)
    shards = []
    for name in manifest["shards"]:
        number = shard_number(name)
        rows = index[index["shard"] == number].sort_values("row")[["id", "sha256"]].to_numpy().tolist()
        # Its digest is known since it was written.
        shards.append(Shard(number, Path(folder) / name, rows, manifest["shards"][name]["sha256"]))
    return shards


def _summary(manifest: dict[str, Any], reused: int, seconds: float | None) -> dict[str, Any]:
    images = sum(facts["rows"] for facts in manifest["shards"].values())
    summary = {
        "images": images,
        "reused_images": reused,
        "bytes": sum(facts["bytes"] for facts in manifest["shards"].values()),
        "fingerprint": manifest["fingerprint"],
    }
    if seconds is not None:
        summary |= {"seconds": round(seconds, 3), "images_per_second": round((images - reused) / seconds, 1)}
    before = f", {reused:,} of them from an earlier run" if reused else ""
    logger.info("the features of %s are there%s: %.0f MB", counted(images, "image"), before, summary["bytes"] / 1e6)
    return summary

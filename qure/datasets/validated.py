"""What passed validation, and whether the data is still that: every stage asks before it computes anything.

Besides its verdict a validation folder holds the digest of every annotation file (result.json, "annotations") and the
size and digest of every image that annotations list (images.parquet). Annotation files are compared by digest, images
by size, which reads none of them; a stage that has the images' digests anyway compares those too.
"""

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import Any

from qure.benchmarks import get_benchmark
from qure.datasets.ids import shown
from qure.datasets.image_store import ImageStore, open_images
from qure.errors import BadInput
from qure.files import file_digest, read_json

RESULT, IMAGES = "result.json", "images.parquet"
COLUMNS = ("image_set", "image", "bytes", "sha256")

_AGAIN = "Run 'qure validate' again: nothing is computed from data that did not pass"


def require_validated(
    validation: Path | None, data: Path | None = None, image_sets: Collection[str] | None = None
) -> None:
    """Refuses data that has not passed validation, or is no longer what passed.

    Args:
        validation: validation folder; None: the caller vouches for the data.
        data: the data root as it is now; None looks at the verdict alone.
        image_sets: whose images are compared; None for all that were validated.

    Raises:
        BadInput: no result, one that says the data did not pass, or data that has changed since (what has is named).
    """
    if validation is None:
        return
    file = Path(validation) / RESULT
    result = read_json(file, remedy="Run 'qure validate' first: training starts on validated data alone")
    if not isinstance(result, dict) or result.get("success") is not True:
        raise BadInput(
            "the data did not pass validation",
            file=file,
            field="success",
            remedy="Mend the rows listed in bad_rows.csv, or tolerate them by validation.tolerate, and validate again",
        )
    if data is not None:
        _compare_annotations(Path(data), result.get("annotations"), file)
        _compare_images(Path(data), Path(validation), image_sets)


def validated_digests(validation: Path | None, image_set: str) -> dict[str, str | None] | None:
    """Image id -> SHA-256 of every image of a set that validation found; None without a validation folder.

    The digest is None for a file that was refused unread.

    Raises:
        BadInput: the folder holds no list of images.
    """
    if validation is None:
        return None
    return {
        image: digest
        for name, image, size, digest in _read_images(Path(validation))
        if name == image_set and size is not None
    }


def require_same_images(
    digests: Iterable[tuple[str, str]], validated: Mapping[str, str | None] | None, *, file: Path, remedy: str = _AGAIN
) -> None:
    """Refuses images whose content is not what was validated.

    Args:
        digests: image id and SHA-256 of what a stage has read.
        validated: from `validated_digests`; None compares nothing.
        file: where the images, or what was made of them, lie.
        remedy: what the user can do about it.

    Raises:
        BadInput: names the first image, and both digests.
    """
    if validated is None:
        return
    for image, digest in digests:
        wanted = validated.get(image)
        if wanted is not None and wanted != digest:
            raise BadInput(
                f"image {shown(image)} is not the one that was validated: its SHA-256 is {digest}, was {wanted}",
                file=file,
                remedy=remedy,
            )


def write_images(folder: Path, rows: Iterable[tuple[str, str, int | None, str | None]]) -> None:
    """Writes a validation folder's list of images.

    Args:
        folder: the validation folder.
        rows: image set, image id, size of its file (None: there is none), SHA-256 (None: it was not read).
    """
    import pandas as pd

    ordered = sorted(rows, key=lambda row: (row[0], row[1]))
    table = pd.DataFrame(ordered, columns=list(COLUMNS))
    table = table.astype({"image_set": object, "image": object, "bytes": "Int64", "sha256": object})
    table.to_parquet(folder / IMAGES, index=False)


def _compare_annotations(data: Path, digests: Any, result: Path) -> None:
    if not isinstance(digests, dict):
        raise BadInput("the result does not say which files passed", file=result, field="annotations", remedy=_AGAIN)
    for name, digest in digests.items():
        path = data / name
        present = file_digest(path) if path.is_file() else None
        if present != digest:
            how = "is gone" if present is None else "is new" if digest is None else "has changed"
            raise BadInput(f"the file {how} since the data was validated", file=path, remedy=_AGAIN)


def _compare_images(data: Path, validation: Path, image_sets: Collection[str] | None) -> None:
    listed: dict[str, list[tuple[str, int | None]]] = {}
    for image_set, image, size, _ in _read_images(validation):
        if image_sets is None or image_set in image_sets:
            listed.setdefault(image_set, []).append((image, size))
    for image_set, images in listed.items():
        store = open_images(get_benchmark(image_set).root(data))
        present = {image: _size_in(store, image) for image, _ in images}
        changed = [(image, size) for image, size in images if present[image] != size]
        if changed:
            image, size = changed[0]
            others = f", and so have {len(changed) - 1} others" if changed[1:] else ""
            raise BadInput(
                f"image {shown(image)} has changed since the data was validated: "
                f"{_size(present[image])}, then {_size(size)}{others}",
                file=store.name(image) if image in store else get_benchmark(image_set).root(data),
                remedy=_AGAIN,
            )


def _size_in(store: ImageStore, image: str) -> int | None:
    try:
        return store.size(image) if image in store else None
    except BadInput:  # a link to nothing, or a file that went away just now
        return None


def _read_images(validation: Path) -> list[tuple[str, str, int | None, str | None]]:
    import pandas as pd

    file = validation / IMAGES
    try:
        table = pd.read_parquet(file, columns=list(COLUMNS))
    except (OSError, ValueError, KeyError) as error:
        problem = "the file does not exist" if not file.is_file() else f"not a readable list of images: {error}"
        raise BadInput(problem, file=file, remedy=_AGAIN) from None
    columns = [table[name].astype(object).where(table[name].notna(), None).tolist() for name in COLUMNS]
    return list(zip(*columns, strict=True))


def _size(size: int | None) -> str:
    """A size in words.

    >>> _size(3), _size(None)
    ('3 bytes', 'no file')
    """
    return "no file" if size is None else f"{size} bytes"

"""What passed validation, and whether the data is still that: every stage asks before it computes anything.

Besides its verdict a validation folder holds the digest of every annotation file (result.json, "annotations") and the
size and digest of every image that annotations list (images.parquet). Annotation files are compared by digest, images
by size, which reads none of them; a stage that has the images' digests anyway compares those too.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from qure.benchmarks import get_benchmark, image_sets, sharing_images
from qure.datasets.benchmarks import read_training
from qure.datasets.exclusions import Exclusions, exclusions_in
from qure.datasets.ids import shown
from qure.datasets.image_store import ImageStore, open_images
from qure.datasets.leakage import without_leaking
from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.files import file_digest, is_file, read_json, read_parquet

RESULT, IMAGES = "result.json", "images.parquet"
COLUMNS = ("image_set", "image", "bytes", "sha256")

_AGAIN = "Run 'qure validate' again: nothing is computed from data that did not pass"


class ValidatedData:
    """A data root as it is now, and what validation found in it. What is read for it is read once, however often asked.

    Args:
        data: the data root.
        validation: validation folder; None: the caller vouches for the data, and nothing is left out.

    Attributes:
        root: the data root.
        validation: the validation folder, or None.
    """

    def __init__(self, data: Path, validation: Path | None = None) -> None:
        self.root = Path(data)
        self.validation = None if validation is None else Path(validation)
        self._images: dict[str, ImageStore] = {}

    def require_unchanged(self, image_sets: Collection[str] | None = None) -> None:
        """Refuses data that has not passed validation, or is no longer what passed.

        Args:
            image_sets: whose images are compared; None for all that were validated.

        Raises:
            BadInput: no result, one that says the data did not pass, or data that has changed since (what has is
                named).
        """
        if self.validation is None:
            return
        _require_success(self._result, self.validation / RESULT)
        _compare_annotations(self.root, self._result.get("annotations"), self.validation / RESULT)
        self._compare_images(image_sets)

    def images(self, image_set: str) -> ImageStore:
        """An image set's files.

        Raises:
            BadInput: no such image set; or as `open_images`.
        """
        if image_set not in image_sets():
            raise BadInput(f"no image set {image_set!r}; there are {', '.join(image_sets())}")
        if image_set not in self._images:
            self._images[image_set] = open_images(get_benchmark(image_set).root(self.root))
        return self._images[image_set]

    def exclusions(self, benchmark: str) -> Exclusions:
        """What to leave out of a benchmark: an image that is bad in one is bad in all that share it.

        Raises:
            BadInput: the validation folder's result is missing or has another shape.
        """
        if self.validation is None:
            return Exclusions()
        file, sharing = self.validation / RESULT, sharing_images(get_benchmark(benchmark).images)
        images = (exclusions_in(self._result, other, file).images for other in sharing)
        return replace(exclusions_in(self._result, benchmark, file), images=frozenset[str]().union(*images))

    def digests(self, image_set: str) -> dict[str, str | None] | None:
        """Image id -> SHA-256 of every image of a set that validation found; None without a validation folder.

        The digest is None for a file that was refused unread.

        Raises:
            BadInput: the validation folder holds no list of images.
        """
        if self.validation is None:
            return None
        rows = self._listed.get(image_set, ())
        return {image: digest for image, size, digest in rows if size is not None}

    def passed_images(self, image_set: str) -> list[str]:
        """Ids of an image set's images that passed validation, sorted; without a validation folder those of all.

        An image that no annotation file lists has not been looked at, and nothing asks for it.

        Raises:
            BadInput: as `images`; or the validation folder cannot be read.
        """
        ids = self.images(image_set).ids
        excluded, passed = self.exclusions(image_set).images, self.digests(image_set)
        return sorted(one for one in ids if one not in excluded and (passed is None or one in passed))

    def training(
        self, training_set: str, *, exclude_leaked: bool = False
    ) -> tuple[list[Triplet], dict[str, list[str]], Exclusions]:
        """What is trained on, without what validation excludes.

        Args:
            training_set: fashioniq or cirr.
            exclude_leaked: also leave out the triplets that name an image of a split that judges.

        Returns:
            the triplets, image ids of each category's corpus, and what was left out.

        Raises:
            BadInput: an annotation file or the validation folder's result is missing or malformed.
        """
        exclusions = self.exclusions(training_set)
        if exclude_leaked:
            exclusions = without_leaking(training_set, self.root, exclusions)
        return *read_training(training_set, self.root, exclusions), exclusions

    @cached_property
    def _result(self) -> Any:
        assert self.validation is not None
        remedy = "Run 'qure validate' first: training starts on validated data alone"
        return read_json(self.validation / RESULT, remedy=remedy)

    @cached_property
    def _listed(self) -> dict[str, list[tuple[str, int | None, str | None]]]:
        """Image set -> id, size and digest of its images, in the file's order."""
        assert self.validation is not None
        listed: dict[str, list[tuple[str, int | None, str | None]]] = {}
        for image_set, image, size, digest in _read_images(self.validation):
            listed.setdefault(image_set, []).append((image, size, digest))
        return listed

    def _compare_images(self, image_sets: Collection[str] | None) -> None:
        for image_set, listed in self._listed.items():
            if image_sets is not None and image_set not in image_sets:
                continue
            store = self.images(image_set)
            present = {image: _size_in(store, image) for image, _, _ in listed}
            changed = [(image, size) for image, size, _ in listed if present[image] != size]
            if changed:
                image, size = changed[0]
                more = len(changed) - 1
                others = {0: "", 1: ", and so has 1 other"}.get(more, f", and so have {more} others")
                raise BadInput(
                    f"image {shown(image)} has changed since the data was validated: "
                    f"{_size(present[image])}, then {_size(size)}{others}",
                    file=store.name(image) if image in store else get_benchmark(image_set).root(self.root),
                    remedy=_AGAIN,
                )


def require_validated(validation: Path | None, data: Path, image_sets: Collection[str] | None = None) -> ValidatedData:
    """The data, opened, unless it has not passed validation or is no longer what passed: what every stage begins with.

    Args:
        validation: validation folder; None: the caller vouches for the data.
        data: the data root as it is now.
        image_sets: whose images are compared; None for all that were validated.

    Raises:
        BadInput: as `ValidatedData.require_unchanged`.
    """
    found = ValidatedData(data, validation)
    found.require_unchanged(image_sets)
    return found


def require_same_images(
    digests: Iterable[tuple[str, str]], validated: Mapping[str, str | None] | None, *, file: Path, remedy: str = _AGAIN
) -> None:
    """Refuses images whose content is not what was validated.

    Args:
        digests: image id and SHA-256 of what a stage has read.
        validated: from `ValidatedData.digests`; None compares nothing.
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


def _require_success(result: Any, file: Path) -> None:
    if not isinstance(result, dict) or result.get("success") is not True:
        raise BadInput(
            "the data did not pass validation",
            file=file,
            field="success",
            remedy="Mend the rows listed in bad_rows.csv, or tolerate them by validation.tolerate, and validate again",
        )


def _compare_annotations(data: Path, digests: Any, result: Path) -> None:
    if not isinstance(digests, dict):
        raise BadInput("the result does not say which files passed", file=result, field="annotations", remedy=_AGAIN)
    for name, digest in digests.items():
        path = data / name
        present = file_digest(path) if is_file(path) else None
        if present != digest:
            how = "is gone" if present is None else "is new" if digest is None else "has changed"
            raise BadInput(f"the file {how} since the data was validated", file=path, remedy=_AGAIN)


def _size_in(store: ImageStore, image: str) -> int | None:
    try:
        return store.size(image) if image in store else None
    except BadInput:  # a link to nothing, or a file that went away just now
        return None


def _read_images(validation: Path) -> list[tuple[str, str, int | None, str | None]]:
    file = validation / IMAGES
    table = read_parquet(file, columns=COLUMNS, remedy=_AGAIN)
    columns = [table[name].astype(object).where(table[name].notna(), None).tolist() for name in COLUMNS]
    rows = list(zip(*columns, strict=True))
    for place, (image_set, image, size, digest) in enumerate(rows):
        known = isinstance(image_set, str) and image_set in image_sets() and isinstance(image, str)
        if not known or not isinstance(size, int | None) or not isinstance(digest, str | None):
            raise BadInput("not a row of a list of images", file=file, row=place, remedy=_AGAIN)
    return rows


def _size(size: int | None) -> str:
    """A size in words.

    >>> _size(3), _size(None)
    ('3 bytes', 'no file')
    """
    return "no file" if size is None else f"{size} bytes"

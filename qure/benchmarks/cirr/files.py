"""CIRR (Liu et al., ICCV 2021), release rc2: captions/cap.rc2.{split}.json and image_splits/split.rc2.{split}.json."""

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path, PurePosixPath

from qure.datasets import checks
from qure.datasets.exclusions import Exclusions
from qure.datasets.ids import check_image_id, check_relative_path, shown
from qure.datasets.image_base import Refusal
from qure.datasets.image_folder import FolderStore, list_images
from qure.datasets.rows import Row, check_split, described, load_json, read_rows
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput

SPLITS = ("train", "val", "test1")
FIELDS = checks.FieldNames(reference="reference", target="target_hard", text="caption")

#: Where image paths may begin, in the order of looking.
BASES = ("", "images", "img_raw")

#: Rules no published CIRR file can break; test1 has one empty caption and repeated rows, so those are validation's.
REFUSED_RULES = (checks.UNKNOWN_ID,)


def read_triplets(
    root: Path,
    split: str,
    *,
    checked: bool = True,
    exclusions: Exclusions | None = None,
    known_ids: Collection[str] | None = None,
) -> list[Triplet]:
    """A split's queries in the file's order; query ids are the published pair ids.

    Args:
        root: the benchmark's folder.
        split: "train", "val", or "test1", whose targets are withheld.
        checked: refuse ids that the split file does not list (`REFUSED_RULES`).
        exclusions: rows left out before that check.
        known_ids: the ids that the split file lists, where the caller has read it.

    Raises:
        BadInput: a file is missing or malformed, a pair id occurs twice, or an id is unknown.
    """
    check_split(split, SPLITS, "CIRR")
    triplets = [_triplet(row, split) for row in read_rows(captions_path(root, split))]
    _check_unique(triplets)
    kept = exclusions.keep(triplets) if exclusions else triplets
    if checked:
        known = frozenset(image_paths(root, split) if known_ids is None else known_ids)
        checks.refuse(checks.find(kept, FIELDS, known_ids=known, rules=REFUSED_RULES))
    return kept


def read_gallery(root: Path, split: str) -> Gallery:
    """All images of a split (val 2,297, test1 2,315, train 16,939)."""
    return Gallery(f"cirr/{split}", tuple(image_paths(root, split)))


def image_paths(root: Path, split: str) -> dict[str, str]:
    """Image id -> published path without its leading "./", in the file's order.

    Raises:
        BadInput: the file is missing or malformed, or a path leaves the data folder.
    """
    path = split_path(root, split)
    value = load_json(path)
    if not isinstance(value, dict):
        raise BadInput(f"must map image ids to paths, not hold {described(value)}", file=path)
    paths = {
        check_image_id(image_id, file=path): check_relative_path(published, file=path, row=shown(image_id))
        for image_id, published in value.items()
    }
    owners: dict[str, str] = {}
    for image_id, relative in paths.items():
        if owners.setdefault(relative, image_id) != image_id:
            raise BadInput(f"path {shown(relative)} is also that of {shown(owners[relative])}", file=path, row=image_id)
    for image_id, relative in paths.items():
        if PurePosixPath(relative).stem != image_id:
            raise BadInput(f"path {shown(relative)} is that of another image", file=path, row=shown(image_id))
    return paths


def image_files(root: Path) -> FolderStore:
    """The paths of all split files, below the benchmark's folder or one of `BASES` in it."""
    published = {}
    for split in SPLITS:
        if split_path(root, split).is_file():
            published.update(image_paths(root, split))
    files: dict[str, str] = {}
    refused: dict[str, Refusal] = {}
    listings: dict[Path, set[str]] = {}
    for image_id, path in published.items():
        for base in BASES:
            relative = Path(base) / path
            if relative.parent not in listings:
                listing = list_images(root, relative.parent)
                listings[relative.parent] = set(listing.names)
                refused |= {one.file: one for one in listing.refused.values()}
            if relative.name in listings[relative.parent]:
                files[image_id] = relative.as_posix()
                break
            if relative.as_posix() in refused:
                refused[relative.as_posix()] = replace(refused[relative.as_posix()], image=image_id)
    return FolderStore(root, files, "{,images,img_raw}/{train,dev,test1}", list(refused.values()))


def split_path(root: Path, split: str) -> Path:
    """The file that lists a split's images."""
    check_split(split, SPLITS, "CIRR")
    return Path(root) / "image_splits" / f"split.rc2.{split}.json"


def captions_path(root: Path, split: str) -> Path:
    """The file that holds a split's queries."""
    return Path(root) / "captions" / f"cap.rc2.{check_split(split, SPLITS, 'CIRR')}.json"


def _triplet(row: Row, split: str) -> Triplet:
    image_set = row.part("img_set")
    reference = row.image_id("reference")
    members = image_set.image_ids("members", count=6)
    if reference not in members:
        raise image_set.error(f"the reference {shown(reference)} is not one of the six members", "members")
    withheld = split == "test1" and not row.has("target_hard")
    return Triplet(
        query_id=str(row.integer("pairid")),
        reference=reference,
        text=row.text("caption"),
        target=None if withheld else row.image_id("target_hard"),
        members=members,
        source=row.source,
        split=split,
    )


def _check_unique(triplets: list[Triplet]) -> None:
    seen: dict[str, str] = {}
    for triplet in triplets:
        if triplet.query_id in seen:
            file, row = checks.place(triplet.source)
            raise BadInput(
                f"pair id {triplet.query_id} is also that of {seen[triplet.query_id]}",
                file=file,
                row=row,
                field="pairid",
            )
        seen[triplet.query_id] = triplet.source

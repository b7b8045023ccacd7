"""CIRCO (Baldrati et al., ICCV 2023): annotations/{split}.json over COCO 2017 unlabeled images."""

from pathlib import Path

from qure.datasets import checks
from qure.datasets.exclusions import Exclusions
from qure.datasets.ids import shown
from qure.datasets.image_folder import FolderStore, images_by_name
from qure.datasets.rows import Row, check_split, load_json, read_rows
from qure.datasets.texts import shows_nothing
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput

SPLITS = ("val", "test")
FIELDS = checks.FieldNames(reference="reference_img_id", target="target_img_id", text="relative_caption")
INDEX = Path("COCO2017_unlabeled") / "annotations" / "image_info_unlabeled2017.json"
IMAGES = Path("COCO2017_unlabeled") / "unlabeled2017"

#: The text prompt of CIRCO's baselines; "$" stands where a pseudo-word would.
PROMPT = "a photo of $ that "

#: COCO file names carry twelve digits.
_MAX_ID = 10**12 - 1


def read_triplets(
    root: Path, split: str, *, checked: bool = True, exclusions: Exclusions | None = None
) -> list[Triplet]:
    """A split's queries in the file's order; `answers` holds all ground truths, the target first.

    Args:
        root: the benchmark's folder.
        split: "val", or "test", whose answers are withheld.
        checked: refuse repeated triplets, target = reference, empty text, and, where COCO's index is there, ids
            that it does not list.
        exclusions: rows left out before that check.

    Raises:
        BadInput: a file is missing or malformed, a query id occurs twice, or a rule is broken.
    """
    check_split(split, SPLITS, "CIRCO")
    rows = read_rows(annotations_path(root, split))
    triplets = [_triplet(row, split) for row in rows]
    seen: set[str] = set()
    for row, triplet in zip(rows, triplets, strict=True):
        if triplet.query_id in seen:
            raise row.error(f"query id {triplet.query_id} occurs twice", "id")
        seen.add(triplet.query_id)
    kept = exclusions.keep(triplets) if exclusions else triplets
    if checked:
        known = frozenset(read_gallery(root).ids) if has_index(root) else None
        checks.refuse(checks.find(kept, FIELDS, known_ids=known, is_empty=says_nothing))
    return kept


def read_gallery(root: Path) -> Gallery:
    """All images of COCO's index (123,403 in the public one), in its order.

    Raises:
        BadInput: the index is missing or malformed.
    """
    path = Path(root) / INDEX
    images = Row(load_json(path, remedy="Download COCO 2017's unlabeled image information there"), path, None)
    ids = []
    for index, value in enumerate(images.items("images")):
        image = Row(value, path, f"images[{index}]")
        ids.append(_image_id(image, "id", image.integer("id")))
        expected = file_name(ids[-1])
        if image.has("file_name") and image.text("file_name") != expected:
            raise image.error(f"must be {expected!r}, not {shown(image.text('file_name'))}", "file_name")
    if len(set(ids)) != len(ids):
        raise BadInput("an image id occurs twice", file=path, field="images")
    return Gallery("circo", tuple(ids))


def image_files(root: Path) -> FolderStore:
    """COCO's unlabeled images, named by twelve digits."""

    def name_problem(stem: str) -> str | None:
        named = len(stem) == 12 and stem.isdecimal() and stem.isascii()
        return None if named else "its name is not twelve digits, as COCO's are"

    return images_by_name(root, IMAGES, name_problem, lambda stem: str(int(stem)))


def has_index(root: Path) -> bool:
    """Whether COCO's index is there; without it the gallery has to come from elsewhere."""
    return (Path(root) / INDEX).is_file()


def file_name(image_id: str) -> str:
    """COCO's name for an image's file.

    >>> file_name("355099")
    '000000355099.jpg'
    """
    return f"{int(image_id):012d}.jpg"


def annotations_path(root: Path, split: str) -> Path:
    """The file that holds a split's queries."""
    return Path(root) / "annotations" / f"{check_split(split, SPLITS, 'CIRCO')}.json"


def says_nothing(text: str) -> bool:
    """Whether nothing follows the prompt.

    >>> says_nothing(PROMPT), says_nothing(PROMPT + "is red")
    (True, False)
    """
    return shows_nothing(text.removeprefix(PROMPT))


def _triplet(row: Row, split: str) -> Triplet:
    withheld = split == "test" and not row.has("target_img_id")
    target = None if withheld else _image_id(row, "target_img_id", row.integer("target_img_id"))
    return Triplet(
        query_id=str(row.integer("id")),
        reference=_image_id(row, "reference_img_id", row.integer("reference_img_id")),
        text=PROMPT + row.text("relative_caption"),
        target=target,
        answers=() if target is None else _answers(row, target),
        source=row.source,
        split=split,
    )


def _answers(row: Row, target: str) -> tuple[str, ...]:
    answers = []
    for index, value in enumerate(row.items("gt_img_ids")):
        if not isinstance(value, int) or isinstance(value, bool) or value < 0:
            raise row.error(f"must be a whole number, not {shown(value)}", f"gt_img_ids[{index}]")
        answers.append(_image_id(row, f"gt_img_ids[{index}]", value))
    if len(set(answers)) != len(answers):
        raise row.error("an image id occurs twice", "gt_img_ids")
    if target not in answers:
        raise row.error(f"the target {target} is not among the right answers", "gt_img_ids")
    if str(row.value("reference_img_id")) in answers and target != str(row.value("reference_img_id")):
        raise row.error(
            f"the reference {shown(row.value('reference_img_id'))} is among the right answers", "gt_img_ids"
        )
    return (target, *(answer for answer in answers if answer != target))


def _image_id(row: Row, field: str, value: int) -> str:
    if value > _MAX_ID:
        raise row.error(f"COCO image ids have at most twelve digits, not {shown(value)}", field)
    return str(value)

"""FashionIQ (Wu et al., CVPR 2021): captions/cap.{category}.{split}.json and image_splits/split.*.json."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from qure.datasets import checks
from qure.datasets.exclusions import Exclusions
from qure.datasets.ids import shown
from qure.datasets.rows import Row, check_split, read_id_list, read_rows
from qure.datasets.texts import shows_nothing, text_key
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput

CATEGORIES = ("dress", "shirt", "toptee")
SPLITS = ("train", "val", "test")
PROTOCOLS = ("original", "val")
FIELDS = checks.FieldNames(reference="candidate", target="target", text="captions")

#: What stands at a caption's ends and is no part of what it says.
_TRIMMED = ".?, "


def read_triplets(
    root: Path,
    split: str,
    categories: Sequence[str] = CATEGORIES,
    *,
    checked: bool = True,
    exclusions: Exclusions | None = None,
) -> list[Triplet]:
    """A split's triplets, category by category in the files' order; query ids are "{category}/{row}".

    Args:
        root: the benchmark's folder.
        split: "train", "val", or "test", whose targets are withheld.
        categories: which of `CATEGORIES`.
        checked: refuse unknown ids, repeated triplets, target = reference and empty text (`checks.RULES`).
        exclusions: rows left out before that check.

    Raises:
        BadInput: a file is missing or malformed, or a rule is broken; names file, row and field.
    """
    check_split(split, SPLITS, "FashionIQ")
    triplets: list[Triplet] = []
    for category in categories:
        rows = read_rows(captions_path(root, split, category))
        read = [_triplet(row, index, split, category) for index, row in enumerate(rows)]
        kept = exclusions.keep(read) if exclusions else read
        if checked:
            known = frozenset(split_ids(root, split, category))
            keys = {one.query_id: captions_key(*row.texts("captions", 2)) for one, row in zip(read, rows, strict=True)}
            found = checks.find(kept, FIELDS, known_ids=known, is_empty=says_nothing, alike=_key_in(keys))
            checks.refuse(found)
        triplets += kept
    return triplets


def read_gallery(root: Path, split: str, category: str, protocol: str = "original") -> Gallery:
    """The images a category's queries are ranked against.

    Protocol "original" is the whole split (val: 3,817 dress, 6,346 shirt, 5,373 toptee images); "val" is the union
    of the split's references and targets (2,628, 3,089, 2,902), which many papers report.

    Raises:
        BadInput: unknown split, category or protocol; a file is missing or malformed.
    """
    if protocol not in PROTOCOLS:
        raise BadInput(f"no gallery protocol {shown(protocol)}", remedy=f"Protocols are {', '.join(PROTOCOLS)}")
    name = f"fashioniq/{split}/{category}/{protocol}"
    if protocol == "original":
        return Gallery(name, split_ids(root, split, category))
    triplets = read_triplets(root, split, [category], checked=False)
    named = [image_id for triplet in triplets for image_id in (triplet.reference, triplet.target) if image_id]
    return Gallery(name, tuple(dict.fromkeys(named)))


def split_ids(root: Path, split: str, category: str) -> tuple[str, ...]:
    """All image ids of a category's split, in the file's order."""
    check_split(split, SPLITS, "FashionIQ")
    _check_category(category)
    return read_id_list(Path(root) / "image_splits" / f"split.{category}.{split}.json")


def captions_path(root: Path, split: str, category: str) -> Path:
    """The file that holds a category's triplets of a split."""
    _check_category(category)
    return Path(root) / "captions" / f"cap.{category}.{split}.json"


def join_captions(first: str, second: str) -> str:
    """Two annotators' captions as the one text the model gets (as the released code joins them).

    >>> join_captions("is shiny and silver. ", "fit and flare")
    'Is shiny and silver and fit and flare'
    """
    return f"{first.strip(_TRIMMED).capitalize()} and {second.strip(_TRIMMED)}"


def says_nothing(text: str) -> bool:
    """Whether joined captions hold no word of either annotator (one empty caption of two occurs in the public data).

    >>> says_nothing(join_captions(" .", "")), says_nothing(join_captions("", "is pink"))
    (True, False)
    >>> says_nothing(join_captions("!!", "\u200b"))
    True
    """
    return all(shows_nothing(part) for part in f" {text} ".split(" and "))


def captions_key(first: str, second: str) -> str:
    """What two rows' captions have in common that say the same: in either order, whatever their case and blanks.

    >>> captions_key("is red.", "has dots") == captions_key("Has  dots", "is red")
    True
    """
    return text_key(first.strip(_TRIMMED), second.strip(_TRIMMED))


def _key_in(keys: Mapping[str, str]) -> Callable[[Triplet], str]:
    return lambda triplet: keys[triplet.query_id]


def _triplet(row: Row, index: int, split: str, category: str) -> Triplet:
    first, second = row.texts("captions", count=2)
    withheld = split == "test" and not row.has("target")
    return Triplet(
        query_id=f"{category}/{index}",
        reference=row.image_id("candidate"),
        text=join_captions(first, second),
        target=None if withheld else row.image_id("target"),
        category=category,
        source=row.source,
        split=split,
    )


def _check_category(category: str) -> None:
    if category not in CATEGORIES:
        raise BadInput(
            f"FashionIQ has no category {shown(category)}", remedy=f"Its categories are {', '.join(CATEGORIES)}"
        )

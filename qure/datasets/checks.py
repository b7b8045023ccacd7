"""What can be wrong with a well-formed triplet: one definition for the readers, which refuse it, and for validation.

Structure (types, missing fields, unsafe ids) is the readers' own and cannot be passed over; these rules can be
listed row by row and, where a user tolerates them, the rows are left out.
"""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass

from qure.datasets.ids import shown
from qure.datasets.texts import shows_nothing, text_key
from qure.datasets.types import Triplet
from qure.errors import BadInput

#: The rules by name.
UNKNOWN_ID, DUPLICATE_TRIPLET, TARGET_IS_REFERENCE, EMPTY_TEXT = RULES = (
    "unknown_id",
    "duplicate_triplet",
    "target_is_reference",
    "empty_text",
)


@dataclass(frozen=True, slots=True)
class FieldNames:
    """What a benchmark's file calls a triplet's parts."""

    reference: str
    target: str
    text: str


@dataclass(frozen=True, slots=True)
class BrokenRule:
    """One broken rule in one triplet."""

    rule: str
    triplet: Triplet
    field: str
    value: str
    problem: str
    remedy: str

    def error(self) -> BadInput:
        """The finding as an error that names file, row and field."""
        file, row = place(self.triplet.source)
        return BadInput(self.problem, file=file, row=row, field=self.field, remedy=self.remedy)


def find(
    triplets: Iterable[Triplet],
    names: FieldNames,
    *,
    known_ids: Collection[str] | None = None,
    is_empty: Callable[[str], bool] = shows_nothing,
    alike: Callable[[Triplet], str] = lambda triplet: text_key(triplet.text),
    rules: Collection[str] = RULES,
) -> Iterator[BrokenRule]:
    """Every broken rule, in the triplets' order.

    Args:
        triplets: as a reader returns them with `checked=False`.
        names: the fields' names in the file.
        known_ids: ids the split holds; None where no list of them exists.
        is_empty: whether a triplet's text says nothing.
        alike: what triplets have in common whose texts say the same.
        rules: which rules to look at.
    """
    seen: dict[tuple[str, str | None, str], str] = {}
    for triplet in triplets:
        if known_ids is not None and UNKNOWN_ID in rules:
            yield from _unknown_ids(triplet, names, known_ids)
        if TARGET_IS_REFERENCE in rules and triplet.target == triplet.reference:
            yield BrokenRule(
                TARGET_IS_REFERENCE,
                triplet,
                names.target,
                triplet.reference,
                f"target and reference are the same image {shown(triplet.target)}",
                "A query's answer must differ from its reference image: correct or remove the row",
            )
        if EMPTY_TEXT in rules and is_empty(triplet.text):
            yield BrokenRule(
                EMPTY_TEXT,
                triplet,
                names.text,
                triplet.text,
                "the modification text is empty",
                "Write the text or remove the row",
            )
        key = (triplet.reference, triplet.target, alike(triplet))
        if DUPLICATE_TRIPLET in rules and triplet.target is not None:
            if key in seen:
                yield BrokenRule(
                    DUPLICATE_TRIPLET,
                    triplet,
                    names.text,
                    triplet.text,
                    f"the same triplet as {seen[key]}",
                    "Remove one of the two rows",
                )
            seen.setdefault(key, triplet.source)


def refuse(findings: Iterable[BrokenRule]) -> None:
    """Raises the first finding as a BadInput; does nothing when there is none."""
    for finding in findings:
        raise finding.error()


def place(source: str) -> tuple[str, int | str | None]:
    """A triplet's `source` as file and row.

    >>> place("data/cap.dress.val.json, row 3")
    ('data/cap.dress.val.json', 3)
    """
    file, found, row = source.rpartition(", row ")
    return (file, int(row)) if found and row.isdecimal() else (source, None)


def _unknown_ids(triplet: Triplet, names: FieldNames, known_ids: Collection[str]) -> Iterator[BrokenRule]:
    for field, image_id in ((names.reference, triplet.reference), (names.target, triplet.target)):
        if image_id is not None and image_id not in known_ids:
            yield BrokenRule(
                UNKNOWN_ID,
                triplet,
                field,
                image_id,
                f"image {shown(image_id)} is not in the split's list of images",
                "Annotation and split file do not belong together: take both from one release",
            )
    for index, image_id in enumerate(triplet.members):
        if image_id not in known_ids:
            yield BrokenRule(
                UNKNOWN_ID,
                triplet,
                f"img_set.members[{index}]",
                image_id,
                f"image {shown(image_id)} is not in the split's list of images",
                "Annotation and split file do not belong together: take both from one release",
            )

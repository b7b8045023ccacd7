"""CIRR's files as tables: queries, the images they name, and the split lists with their paths."""

from pathlib import Path, PurePosixPath
from typing import Any

from qure.datasets.ids import check_relative_path, shown
from qure.datasets.rows import Row, described
from qure.datasets.texts import id_key, shows_nothing, text_key
from qure.errors import BadInput
from qure.validation import labels
from qure.validation.annotations import MENTION_COLUMNS, Annotations, Collector

#: Splits that must be there; test1, whose answers are withheld, is looked at where it is.
REQUIRED, OPTIONAL = ("train", "val"), ("test1",)


def read(data: Path, splits: tuple[str, ...] = (*REQUIRED, *OPTIONAL)) -> Annotations:
    """Tables "queries", "unlabelled", "mentions", "image_lists", "labels" and "files".

    Args:
        data: the data root.
        splits: which splits to look at.

    Raises:
        BadInput: a file is missing or damaged as a whole.
    """
    collector = Collector(data, "cirr")
    columns = ("key", "split", "pairid", "reference", "target_hard", "caption", "caption_key", "members", "pair")
    answers = ("members_count", "target_soft", "target_grade", "reference_grade")
    collector.table("queries", *columns, *answers)
    collector.table("unlabelled", *columns, *answers)
    collector.table("mentions", *MENTION_COLUMNS)
    collector.table(
        "image_lists", "image", "split", "category", "split_key", "id_key", "path", "path_problem", "path_id"
    )
    collector.table("files", "entries")
    labels.declare(collector)
    for split in splits:
        _read_list(collector, split)
        _read_captions(collector, split)
        labels.read_split(collector, split, lambda split, _: split)
    return collector.finish()


def _read_list(collector: Collector, split: str) -> None:
    relative = f"image_splits/split.rc2.{split}.json"
    if split in OPTIONAL and not collector.exists(relative):
        return
    paths = collector.load(relative, dict)
    collector.add("files", {"file": collector.name(relative), "row": "", "entries": len(paths)})
    for image, path in paths.items():
        record = collector.record("image_lists", relative, image, {"image": image, "path": path})
        if record.take("image", lambda row: row.text("image")) is not None:
            record.set(id_key=id_key(image))
        record.set(split=split, split_key=image)
        if record.take("path", lambda row: row.text("path")) is not None:
            problem = _path_problem(path)
            record.set(path_problem=problem, path_id=None if problem else PurePosixPath(path).stem)
        collector.list_image(record.cells.get("image"), relative, image, split)
    collector.result.lists[split] = frozenset(paths)


def _path_problem(path: str) -> str | None:
    try:
        check_relative_path(path, file="")
    except BadInput as error:
        return error.problem
    return None


def _read_captions(collector: Collector, split: str) -> None:
    relative = f"captions/cap.rc2.{split}.json"
    if split in OPTIONAL and not collector.exists(relative):
        return
    rows = collector.load(relative, list)
    collector.add("files", {"file": collector.name(relative), "row": "", "entries": len(rows)})
    for index, value in enumerate(rows):
        withheld = split == "test1" and isinstance(value, dict) and value.get("target_hard") is None
        _query(collector, relative, index, value, split, withheld)


def _query(collector: Collector, relative: str, index: int, value: Any, split: str, withheld: bool) -> None:
    record = collector.record("unlabelled" if withheld else "queries", relative, index, value)
    pair_id = record.take("pairid", lambda row: str(row.integer("pairid")))
    key = None if pair_id is None else f"{split}/{pair_id}"
    reference = record.take("reference", lambda row: row.text("reference"))
    target = None if withheld else record.take("target_hard", lambda row: row.text("target_hard"))
    caption = record.take("caption", lambda row: row.text("caption"))
    collector.note_query(key, reference, "" if withheld else target, caption)
    members = record.take("members", _members) or []
    grades = record.take("target_soft", _grades) or {}
    record.set(key=key, split=split)
    if caption is not None:
        record.set(caption="" if shows_nothing(caption) else caption.strip(), caption_key=text_key(caption))
    if grades:
        record.set(target_grade=grades.get(target), reference_grade=grades.get(reference))
    record.set(members_count=len(set(members)) if members else None)
    record.set(pair=f"{reference} {target}" if reference and target else None)
    named = [("reference", reference), ("target_hard", target)]
    named += [(f"img_set.members[{place}]", member) for place, member in enumerate(members)]
    named += [(f"target_soft[{shown(answer)}]", answer) for answer in grades]
    collector.mention(record, key, named, listed_in=split)


def _members(row: Row) -> list[str]:
    return row.part("img_set").texts("members")


def _grades(row: Row) -> dict[str, float]:
    """Image id -> grade, -1 (wrong) to 1 (right); nothing where the optional field is not there."""
    if not row.has("target_soft"):
        return {}
    part = row.part("target_soft")
    grades: dict[str, float] = {}
    for image in part.names():
        grade = part.value(image)
        if not isinstance(grade, int | float) or isinstance(grade, bool) or not -1 <= grade <= 1:
            raise row.error(
                f"image {shown(image)} must have a grade from -1 to 1, not {described(grade)}", "target_soft"
            )
        grades[row.checked_text(image, "target_soft")] = float(grade)
    return grades

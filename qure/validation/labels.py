"""People's labels beside a benchmark's files (`qure.datasets.labels`) as a table, held against the split's queries."""

from collections.abc import Callable
from typing import Any

from qure.datasets.rows import Row
from qure.validation.annotations import Collector

TABLE = "labels"

#: Field that must be the query's own -> column of what stands there where it is not.
OTHERS = {
    "reference_img_id": "other_reference",
    "target_img_id": "other_target",
    "relative_caption": "other_caption",
}

_COLUMNS = ("key", "split", "id", *OTHERS, "gt_img_ids", "unknown_query", *OTHERS.values(), "reference_answer")


def declare(collector: Collector) -> None:
    """Declares the table, so that it is there also without labels."""
    collector.table(TABLE, *_COLUMNS)


def read_split(collector: Collector, split: str, list_of: Callable[[str, str], str]) -> None:
    """Reads the labels of a split, if it has any, once its queries are noted (`Collector.note_query`).

    Args:
        collector: the benchmark's.
        split: which.
        list_of: split and query id -> name of the list of images that must hold its answers.

    Raises:
        BadInput: the file is damaged as a whole, or is none.
    """
    relative = f"labels.{split}.json"
    if not collector.exists(relative):
        return
    for index, value in enumerate(collector.load(relative, list)):
        _read_row(collector, relative, index, value, split, list_of)


def _read_row(
    collector: Collector, relative: str, index: int, value: Any, split: str, list_of: Callable[[str, str], str]
) -> None:
    record = collector.record(TABLE, relative, index, value)
    query = record.take("id", lambda row: row.text("id"))
    found = [record.take(field, _text(field)) for field in OTHERS]
    answers = record.take("gt_img_ids", _answers) or []
    key = None if query is None else f"{split}/{query}"
    record.set(key=key, split=split)
    own = collector.queries.get(key) if key is not None else None
    if query is not None and own is None:
        record.set(unknown_query=query)
    for column, stated, known in zip(OTHERS.values(), found, own or (None, None, None), strict=True):
        if stated is not None and known is not None and stated != known:
            record.set(**{column: stated})
    if found[0] in answers:
        record.set(reference_answer=found[0])
    named = [(f"gt_img_ids[{place}]", answer) for place, answer in enumerate(answers)]
    collector.mention(record, key, named, listed_in=None if own is None or query is None else list_of(split, query))


def _text(field: str) -> Callable[[Row], str]:
    return lambda row: row.text(field)


def _answers(row: Row) -> list[str]:
    return row.texts("gt_img_ids")

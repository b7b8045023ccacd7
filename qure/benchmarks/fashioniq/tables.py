"""FashionIQ's files as tables: queries, the images they name, and the split lists."""

from pathlib import Path
from typing import Any

from qure.benchmarks.fashioniq.files import CATEGORIES, captions_key, join_captions, says_nothing
from qure.datasets.rows import Row
from qure.datasets.texts import id_key, shows_nothing
from qure.validation import labels
from qure.validation.annotations import MENTION_COLUMNS, Annotations, Collector

#: Splits that must be there; the test split, whose answers were withheld, is looked at where it is.
REQUIRED, OPTIONAL = ("train", "val"), ("test",)

#: What stands at a caption's ends and says nothing (`qure.benchmarks.fashioniq.files.join_captions` trims it too).
TRIMMED = ".?, "


def read(data: Path) -> Annotations:
    """Tables "queries", "unlabelled", "mentions", "image_lists", "labels" and "files".

    Raises:
        BadInput: a file is missing or damaged as a whole.
    """
    collector = Collector(data, "fashioniq")
    columns = ("key", "split", "category", "candidate", "target", "captions", "captions[0]", "captions[1]")
    collector.table("queries", *columns, "captions_key", "pair")
    collector.table("unlabelled", *columns, "captions_key", "pair")
    collector.table("mentions", *MENTION_COLUMNS)
    collector.table("image_lists", "image", "split", "category", "split_key", "id_key")
    collector.table("files", "entries")
    labels.declare(collector)
    for split in (*REQUIRED, *OPTIONAL):
        for category in CATEGORIES:
            _read_list(collector, split, category)
            _read_captions(collector, split, category)
        labels.read_split(collector, split, lambda split, query: f"{query.partition('/')[0]}/{split}")
    return collector.finish()


def _read_list(collector: Collector, split: str, category: str) -> None:
    relative = f"image_splits/split.{category}.{split}.json"
    if split in OPTIONAL and not collector.exists(relative):
        return
    ids = collector.load(relative, list)
    collector.add("files", {"file": collector.name(relative), "row": "", "entries": len(ids)})
    for index, value in enumerate(ids):
        record = collector.record("image_lists", relative, index, {"image": value})
        image = record.take("image", lambda row: row.text("image"))
        record.set(split=split, category=category)
        if image is not None:
            record.set(split_key=f"{category}/{image}", id_key=id_key(image))
        collector.list_image(image, relative, index, split)
    collector.result.lists[f"{category}/{split}"] = frozenset(value for value in ids if isinstance(value, str))


def _read_captions(collector: Collector, split: str, category: str) -> None:
    relative = f"captions/cap.{category}.{split}.json"
    if split in OPTIONAL and not collector.exists(relative):
        return
    rows = collector.load(relative, list)
    collector.add("files", {"file": collector.name(relative), "row": "", "entries": len(rows)})
    for index, value in enumerate(rows):
        withheld = split == "test" and isinstance(value, dict) and value.get("target") is None
        _query(collector, relative, index, value, split, category, withheld)


def _query(
    collector: Collector, relative: str, index: int, value: Any, split: str, category: str, withheld: bool
) -> None:
    record = collector.record("unlabelled" if withheld else "queries", relative, index, value)
    key = f"{split}/{category}/{index}"
    record.set(key=key, split=split, category=category)
    reference = record.take("candidate", lambda row: row.text("candidate"))
    target = None if withheld else record.take("target", lambda row: row.text("target"))
    captions = record.take("captions", _captions)
    joined = None
    if captions is not None:
        joined = join_captions(*captions)
        for place, caption in enumerate(captions):
            record.set(**{f"captions[{place}]": "" if shows_nothing(caption) else caption.strip(TRIMMED)})
        record.set(captions="" if says_nothing(joined) else joined, captions_key=captions_key(*captions))
    collector.note_query(key, reference, "" if withheld else target, joined)
    record.set(pair=f"{reference} {target}" if reference and target else None)
    named = [("candidate", reference), ("target", target)]
    collector.mention(record, key, named, listed_in=f"{category}/{split}")


def _captions(row: Row) -> list[str]:
    return row.texts("captions", count=2)

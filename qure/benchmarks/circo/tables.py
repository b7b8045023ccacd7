"""CIRCO's files as tables: queries, the images they name, and COCO's index."""

from pathlib import Path
from typing import Any

from qure.benchmarks.circo.files import INDEX
from qure.datasets.ids import shown
from qure.datasets.rows import Row, described
from qure.datasets.texts import shows_nothing, text_key
from qure.errors import BadInput
from qure.validation.annotations import MENTION_COLUMNS, Annotations, Collector

REQUIRED, OPTIONAL = ("val",), ("test",)
GALLERY = "gallery"


def read(data: Path) -> Annotations:
    """Tables "queries", "unlabelled", "mentions", "image_lists" and "files".

    Raises:
        BadInput: a file is missing or damaged as a whole.
    """
    collector = Collector(data, "circo")
    columns = ("key", "split", "id", "reference_img_id", "target_img_id", "relative_caption", "caption_key")
    collector.table("queries", *columns, "gt_img_ids", "reference_answer")
    collector.table("unlabelled", *columns)
    collector.table("mentions", *MENTION_COLUMNS)
    collector.table("image_lists", "image", "split", "category", "split_key")
    collector.table("files", "entries")
    collector.result.has_gallery = collector.exists(INDEX.as_posix())
    if collector.result.has_gallery:
        _read_index(collector)
    for split in (*REQUIRED, *OPTIONAL):
        _read_queries(collector, split)
    return collector.finish()


def _read_index(collector: Collector) -> None:
    relative = INDEX.as_posix()
    images = collector.load(relative, dict).get("images")
    if not isinstance(images, list):
        raise BadInput(
            f"must be a list, not {described(images)}", file=collector.data / collector.folder / INDEX, field="images"
        )
    collector.add("files", {"file": collector.name(relative), "row": "", "entries": len(images)})
    for index, value in enumerate(images):
        row = f"images[{index}]"
        record = collector.record("image_lists", relative, row, value)
        image = record.take("image", lambda row: str(row.integer("id")))
        record.set(split=GALLERY, split_key=image)
        collector.list_image(image, relative, row, GALLERY)
    collector.result.lists[GALLERY] = frozenset(collector.result.images)


def _read_queries(collector: Collector, split: str) -> None:
    relative = f"annotations/{split}.json"
    if split in OPTIONAL and not collector.exists(relative):
        return
    rows = collector.load(relative, list)
    collector.add("files", {"file": collector.name(relative), "row": "", "entries": len(rows)})
    for index, value in enumerate(rows):
        withheld = split == "test" and isinstance(value, dict) and value.get("target_img_id") is None
        _query(collector, relative, index, value, split, withheld)


def _query(collector: Collector, relative: str, index: int, value: Any, split: str, withheld: bool) -> None:
    record = collector.record("unlabelled" if withheld else "queries", relative, index, value)
    query_id = record.take("id", lambda row: str(row.integer("id")))
    key = None if query_id is None else f"{split}/{query_id}"
    reference = record.take("reference_img_id", lambda row: str(row.integer("reference_img_id")))
    target = None if withheld else record.take("target_img_id", lambda row: str(row.integer("target_img_id")))
    caption = record.take("relative_caption", lambda row: row.text("relative_caption"))
    answers = [] if withheld else record.take("gt_img_ids", _answers) or []
    record.set(key=key, split=split)
    if caption is not None:
        record.set(relative_caption="" if shows_nothing(caption) else caption.strip(), caption_key=text_key(caption))
    if reference in answers:
        record.set(reference_answer=reference)
    named = [("reference_img_id", reference), ("target_img_id", target)]
    named += [(f"gt_img_ids[{place}]", answer) for place, answer in enumerate(answers)]
    collector.mention(record, key, named, listed_in=GALLERY if collector.result.has_gallery else None)
    if not collector.result.has_gallery:
        for _, image in named:
            collector.list_image(image, relative, index, split)


def _answers(row: Row) -> list[str]:
    values = row.items("gt_img_ids")
    for place, value in enumerate(values):
        if not isinstance(value, int) or isinstance(value, bool):
            raise row.error(f"must be a whole number, not {shown(value)}", f"gt_img_ids[{place}]")
    return [str(value) for value in values]

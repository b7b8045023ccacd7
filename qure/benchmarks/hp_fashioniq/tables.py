"""HP-FashionIQ's file as tables: one row per question that a person answered, and the images it names."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qure.benchmarks.hp_fashioniq.files import FILE, clean_sentence, parted, says_nothing, sentence_key
from qure.datasets.ids import shown
from qure.datasets.rows import Row
from qure.validation.annotations import MENTION_COLUMNS, AnnotationRecord, Annotations, Collector, place_of

LISTS = ("ref_img_paths", "targ_img_paths", "sentences", "retrieved_set1", "retrieved_set2", "preferred set")


def read(data: Path, fashioniq_lists: Mapping[str, frozenset[str]]) -> Annotations:
    """Tables "answers", "question_sets", "mentions" and "files".

    Args:
        data: the data root.
        fashioniq_lists: FashionIQ's lists of images ("dress/val"), whose images this benchmark uses.

    Raises:
        BadInput: the file is missing or damaged as a whole, a person's part included.
    """
    collector = Collector(data, "hp-fashioniq")
    images = ("ref_img_paths", "targ_img_paths", "set_1", "set_2", "images_1", "images_2")
    scores = ("preferred set", "score_1", "score_2", "score_of_preferred", "score_of_other")
    collector.table(
        "answers", "key", "person", "category", "sentences", *images, *scores, "sentence_key", "question", "chosen"
    )
    collector.table("question_sets", *LISTS)
    collector.table("people", "person", "answers")
    collector.table("mentions", *MENTION_COLUMNS)
    collector.table("files", "entries")
    collector.result.lists = {name: ids for name, ids in fashioniq_lists.items() if name.endswith("/val")}
    people = collector.load(FILE, dict)
    for person, question_sets in people.items():
        before = collector.count("answers")
        _read_person(collector, person, question_sets)
        answers = collector.count("answers") - before
        place = {"file": collector.name(FILE), "row": place_of(person)}
        collector.add("people", {**place, "person": person, "answers": answers})
    collector.add("files", {"file": collector.name(FILE), "row": "", "entries": collector.count("answers")})
    return collector.finish()


def _read_person(collector: Collector, person: str, question_sets: Any) -> None:
    collector.check_key(FILE, person)
    if not isinstance(question_sets, dict):
        collector.record("question_sets", FILE, person, question_sets)
        return
    for name, questions in question_sets.items():
        collector.check_key(FILE, name)
        record = collector.record("question_sets", FILE, f"{person}/{name}", questions)
        columns = {column: record.take(column, _list_of_equal_length(column)) for column in LISTS}
        if all(values is not None for values in columns.values()):
            record.set(**dict.fromkeys(LISTS, True))
            for index in range(len(columns["sentences"])):
                answer = {column: values[index] for column, values in columns.items()}
                _answer(collector, person, f"{person}/{name}/{index}", answer)


def _list_of_equal_length(column: str) -> Any:
    def take(row: Row) -> Any:
        return row.items(column, count=len(row.items("sentences")))

    return take


def _answer(collector: Collector, person: str, key: str, value: dict[str, Any]) -> None:
    record = collector.record("answers", FILE, key, value)
    record.set(key=key, person=person)
    sentence = record.take("sentences", lambda row: row.text("sentences"))
    if sentence is not None:
        record.set(sentences="" if says_nothing(sentence) else clean_sentence(sentence))
    category, reference = record.take("ref_img_paths", lambda row: _image(row, "ref_img_paths")) or (None, None)
    _, target = record.take("targ_img_paths", lambda row: _image(row, "targ_img_paths", category)) or (None, None)
    sets = [_retrieved(record, number, category) for number in (1, 2)]
    preferred = record.take("preferred set", lambda row: _number(row, "preferred set"))
    record.set(ref_img_paths=reference, targ_img_paths=target, category=category)
    scores = (record.cells.get("score_1"), record.cells.get("score_2"))
    if preferred in (1, 2) and None not in scores:
        record.set(score_of_preferred=scores[preferred - 1], score_of_other=scores[2 - preferred])
    shown_sets = [" ".join(sorted(retrieved)) for retrieved in sets]
    if sentence is not None and reference is not None and target is not None and all(shown_sets):
        asked = (person, reference, target, sentence_key(sentence), *sorted(shown_sets))
        record.set(question="\t".join(asked), chosen=shown_sets[preferred - 1] if preferred in (1, 2) else None)
    named = [("ref_img_paths", reference), ("targ_img_paths", target)]
    for number, retrieved in enumerate(sets, start=1):
        named += [(f"retrieved_set{number}.img_path[{place}]", image) for place, image in enumerate(retrieved)]
    collector.mention(record, key, named, listed_in=f"{category}/val")


def _retrieved(record: AnnotationRecord, number: int, category: str | None) -> list[str]:
    """Takes one retrieved set: its images into `set_N` and, in one order, `images_N`; its score into `score_N`."""
    name = f"retrieved_set{number}"
    record.take(f"score_{number}", lambda row: _number(row.part(name), "user_score"))
    images: list[str] = record.take(f"set_{number}", lambda row: _images(row.part(name), category)) or []
    record.set(**{f"images_{number}": " ".join(sorted(images)) or None})
    return images


def _images(row: Row, category: str | None) -> list[str]:
    return [
        _split_path(row, f"img_path[{place}]", path, category)[1] for place, path in enumerate(row.texts("img_path"))
    ]


def _image(row: Row, field: str, category: str | None = None) -> tuple[str, str]:
    return _split_path(row, field, row.text(field), category)


def _split_path(row: Row, field: str, path: str, category: str | None) -> tuple[str, str]:
    """Category and image id of a published path, "/-/image_data/CATEGORY/ID.jpg"."""
    found, image = parted(row, field, path)
    if category is not None and found != category:
        raise row.error(f"{shown(path)} is not of the reference's category {category}", field)
    return found, image


def _number(row: Row, field: str) -> int:
    """A whole number, published as a string, as the reader takes it: "1", not "01"."""
    value = row.value(field)
    if not row.has(field):
        raise row.error("the field is missing", field)
    text = str(value) if isinstance(value, int | str) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdecimal() and len(text) < 10 and str(int(text)) == text:
        return int(text)
    raise row.error(f"must be a whole number, not {shown(value)}", field)

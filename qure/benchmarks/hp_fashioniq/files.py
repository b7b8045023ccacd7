"""HP-FashionIQ (Kwak et al., ICML 2025): whom people prefer between two sets of five retrieved images; hpfiq.json."""

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from qure.benchmarks.fashioniq.files import CATEGORIES, captions_key, join_captions
from qure.datasets.ids import check_image_id, shown
from qure.datasets.rows import Row, load_json
from qure.datasets.texts import shows_nothing
from qure.datasets.types import PreferencePair, Triplet

FILE = "hpfiq.json"

#: What joins the two captions of a published sentence.
_JOINT = "  and "

SET_SIZE = 5

_PATH = re.compile(r"/-/image_data/([a-z]+)/(.+)\.(?:jpg|jpeg|png)")

#: The publishers' stand-ins for characters that their questionnaire could not carry.
_LEFTOVERS = {"dotmark": ".", "questionmark": "?", "andmark": "&"}


def read_pairs(root: Path) -> list[PreferencePair]:
    """All rows in the file's order (3,050 in the public file), the inconsistent ones among them.

    Raises:
        BadInput: the file is missing or malformed; names person, question set, row and field.
    """
    path = file_path(root)
    people = Row(load_json(path), path, None)
    return [pair for person in people.names() for pair in _person(people, person)]


def file_path(root: Path) -> Path:
    """The file that holds all rows."""
    return Path(root) / FILE


def is_inconsistent(pair: PreferencePair) -> bool:
    """Whether the person preferred the set that she herself gave the lower score (32 public rows)."""
    preferred, other = pair.scores if pair.preferred == 1 else pair.scores[::-1]
    return preferred < other


def clean_sentence(sentence: str) -> str:
    """A published sentence as the text the model gets: leftovers undone, captions joined as FashionIQ's are.

    The published form is two captions with two spaces before the "and" that joins them.

    >>> clean_sentence("is white and long-sleevedotmark  and has a logo")
    'Is white and long-sleeve and has a logo'
    >>> clean_sentence("is redandmark blue")
    'is red& blue'
    """
    first, second = _captions(sentence)
    return join_captions(first, second) if _JOINT in sentence else " ".join(first.split())


def says_nothing(sentence: str) -> bool:
    """Whether a published sentence holds no word of either caption.

    >>> says_nothing("  and "), says_nothing("dotmark  and andmark"), says_nothing("  and is red")
    (True, True, False)
    """
    return all(shows_nothing(caption) for caption in _captions(sentence))


def sentence_key(sentence: str) -> str:
    """What sentences have in common that say the same, their two captions in either order."""
    return captions_key(*_captions(sentence))


def exchanged(sentence: str) -> str:
    """The text the model gets with the sentence's two captions exchanged; that of one caption alone stays as it is.

    >>> exchanged("is white and long-sleevedotmark  and has a logo")
    'Has a logo and is white and long-sleeve'
    """
    first, second = _captions(sentence)
    return join_captions(second, first) if _JOINT in sentence else clean_sentence(sentence)


def with_captions_exchanged(pair: PreferencePair) -> PreferencePair:
    """The pair asked with its two captions exchanged; one with a single caption as it is."""
    return replace(pair, text=pair.exchanged, exchanged=pair.text) if pair.exchanged else pair


def in_fashioniqs_order(pairs: Iterable[PreferencePair], triplets: Iterable[Triplet]) -> list[PreferencePair]:
    """The pairs with their captions as FashionIQ joins them; those that FashionIQ does not have stay as published.

    Args:
        pairs: as published.
        triplets: FashionIQ's own queries.
    """
    own: dict[tuple[str, str | None], set[str]] = {}
    for triplet in triplets:
        own.setdefault((triplet.reference, triplet.target), set()).add(_words(triplet.text))
    ordered = []
    for pair in pairs:
        texts = own.get((pair.reference, pair.target), set())
        turned = _words(pair.text) not in texts and _words(pair.exchanged) in texts
        ordered.append(with_captions_exchanged(pair) if turned else pair)
    return ordered


def _words(text: str) -> str:
    """Joining capitalises the first caption, whichever that is."""
    return " ".join(text.casefold().split())


def _captions(sentence: str) -> tuple[str, str]:
    """The two captions of a published sentence; the second is empty where nothing joins two."""
    for leftover, character in _LEFTOVERS.items():
        sentence = sentence.replace(leftover, character)
    if _JOINT not in sentence:
        return sentence, ""
    first, _, second = sentence.rpartition(_JOINT)  # in four public rows the first caption holds one of its own
    return first, second


def _person(people: Row, person: str) -> Iterator[PreferencePair]:
    sets = people.part(people.checked_text(person, person))
    for question_set in sets.names():
        questions = sets.part(sets.checked_text(question_set, question_set))
        count = len(questions.items("sentences"))
        columns = Questions(questions, count)
        for index in range(count):
            yield columns.pair(person, question_set, index)


class Questions:
    """One person's question set: six lists of one length."""

    def __init__(self, questions: Row, count: int) -> None:
        self.file = questions.file
        self.references = questions.texts("ref_img_paths", count)
        self.targets = questions.texts("targ_img_paths", count)
        self.sentences = questions.texts("sentences", count)
        self.first_sets = questions.items("retrieved_set1", count)
        self.second_sets = questions.items("retrieved_set2", count)
        self.preferred = questions.items("preferred set", count)

    def pair(self, person: str, question_set: str, index: int) -> PreferencePair:
        """The pair at a row number."""
        place = f"{person}/{question_set}/{index}"
        row = Row({}, self.file, place)
        category, reference = _image(row, "ref_img_paths", self.references[index])
        set_1, score_1 = _retrieved(Row(self.first_sets[index], self.file, place, "retrieved_set1."), category)
        set_2, score_2 = _retrieved(Row(self.second_sets[index], self.file, place, "retrieved_set2."), category)
        text, turned = clean_sentence(self.sentences[index]), exchanged(self.sentences[index])
        return PreferencePair(
            query_id=place,
            reference=reference,
            target=_same_category(row, "targ_img_paths", self.targets[index], category),
            text=text,
            category=category,
            person=person,
            set_1=set_1,
            set_2=set_2,
            preferred=_choice(row, "preferred set", self.preferred[index], 2),
            scores=(score_1, score_2),
            source=row.source,
            exchanged="" if turned == text else turned,
        )


def _retrieved(row: Row, category: str) -> tuple[tuple[str, ...], int]:
    paths = row.texts("img_path", SET_SIZE)
    images = tuple(_same_category(row, f"img_path[{index}]", path, category) for index, path in enumerate(paths))
    if len(set(images)) != SET_SIZE:
        raise row.error("an image occurs twice in the set", "img_path")
    if not row.has("user_score"):
        raise row.error("the field is missing", "user_score")
    return images, _choice(row, "user_score", row.value("user_score"), 5)


def _same_category(row: Row, field: str, path: str, category: str) -> str:
    found, image = _image(row, field, path)
    if found != category:
        raise row.error(f"{shown(path)} is not of the reference's category {category}", field)
    return image


def parted(row: Row, field: str, path: str) -> tuple[str, str]:
    """Category and image id, not yet known to be safe, of a published path.

    Raises:
        BadInput: the path is not like "/-/image_data/CATEGORY/ID.jpg".
    """
    match = _PATH.fullmatch(path)
    if not match or match[1] not in CATEGORIES:
        raise row.error(f"must be like '/-/image_data/shirt/ID.jpg', not {shown(path)}", field)
    return match[1], match[2]


def _image(row: Row, field: str, path: str) -> tuple[str, str]:
    category, image = parted(row, field, path)
    return category, check_image_id(image, file=row.file, row=row.row, field=row.prefix + field)


def _choice(row: Row, field: str, value: object, highest: int) -> int:
    """A whole number from 1, published as a string of one digit."""
    allowed = [str(number) for number in range(1, highest + 1)]
    text = str(value) if isinstance(value, str | int) and not isinstance(value, bool) else ""
    if text not in allowed:
        raise row.error(f"must be one of {', '.join(allowed)}, not {shown(value)}", field)
    return int(text)

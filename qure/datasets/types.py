"""The few types that every reader returns and every later stage takes."""

from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Triplet:
    """One composed query and, where the benchmark tells it, its answer.

    Attributes:
        query_id: FashionIQ "{category}/{row}", CIRR "{pairid}", CIRCO "{id}".
        reference: image id of the reference image.
        text: modification text exactly as the model gets it (before the caption processor).
        target: image id of the labelled target; None where the answers are withheld (test splits).
        category: FashionIQ's category ("dress", "shirt", "toptee"), else None.
        members: CIRR's image set (six ids, the reference among them), else empty.
        answers: all right answers, the target first: CIRCO's ground truths, or the target and what people marked
            (`qure.datasets.labels`); empty where the target is all that is known.
        source: file and row it was read from, for error messages.
        split: "train", "val", "test" or "test1"; query ids are unique only inside a split.
    """

    query_id: str
    reference: str
    text: str
    target: str | None = None
    category: str | None = None
    members: tuple[str, ...] = ()
    answers: tuple[str, ...] = ()
    source: str = ""
    split: str = ""


@dataclass(frozen=True, slots=True)
class Question:
    """What a model is asked: a reference image and a text.

    Attributes:
        query_id: the benchmark's query id.
        reference: image id.
        text: modification text.
        group: questions that may trade their references for a control (FashionIQ's category), else "".
    """

    query_id: str
    reference: str
    text: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Gallery:
    """The candidates a query is ranked against, in the benchmark's own order.

    Attributes:
        name: for example "fashioniq/val/dress/original".
        ids: image ids, unique.
    """

    name: str
    ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class PreferencePair:
    """One HP-FashionIQ row: a person saw two sets of five images for a query and preferred one.

    Attributes:
        query_id: "{user}/{question_set}/{row}", for example "user_1/question_set_1/0".
        reference: image id of the reference image.
        target: image id of FashionIQ's labelled target for that query.
        text: modification sentence, cleaned of the published file's leftovers ("dotmark").
        category: FashionIQ's category, from the published path.
        person: the person's id, for example "user_1".
        set_1, set_2: image ids of the two sets, five each.
        preferred: 1 or 2.
        exchanged: the sentence with its two captions exchanged; empty where it has one only, or both are alike.
        scores: the person's 1-5 score of set 1 and of set 2.
        source: file and place it was read from, for error messages.
    """

    query_id: str
    reference: str
    target: str
    text: str
    category: str
    person: str
    set_1: tuple[str, ...]
    set_2: tuple[str, ...]
    preferred: int
    scores: tuple[int, int]
    source: str = ""
    exchanged: str = ""


def named_images(triplets: Iterable[Triplet]) -> Iterable[str]:
    """Every image id that triplets name."""
    for triplet in triplets:
        yield from (triplet.reference, *triplet.members, *triplet.answers)
        if triplet.target is not None:
            yield triplet.target

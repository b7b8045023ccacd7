"""What people marked as right: votes by image, CIRCO's form, and which queries are worth a person's minute.

A mark is an answer like any other: who, when, which image, right or not. A person's last word on an image counts; an
image is right where more people say so than deny it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from qure.datasets.labels import labels_path
from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.files import write_json
from qure.negatives.steep_drops import steep_drops
from qure.studio.answers import Answer, Answers

#: How many of a query's best images a person is shown.
SHOWN = 10


@dataclass
class Votes:
    """Marks of one image for one query.

    Attributes:
        marks: person -> her last mark.
    """

    marks: dict[str, Answer] = field(default_factory=dict)

    @property
    def right(self) -> int:
        """How many say that it is right."""
        return sum(bool(one.content["right"]) for one in self.marks.values())

    @property
    def wrong(self) -> int:
        """How many deny it."""
        return len(self.marks) - self.right

    @property
    def is_right(self) -> bool:
        """Whether it counts as right."""
        return self.right > self.wrong


Marks = dict[str, dict[str, Votes]]


@dataclass(frozen=True)
class Proposal:
    """A query that is worth a look.

    Attributes:
        query_id: of it.
        images: unmarked images above the first steep drop, best first.
        drop: how much relevance falls there; 0 where the ranking has no two drops.
    """

    query_id: str
    images: tuple[str, ...]
    drop: float


def subject_of(training_set: str, split: str, query_id: str) -> str:
    """What a mark is about."""
    return f"{training_set}/{split}/{query_id}"


def mark(answers: Answers, person: str, subject: str, image: str, *, right: bool) -> None:
    """Keeps a mark; earlier ones stay in the record, and this one counts.

    Raises:
        StageFailed: no answers are taken.
    """
    answers.add("mark", person, subject, {"image": image, "right": right})


def marks_of(answers: Answers, training_set: str, split: str) -> Marks:
    """Query id -> image -> its votes."""
    found: Marks = defaultdict(lambda: defaultdict(Votes))
    start = subject_of(training_set, split, "")
    for one in answers.of("mark"):
        if one.subject.startswith(start):
            found[one.subject.removeprefix(start)][one.content["image"]].marks[one.person] = one
    return {query: dict(images) for query, images in found.items()}


def label_rows(queries: Mapping[str, Triplet], marks: Marks) -> list[dict[str, Any]]:
    """Marked queries in CIRCO's form, with the marks that decided; people are numbered, not named.

    Queries without a further right image are there too where somebody looked: `gt_img_ids` is then the target alone.
    """
    people: dict[str, str] = {}
    every = [vote for images in marks.values() for votes in images.values() for vote in votes.marks.values()]
    for vote in sorted(every, key=lambda one: one.number):
        people.setdefault(vote.person, f"person_{len(people) + 1}")
    rows = []
    for query_id, one in queries.items():
        votes = marks.get(query_id)
        if not votes:
            continue
        right = [image for image, of in votes.items() if of.is_right and image not in (one.target, one.reference)]
        told = sorted(((image, vote) for image, of in votes.items() for vote in of.marks.values()), key=_arrival)
        rows.append(
            {
                "id": query_id,
                "reference_img_id": one.reference,
                "target_img_id": one.target,
                "relative_caption": one.text,
                "gt_img_ids": [one.target, *right],
                "marks": [
                    {"image": image, "right": vote.content["right"], "by": people[vote.person], "at": vote.at}
                    for image, vote in told
                ],
            }
        )
    return rows


def write_labels(
    answers: Answers, training_set: str, split: str, queries: Mapping[str, Triplet], root: Path
) -> tuple[Path, list[dict[str, Any]]]:
    """Writes the labels of a split where evaluation and training read them.

    Raises:
        BadInput: nothing was marked.
    """
    rows = label_rows(queries, marks_of(answers, training_set, split))
    if not rows:
        raise BadInput(f"nobody has marked a {split} query of {training_set}", file=answers.file)
    file = labels_path(root, split)
    write_json(file, rows)
    return file, rows


def proposals(rankings: Iterable[tuple[Triplet, Sequence[tuple[str, float]]]], marks: Marks) -> list[Proposal]:
    """Queries worth a look, the most rewarding first: many unmarked images above the first steep drop.

    There the model says that they belong with the target, and nobody has said whether they do. Where the target is not
    among the best candidates the drops after it are unknown: such a query comes last, with all that is ranked high.

    Args:
        rankings: queries with their best images and relevances, best first.
        marks: what was marked already.
    """
    found = []
    for query, ranked in rankings:
        above, drop = above_first_drop(query, ranked)
        looked_at = marks.get(query.query_id, {})
        unmarked = tuple(image for image in above if image not in looked_at)
        if unmarked:
            found.append(Proposal(query.query_id, unmarked, drop))
    return sorted(found, key=lambda one: (one.drop == 0.0, -len(one.images), -one.drop))


def above_first_drop(query: Triplet, ranked: Sequence[tuple[str, float]]) -> tuple[list[str], float]:
    """Images among a query's ten best that rank above its first steep drop, without target and reference.

    Returns:
        the images, and the drop's size; all ten and 0 where there are no two drops.
    """
    ids = [image for image, _ in ranked]
    start, drop = len(ids) - 1, 0.0
    if query.target in ids:
        scores = torch.tensor([[score for _, score in ranked]], dtype=torch.float32)
        first, _ = steep_drops(scores, torch.tensor([ids.index(query.target)]))
        if int(first) >= 0:
            start, drop = int(first), float(scores[0, int(first)] - scores[0, int(first) + 1])
    above = ids[: min(start + 1, SHOWN)]
    return [image for image in above if image not in (query.target, query.reference)], drop


def _arrival(marked: tuple[str, Answer]) -> int:
    return marked[1].number

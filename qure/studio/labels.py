"""What people marked as right: votes by image, CIRCO's form, and which queries are worth a person's minute.

A mark is an answer like any other: who, when, which image, right or not. A person's last word on an image counts; an
image is right where more people say so than deny it.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
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
#: A query with its best images and their relevance, best first.
Ranking = tuple[Triplet, Sequence[tuple[str, float]]]


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
        arrived = sorted(((image, vote) for image, of in votes.items() for vote in of.marks.values()), key=_arrival)
        rows.append(
            {
                "id": query_id,
                "reference_img_id": one.reference,
                "target_img_id": one.target,
                "relative_caption": one.text,
                "gt_img_ids": [one.target, *right],
                "marks": [
                    {"image": image, "right": vote.content["right"], "by": people[vote.person], "at": vote.at}
                    for image, vote in arrived
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
    listed = list(rankings)
    found = []
    for (query, _), (above, drop) in zip(listed, above_first_drops(listed), strict=True):
        looked_at = marks.get(query.query_id, {})
        unmarked = tuple(image for image in above if image not in looked_at)
        if unmarked:
            found.append(Proposal(query.query_id, unmarked, drop))
    return sorted(found, key=lambda one: (one.drop == 0.0, -len(one.images), -one.drop))


def above_first_drops(rankings: Sequence[Ranking]) -> list[tuple[list[str], float]]:
    """Images among each query's ten best that rank above its first steep drop, without target and reference.

    Returns:
        for each query the images, and the drop's size; all ten and 0 where there are no two drops.
    """
    start = np.array([len(ranked) - 1 for _, ranked in rankings], dtype=np.int64)
    drop = np.zeros(len(rankings))
    places = [_place(query, ranked) for query, ranked in rankings]
    # Rankings of one length at once: one after the other, thousands of queries take seconds.
    for length in {len(ranked) for _, ranked in rankings}:
        rows = [row for row, (_, ranked) in enumerate(rankings) if len(ranked) == length and places[row] is not None]
        if not rows:
            continue
        scores = torch.tensor([[score for _, score in rankings[row][1]] for row in rows], dtype=torch.float32)
        first, _ = steep_drops(scores, torch.tensor([places[row] for row in rows]))
        for line, row, rank in zip(scores.tolist(), rows, first.tolist(), strict=True):
            if rank >= 0:
                start[row], drop[row] = rank, line[rank] - line[rank + 1]
    return [
        (_others(query, ranked[: min(int(last) + 1, SHOWN)]), float(size))
        for (query, ranked), last, size in zip(rankings, start, drop, strict=True)
    ]


def _place(query: Triplet, ranked: Sequence[tuple[str, float]]) -> int | None:
    """The target's 0-based rank; None where it is out of sight."""
    return next((rank for rank, (image, _) in enumerate(ranked) if image == query.target), None)


def _others(query: Triplet, ranked: Sequence[tuple[str, float]]) -> list[str]:
    return [image for image, _ in ranked if image not in (query.target, query.reference)]


def _arrival(marked: tuple[str, Answer]) -> int:
    return marked[1].number

"""What a benchmark asks on one of its splits: queries, and the galleries that are ranked for them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from qure.datasets.truth import Truth
from qure.datasets.types import Gallery, PreferencePair, Question, Triplet


@dataclass(frozen=True)
class Split:
    """One split, without what validation excludes.

    Attributes:
        name: for example "val".
        triplets: the queries; empty where people's preferences are asked.
        galleries: category -> candidates; one under "" where there are no categories.
        pairs: what people preferred; empty where targets are asked.
        truth: true relevance, where it is known.
        leaked: ids of the queries whose target training has seen; None where the training files are not there.
        dropped: how many images and queries were excluded.
    """

    name: str
    triplets: Sequence[Triplet] = ()
    galleries: Mapping[str, Gallery] = field(default_factory=dict)
    pairs: Sequence[PreferencePair] = ()
    truth: Truth | None = None
    leaked: frozenset[str] | None = None
    dropped: Mapping[str, int] = field(default_factory=dict)

    @property
    def gallery(self) -> Gallery:
        """The one gallery of a benchmark without categories."""
        (gallery,) = self.galleries.values()
        return gallery

    @property
    def questions(self) -> tuple[Question, ...]:
        """What a model is asked, in order; last the pairs' sentences with their captions exchanged."""
        asked: list[Triplet | PreferencePair] = [*self.triplets, *self.pairs]
        turned = (
            Question(exchanged_id(one.query_id), one.reference, one.exchanged, one.category)
            for one in self.pairs
            if one.exchanged
        )
        return (*(Question(one.query_id, one.reference, one.text, one.category or "") for one in asked), *turned)

    @property
    def images(self) -> tuple[str, ...]:
        """All candidates, each once."""
        return distinct_ids(self.galleries.values()) or tuple(
            dict.fromkeys(image for pair in self.pairs for image in (*pair.set_1, *pair.set_2))
        )

    @property
    def all_images(self) -> list[str]:
        """The candidates and the references, each once: what a model sees."""
        return list(dict.fromkeys((*self.images, *(question.reference for question in self.questions))))


def exchanged_id(query_id: str) -> str:
    """The id of a preference pair's question with its two captions exchanged."""
    return f"{query_id}/exchanged"


def distinct_ids(galleries: Iterable[Gallery]) -> tuple[str, ...]:
    """The images of several galleries, each once."""
    return tuple(dict.fromkeys(image for gallery in galleries for image in gallery.ids))


def present(files: Iterable[Path]) -> bool:
    """Whether all files are there."""
    return all(file.is_file() for file in files)

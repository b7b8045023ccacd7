"""The training triplets as arrays of numbers: feature rows, corpus columns, token ids."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.features.store import FeatureStore
from qure.models.text import CaptionTokenizer

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class TrainingData:
    """N triplets and the corpora that their negatives come from.

    The corpora of all categories lie one after the other in one joint corpus; a corpus column is a place in it.

    Attributes:
        query_ids: (N,) for messages and reports.
        categories: (N,) category of each triplet, a number into `names`.
        names: the categories' names; ("all",) where there are none.
        references: (N,) feature row of the reference image.
        targets: (N,) corpus column of the target.
        corpus: (C,) feature row of each corpus column.
        corpus_starts: (categories + 1,) where each category's corpus begins, and the end.
        input_ids, attention_mask: (N, L) the modification texts.
        also_right: (N, E) corpus columns of further right answers, padded with -1: never negatives.
    """

    query_ids: tuple[str, ...]
    categories: Integers
    names: tuple[str, ...]
    references: Integers
    targets: Integers
    corpus: Integers
    corpus_starts: Integers
    input_ids: Tensor
    attention_mask: Tensor
    also_right: Integers

    def __len__(self) -> int:
        return len(self.query_ids)

    def take(self, chosen: NDArray[np.bool_]) -> "TrainingData":
        """Some of the triplets, with the same corpora."""
        places = np.flatnonzero(chosen)
        return replace(
            self,
            query_ids=tuple(self.query_ids[place] for place in places),
            categories=self.categories[places],
            references=self.references[places],
            targets=self.targets[places],
            input_ids=self.input_ids[places],
            attention_mask=self.attention_mask[places],
            also_right=self.also_right[places],
        )

    def corpus_of(self, category: int) -> slice:
        """The columns of one category's corpus."""
        return slice(int(self.corpus_starts[category]), int(self.corpus_starts[category + 1]))


def training_data(
    triplets: Sequence[Triplet],
    corpora: Mapping[str, Sequence[str]],
    features: FeatureStore,
    tokenizer: CaptionTokenizer,
) -> TrainingData:
    """Looks up what the triplets name.

    Args:
        triplets: with targets; their category must be a key of `corpora`, or None where its one key is "all".
        corpora: image ids of each category's corpus, unique.
        features: must hold every image named.

    Raises:
        BadInput: no triplets, a target outside its corpus, or an image without features; names the triplet.
    """
    if not triplets:
        raise BadInput("there is no triplet to train on", remedy="Look at the validation report: are all excluded?")
    names = tuple(corpora)
    starts = np.concatenate([[0], np.cumsum([len(corpora[name]) for name in names])]).astype(np.int64)
    columns = {
        (number, image): int(starts[number]) + place
        for number, name in enumerate(names)
        for place, image in enumerate(corpora[name])
    }
    numbers = {name: number for number, name in enumerate(names)}
    categories = np.array([_category(triplet, numbers) for triplet in triplets], dtype=np.int64)
    targets = [_column(triplet, int(number), columns) for triplet, number in zip(triplets, categories, strict=True)]
    input_ids, attention_mask = tokenizer([triplet.text for triplet in triplets])
    return TrainingData(
        query_ids=tuple(triplet.query_id for triplet in triplets),
        categories=categories,
        names=names,
        references=np.asarray(features.rows([triplet.reference for triplet in triplets]), dtype=np.int64),
        targets=np.array(targets, dtype=np.int64),
        corpus=np.asarray(features.rows([image for name in names for image in corpora[name]]), dtype=np.int64),
        corpus_starts=starts,
        input_ids=input_ids,
        attention_mask=attention_mask,
        also_right=_also_right(triplets, categories, columns),
    )


def _also_right(triplets: Sequence[Triplet], categories: Integers, columns: Mapping[tuple[int, str], int]) -> Integers:
    """Columns of right answers besides the targets; an answer outside the corpus can be no negative anyway."""
    found = [
        [columns[number, image] for image in triplet.answers if image != triplet.target and (number, image) in columns]
        for triplet, number in zip(triplets, categories.tolist(), strict=True)
    ]
    result = np.full((len(found), max(map(len, found))), -1, dtype=np.int64)
    for row, own in enumerate(found):
        result[row, : len(own)] = own
    return result


def _category(triplet: Triplet, numbers: Mapping[str, int]) -> int:
    name = "all" if triplet.category is None or tuple(numbers) == ("all",) else triplet.category
    if name not in numbers:
        raise BadInput(f"the category {name!r} has no corpus", file=triplet.source or None, row=triplet.query_id)
    return numbers[name]


def _column(triplet: Triplet, category: int, columns: Mapping[tuple[int, str], int]) -> int:
    if triplet.target is None or (category, triplet.target) not in columns:
        raise BadInput(
            f"the target {triplet.target!r} is not in the corpus that its negatives come from",
            file=triplet.source or None,
            row=triplet.query_id,
            field="target",
        )
    return columns[category, triplet.target]

"""What hard negatives are under a trained model: where they lie, and how many of them are relevant in truth."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qure.benchmarks import get_benchmark
from qure.config import TrainingSettings
from qure.datasets.truth import Truth, read_truth
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.negatives.sets import NegativeSets
from qure.training.data import TrainingData
from qure.training.distributed import Processes
from qure.training.encoding import TrainingEncoder, evaluating
from qure.training.mining import mine_categories


class NegativesOfModels:
    """Mines the training queries with trained models.

    Args:
        training_set: fashioniq or cirr.
        root: data root; where truth.json stands beside the benchmark, false negatives are counted.
        data: the training queries and their joint corpus.
        corpora: image ids of each category's corpus, in the order of `data.names`.
        features: of every image.
    """

    def __init__(
        self,
        training_set: str,
        root: Path,
        data: TrainingData,
        corpora: Mapping[str, Sequence[str]],
        features: FeatureStore,
    ) -> None:
        self._data, self._features = data, features
        truth = read_truth(get_benchmark(training_set).root(root), "train")
        self._relevant = None if truth is None else _relevant(truth, data, corpora)

    def of(self, model: QureModel, recipe: TrainingSettings) -> dict[str, float | None]:
        """Mines once more with a finished training's model and settings.

        The contrastive loss mines nothing: any image of the corpus can meet a query in its batch, so its negatives
        are the whole corpus.

        Returns:
            `size` (mean number of negatives a query), `first_after_target` and `last_after_target` (medians over the
            queries; 1 = the target's successor, negative = above the target), `fallback_share`, and
            `false_negatives`: the share of draws that are fully relevant in truth, None where the truth is unknown.
        """
        settings = recipe.negatives
        if recipe.loss == "contrastive":
            settings = settings.with_strategy("all_corpus")
        group = Processes(0, 1, model.device)
        encoder = TrainingEncoder(model, self._features, PrecisionPolicy.of(recipe.precision, model.device), group)
        with evaluating(model):
            queries, candidates = encoder.queries(self._data), encoder.corpus(self._data)
            mining = mine_categories(queries, candidates, self._data, settings, model.device)
        seen = mining.statistics
        return {
            "size": seen["size"]["mean"],
            "first_after_target": seen["first_after_target"]["q50"],
            "last_after_target": seen["last_after_target"]["q50"],
            "fallback_share": seen["fallback"]["share"],
            "false_negatives": None if self._relevant is None else share_relevant(mining.hard, self._relevant),
        }


def share_relevant(sets: NegativeSets, relevant: Sequence[np.ndarray]) -> float:
    """Probability that one uniform draw from a query's set is relevant, averaged over the queries.

    Args:
        sets: of Q queries.
        relevant: Q ascending arrays of corpus columns.

    >>> from qure.negatives.sets import HardNegatives
    >>> share_relevant(HardNegatives([0, 2, 4], [3, 7, 0, 1]), [np.array([7]), np.array([5])])
    0.25
    """
    return float(
        np.mean([np.isin(sets.of(row), columns, assume_unique=True).mean() for row, columns in enumerate(relevant)])
    )


def _relevant(truth: Truth, data: TrainingData, corpora: Mapping[str, Sequence[str]]) -> list[Any]:
    """Corpus columns of the images that meet all a query wants, query by query."""
    found: list[Any] = [None] * len(data)
    for number, name in enumerate(data.names):
        rows = np.flatnonzero(data.categories == number)
        relevance = truth.relevance_matrix([data.query_ids[row] for row in rows], corpora[name])
        for row, shares in zip(rows, relevance, strict=True):
            found[row] = int(data.corpus_starts[number]) + np.flatnonzero(shares >= 1.0)
    return found

"""Everything that one evaluate stage found, as its files hold it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from qure.benchmarks import get_benchmark
from qure.config import EvaluationSettings
from qure.evaluation.controls import comparable
from qure.evaluation.parts import Part
from qure.evaluation.statistics.curves import recall_curve
from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.wording import RANDOM

Numbers = dict[str, Any]


@dataclass(frozen=True)
class JointEvaluation:
    """A model on all its benchmarks, beside the champion.

    Attributes:
        parts: one per benchmark, the training set's own first: only that one has controls.
        champion: benchmark -> the champion's evaluation; compared with only where it was asked exactly the same.
    """

    parts: Sequence[Part]
    champion: Mapping[str, Evaluation]

    @property
    def own(self) -> Part:
        """The model on the training set's own benchmark."""
        return self.parts[0]

    @property
    def evaluations(self) -> list[Evaluation]:
        """Of the model, one per benchmark."""
        return [part.evaluation for part in self.parts]

    def metrics(self) -> dict[str, Numbers]:
        """{"fashioniq": {...}, "hp_fashioniq": {...}, "controls": {control: {...}}}, percent."""
        shared = comparable(self.own.evaluation)
        controls = {name: {metric: one.metrics[metric] for metric in shared} for name, one in self.own.controls.items()}
        controls[RANDOM] = {metric: self.own.chance[metric] for metric in shared}
        return {**{_key(one): dict(one.metrics) for one in self.evaluations}, "controls": controls}

    def intervals(self) -> dict[str, Numbers]:
        """The same keys -> [low, high], for every metric that is made of queries."""
        shared = comparable(self.own.evaluation)
        own = {_key(one): {name: list(bounds) for name, bounds in one.intervals.items()} for one in self.evaluations}
        controls = {
            name: {metric: list(one.intervals[metric]) for metric in shared} for name, one in self.own.controls.items()
        }
        return {**own, "controls": controls}

    def comparisons(self, settings: EvaluationSettings) -> dict[str, Numbers]:
        """Paired differences: {"controls": {control: {metric: ...}}, "champion": {benchmark: {metric: ...}}}."""
        champion = {
            _key(one): _paired(one, self.champion[one.benchmark], settings)
            for one in self.evaluations
            if self.is_comparable(one)
        }
        controls = {name: _paired(self.own.evaluation, one, settings) for name, one in self.own.controls.items()}
        return {"controls": controls, "champion": champion}

    def is_comparable(self, evaluation: Evaluation) -> bool:
        """Whether the champion was asked exactly the same as this evaluation."""
        other = self.champion.get(evaluation.benchmark)
        return other is not None and other.data_fingerprint == evaluation.data_fingerprint

    def recall_curves(self) -> pd.DataFrame:
        """Recall at k = 1, 2, ... of the model and each control: columns `k`, `trained`, the controls' names."""
        curves = {"trained": self.own.evaluation, **self.own.controls}
        table = pd.DataFrame({name: recall_curve(one) for name, one in curves.items()})
        table.insert(0, "k", range(1, len(table) + 1))
        return table


def _key(evaluation: Evaluation) -> str:
    return get_benchmark(evaluation.benchmark).folder


def _paired(ours: Evaluation, other: Evaluation, settings: EvaluationSettings) -> Numbers:
    return {
        name: asdict(
            paired_difference(
                ours,
                other,
                name,
                samples=settings.bootstrap_samples,
                confidence=settings.confidence,
                seed=settings.seed,
            )
        )
        for name in comparable(ours)
        if name in other.metrics
    }

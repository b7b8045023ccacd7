"""From runs to one line per arm: means over the seeds with intervals, and differences to the baseline."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import stdtrit  # the quantile of Student's t

from qure.ablation.arms import Arm
from qure.ablation.runs import Run
from qure.config import EvaluationSettings
from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation

RECALL, NDCG = "recall_at_10", "ndcg_at_10"

#: What is told of every arm besides the metrics: name -> part of a run.
FACTS = {
    "false_negatives": "negatives",
    "size": "negatives",
    "first_after_target": "negatives",
    "last_after_target": "negatives",
    "fallback_share": "negatives",
    "pair_accuracy": "training",
    "temperature": "training",
    "pairs_per_query": "training",
    "epochs": "training",
}


@dataclass(frozen=True)
class Estimate:
    """A number over the seeds.

    Attributes:
        mean: over the seeds.
        low, high: of the 95 % interval of the mean (Student's t over the seeds); None with one seed.
        values: seed by seed.
    """

    mean: float
    low: float | None
    high: float | None
    values: tuple[float, ...]


@dataclass(frozen=True)
class Difference:
    """An arm minus the baseline in one metric, percent points.

    Attributes:
        value: mean over the seeds.
        low, high: bootstrap over the queries, each query's values averaged over the seeds first: what another set
            of queries would change.
        seeds_low, seeds_high: Student's t over the seeds' differences, 95 %: what another seed would change; None
            with one seed.
    """

    value: float
    low: float
    high: float
    seeds_low: float | None
    seeds_high: float | None

    @property
    def verdict(self) -> str:
        """Where both intervals put the arm: "above" or "below" the baseline, or "level" with it.

        >>> Difference(-3.0, -4.0, -2.0, -5.0, -1.0).verdict, Difference(-3.0, -4.0, -2.0, -7.0, 1.0).verdict
        ('below', 'level')
        """
        low = min(one for one in (self.low, self.seeds_low) if one is not None)
        high = max(one for one in (self.high, self.seeds_high) if one is not None)
        return "below" if high < 0 else "above" if low > 0 else "level"


@dataclass(frozen=True)
class Line:
    """One arm.

    Attributes:
        arm: what was trained.
        metrics: metric -> estimate, percent.
        facts: see `FACTS`; mean over the seeds, None where unknown.
        cpu_seconds: of one training, mean.
        findings: how many seeds' trainings said that they had stopped learning or mined in the tail.
        differences: metric -> difference to the arm's baseline; empty for the baseline itself and where it was not run.
    """

    arm: Arm
    metrics: dict[str, Estimate]
    facts: dict[str, float | None]
    cpu_seconds: float
    findings: int
    differences: dict[str, Difference]


def summarise(arms: Sequence[Arm], runs: Mapping[str, Sequence[Run]], settings: EvaluationSettings) -> list[Line]:
    """A line per arm, in the arms' order.

    Args:
        arms: what was run.
        runs: arm -> its runs, the same seeds in the same order for every arm.
        settings: of the bootstrap.
    """
    return [_line(arm, runs[arm.name], runs.get(arm.against) if arm.against else None, settings) for arm in arms]


def estimate(values: Sequence[float]) -> Estimate:
    """Mean and 95 % interval over the seeds.

    >>> found = estimate([1.0, 2.0, 3.0])
    >>> found.mean, round(found.low, 3), round(found.high, 3)
    (2.0, -0.484, 4.484)
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return Estimate(mean, None, None, tuple(values))
    half = float(stdtrit(len(values) - 1, 0.975)) * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, tuple(values))


def record(line: Line) -> dict[str, Any]:
    """A line as JSON."""
    return {
        "arm": line.arm.name,
        "title": line.arm.title,
        "group": line.arm.group,
        "budget": line.arm.budget,
        "against": line.arm.against,
        "metrics": {name: vars(value) for name, value in line.metrics.items()},
        **line.facts,
        "cpu_seconds": line.cpu_seconds,
        "seeds_with_findings": line.findings,
        "differences": {name: {**vars(one), "verdict": one.verdict} for name, one in line.differences.items()},
        "recipe": line.arm.recipe.model_dump(mode="json", exclude={"seed"}),
    }


def _line(arm: Arm, runs: Sequence[Run], against: Sequence[Run] | None, settings: EvaluationSettings) -> Line:
    names = [one.name for one in runs[0].evaluation.measures if one.where is None and one.name in runs[0].metrics]
    compared = [name for name in (RECALL, NDCG) if name in names]
    return Line(
        arm=arm,
        metrics={name: estimate([run.metrics[name] for run in runs]) for name in names},
        facts={name: _mean([getattr(run, part)[name] for run in runs]) for name, part in FACTS.items()},
        cpu_seconds=float(np.mean([run.cpu_seconds for run in runs])),
        findings=sum(bool(run.training["findings"]) for run in runs),
        differences={} if against is None else {name: _difference(runs, against, name, settings) for name in compared},
    )


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def _difference(ours: Sequence[Run], others: Sequence[Run], metric: str, settings: EvaluationSettings) -> Difference:
    paired = paired_difference(
        averaged([run.evaluation for run in ours]),
        averaged([run.evaluation for run in others]),
        metric,
        samples=settings.bootstrap_samples,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    seeds = estimate([a.metrics[metric] - b.metrics[metric] for a, b in zip(ours, others, strict=True)])
    return Difference(paired.difference, paired.low, paired.high, seeds.low, seeds.high)


def averaged(evaluations: Sequence[Evaluation]) -> Evaluation:
    """Evaluations of the same queries as one, whose per-query values are means over them."""
    first = evaluations[0]
    tables = [one.per_query.set_index("query_id").loc[list(first.per_query["query_id"])] for one in evaluations]
    numbers = first.per_query.select_dtypes("number").columns
    table = first.per_query.copy()
    for name in numbers:
        table[name] = np.mean([one[name].to_numpy(dtype=np.float64) for one in tables], axis=0)
    return replace(first, per_query=pd.DataFrame(table))

"""What is wrong with an evaluated model, in sentences: a collapse, or a control that it does not beat.

A number alone does not say that a model is useless: relevances that hardly differ still give a ranking, and a ranking
that is the same for every query still finds some targets. Log, MLflow, report and model card tell each finding with
its remedy; a collapse bars promotion (`qure.registry.promotion`).
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from qure.benchmarks import get_benchmark
from qure.errors import BadInput
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.wording import (
    EMPTY,
    RANDOM,
    SHUFFLED,
    UNTRAINED,
    between,
    control_name,
    difference,
    number,
    short_name,
)
from qure.files import read_json, write_json

FILE = "findings.json"
#: The metric that a model is compared with its controls by.
METRIC = "recall_at_10"
#: How many of a query's best candidates are looked at.
DEPTH = 10
#: Least median difference between the relevances at rank 1 and rank 10: the step between half-precision numbers just
#: below 1. Features are kept in half precision and relevance is a cosine, so ten candidates within one step are not
#: told apart by the model but by rounding. docs/evaluation.md has what healthy and collapsed models measure.
LEAST_SPREAD = 2.0**-11
#: Largest share of the ten best that any two queries may have in common, beyond what random orders would have.
MOST_SHARED = 0.5

Kind = Literal["level relevance", "same ranking", "not above control"]
#: Findings that bar promotion.
COLLAPSES: tuple[Kind, ...] = ("level relevance", "same ranking")

_TRAIN_AGAIN = (
    "look at loss and temperature of the training (`dvc plots show`, the report's last section), then train again with "
    "a lower `learning_rate`, `temperature: fixed` or another `seed` under `training.<set>.overrides` in params.yaml"
)
_REMEDIES = {
    UNTRAINED: "training added nothing that can be measured: train longer (`epochs`), or look whether its loss fell",
    SHUFFLED: "the model does not use the reference image: train longer, or judge it on more queries",
    EMPTY: "the model does not use the text: train longer, or judge it on more queries",
    RANDOM: "it has learned nothing that can be measured: look at the backbone's and the training's loss first",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a reader must not miss.

    Attributes:
        kind: what kind of thing it is.
        benchmark: where it was seen.
        says: a sentence without a full stop.
        remedy: what to do, likewise.
        subject: the control, for "not above control"; else empty.
    """

    kind: Kind
    benchmark: str
    says: str
    remedy: str
    subject: str = ""

    @property
    def is_collapse(self) -> bool:
        """Whether it bars promotion."""
        return self.kind in COLLAPSES

    @property
    def label(self) -> str:
        """In a few words, for tags."""
        return f"{self.kind} {self.subject}".strip()


def findings_of(
    evaluations: Sequence[Evaluation],
    controls: Mapping[str, Mapping[str, Mapping[str, float]]],
    chance: Mapping[str, float],
) -> list[Finding]:
    """What is wrong with a model, collapses first.

    Args:
        evaluations: one per benchmark, the training set's own first.
        controls, chance: as `not_above_controls` takes them.
    """
    return collapses(evaluations) + not_above_controls(evaluations[0], controls, chance)


def collapses(evaluations: Iterable[Evaluation]) -> list[Finding]:
    """Signs that a model has stopped telling candidates, or queries, apart.

    Benchmarks without rankings (HP-FashionIQ) show none.
    """
    found: list[Finding] = []
    for one in evaluations:
        numbers = measured(one)
        # Written so that NaN is a finding.
        if "spread" in numbers and not numbers["spread"] >= LEAST_SPREAD:
            says = (
                f"collapsed: the ten best candidates of a query have nearly the same relevance (from rank 1 to rank "
                f"{DEPTH} it falls by {numbers['spread']:.2g} in the median, least is {LEAST_SPREAD:.2g})"
            )
            found.append(Finding("level relevance", one.benchmark, says, _TRAIN_AGAIN))
        if "shared" in numbers and not numbers["shared"] <= MOST_SHARED:
            says = (
                f"collapsed: whatever is asked, the answer is nearly the same (two queries share "
                f"{numbers['shared']:.0%} of their ten best candidates beyond chance, most is {MOST_SHARED:.0%})"
            )
            found.append(Finding("same ranking", one.benchmark, says, _TRAIN_AGAIN))
    return found


def not_above_controls(
    own: Evaluation, controls: Mapping[str, Mapping[str, Mapping[str, float]]], chance: Mapping[str, float]
) -> list[Finding]:
    """The controls that a model is not clearly above: the paired interval of the difference reaches 0.

    Args:
        own: the training set's own benchmark.
        controls: control -> metric -> paired difference, model against control (comparisons.json).
        chance: metric -> what a random order scores; compared with the interval of the model's own value.
    """
    found = []
    name, value = short_name(METRIC), own.metrics[METRIC]
    for control, metrics in controls.items():
        paired = metrics[METRIC]
        if not paired["low"] > 0.0:
            says = (
                f"not above a control: {name} is {number(value)}, {control_name(control)} {number(paired['b'])}, "
                f"difference {difference(paired['difference'], (paired['low'], paired['high']))}"
            )
            found.append(Finding("not above control", own.benchmark, says, _REMEDIES[control], control))
    bounds = own.intervals[METRIC]
    if METRIC in chance and not bounds[0] > chance[METRIC]:
        says = (
            f"not above a control: {name} is {number(value)} ({between(bounds)}), "
            f"{control_name(RANDOM)} {number(chance[METRIC])}"
        )
        found.append(Finding("not above control", own.benchmark, says, _REMEDIES[RANDOM], RANDOM))
    return found


def measured(evaluation: Evaluation) -> dict[str, float]:
    """The numbers that collapses are seen by.

    Returns:
        `spread`: median over the queries of how far relevance falls from rank 1 to rank 10;
        `shared`: share of the ten best that two queries of one gallery have in common on average, 0 for what random
        orders would share and 1 for all. Empty where nothing was ranked; `shared` is left out where it has no meaning
        (one query, or a gallery of ten).
    """
    best = {query: hits[:DEPTH] for query, hits in evaluation.top.items() if len(hits) > 1}
    if not best:
        return {}
    result = {"spread": float(np.median([hits[0][1] - hits[-1][1] for hits in best.values()]))}
    shared = [one for queries in _by_gallery(evaluation) if (one := _shared(evaluation, queries)) is not None]
    return result | ({"shared": float(np.mean(shared))} if shared else {})


def write_findings(folder: Path, findings: Iterable[Finding], evaluations: Iterable[Evaluation]) -> None:
    """Writes findings.json: the findings, and what was measured for them with its limits."""
    record = {
        "findings": [asdict(one) for one in findings],
        "measured": {
            get_benchmark(one.benchmark).folder: {
                name: value if np.isfinite(value) else None for name, value in measured(one).items()
            }
            for one in evaluations
            if one.top
        },
        "limits": {"spread": LEAST_SPREAD, "shared": MOST_SHARED},
    }
    write_json(Path(folder) / FILE, record)


def read_findings(evaluation: Path) -> list[Finding]:
    """The findings of an evaluate stage's folder.

    Raises:
        BadInput: the file is missing or damaged.
    """
    file, remedy = Path(evaluation) / FILE, "Evaluate the model again: qure evaluate"
    record: Any = read_json(file, remedy=remedy)
    try:
        return [Finding(**one) for one in record["findings"]]
    except (KeyError, TypeError) as error:
        raise BadInput(f"not an evaluation's findings: {error!r}", file=file, remedy=remedy) from None


def _by_gallery(evaluation: Evaluation) -> list[list[str]]:
    """The query ids of each gallery: FashionIQ has one a category."""
    table = evaluation.per_query
    groups = table["category"].fillna("") if "category" in table.columns else [""] * len(table)
    return [[str(query) for query in own] for _, own in table["query_id"].groupby(groups)]


def _shared(evaluation: Evaluation, queries: list[str]) -> float | None:
    """Mean share of the ten best that two of these queries have in common, corrected for chance."""
    best = [[image for image, _ in evaluation.top[query][:DEPTH]] for query in queries]
    # The gallery is at least what its queries have found.
    gallery = len({image for query in queries for image, _ in evaluation.top[query]})
    size = len(best[0])
    if len(best) < 2 or gallery <= size:
        return None
    counts = np.array(list(Counter(image for images in best for image in images).values()), dtype=np.float64)
    common = float((counts * (counts - 1)).sum() / (len(best) * (len(best) - 1) * size))
    by_chance = size / gallery
    return (common - by_chance) / (1.0 - by_chance)

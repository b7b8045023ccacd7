"""Whether a challenger may follow a champion: absolute thresholds, and a paired bootstrap on the same queries.

**The rule.** Both models have answered the same queries. In every bootstrap resample of these queries the challenger's
headline metric is compared with the champion's. `risk` is the share of resamples in which the challenger is worse, ties
counted half. The challenger is *not worse* when `risk <= promotion.max_risk`.

With the default, 0.5, the one that wins most resamples is champion: risk(a, b) = 1 - risk(b, a), so of two racing
versions the same one ends as champion in whichever order they arrive, and repeated promotions cannot erode what is
measured. Only versions that win exactly half of them against each other (equal answers) rank by order of arrival.

**Error rates.** With d the true difference (challenger - champion) and se the standard error of the paired difference
(about 0.6 percentage points on FashionIQ's 6,016 validation queries, 2 on 600), a challenger is promoted with
probability Phi(d / se - z(1 - max_risk)):

| true difference | max_risk 0.5 | 0.05 | 0.95 |
|---|---|---|---|
| worse by 3 se | 0.1 % | 0.0 % | 8.8 % |
| worse by 2 se | 2.3 % | 0.0 % | 36 % |
| worse by 1 se | 16 % | 0.4 % | 74 % |
| equal | 50 % | 5 % | 95 % |
| better by 1 se | 84 % | 26 % | 99.6 % |
| better by 2 se | 97.7 % | 64 % | 100.0 % |

0.05 asks for significance: a champion is hard to replace, also by an equal model that knows newer data. 0.95 refuses
only what is significantly worse: newer models come in easily, and many small losses can add up unnoticed.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qure.benchmarks import get_benchmark
from qure.config import Settings
from qure.errors import BadInput

if TYPE_CHECKING:
    from qure.evaluation.statistics.paired import PairedResult
    from qure.evaluation.statistics.results import Evaluation


@dataclass(frozen=True, slots=True)
class Comparison:
    """A challenger against a champion.

    Attributes:
        paired: challenger (a) against champion (b) in percentage points, with the interval at `promotion.confidence`.
        risk: share of resamples in which the challenger is worse.
        max_risk: the largest that lets it pass.
    """

    paired: "PairedResult"
    risk: float
    max_risk: float

    @property
    def passed(self) -> bool:
        """Whether the challenger is not worse."""
        return self.risk <= self.max_risk

    def sentence(self) -> str:
        """The outcome in words."""
        verdict = "not worse" if self.passed else "worse"
        one = self.paired
        return (
            f"{verdict} than the champion: {one.metric} {one.a:.2f} against {one.b:.2f} on {one.queries} queries, "
            f"difference {one.difference:+.2f} [{one.low:+.2f}, {one.high:+.2f}], worse in {100 * self.risk:.1f} % of "
            f"resamples, allowed are {100 * self.max_risk:g} %"
        )

    def record(self) -> dict[str, Any]:
        """As JSON."""
        return {**asdict(self.paired), "risk": self.risk, "max_risk": self.max_risk, "passed": self.passed}


def compare(settings: Settings, training_set: str, challenger: "Evaluation", champion: "Evaluation") -> Comparison:
    """The paired bootstrap of the headline metric (`promotion.compare`).

    Args:
        settings: `promotion` is read, and of `evaluation` the number of resamples and the seed.
        training_set: "fashioniq" or "cirr".
        challenger, champion: evaluations of the same benchmark and queries.

    Raises:
        BadInput: different queries, or no such metric.
    """
    from qure.evaluation.statistics.paired import paired_difference

    rule = settings.promotion
    paired = paired_difference(
        challenger,
        champion,
        rule.compare[training_set],
        samples=settings.evaluation.bootstrap_samples,
        confidence=rule.confidence,
        seed=settings.evaluation.seed,
    )
    return Comparison(paired, risk_of(paired), rule.max_risk)


def risk_of(paired: "PairedResult") -> float:
    """Share of resamples in which model a is worse than model b, ties counted half.

    `p` is the share in which a is not better, `p_worse` the share in which it is not worse; both hold the ties.
    """
    return min(1.0, max(0.0, (1.0 + paired.p - paired.p_worse) / 2.0))


def missed_thresholds(
    settings: Settings, training_set: str, evaluations: "Mapping[str, Evaluation]"
) -> tuple[list[str], dict[str, dict[str, float]]]:
    """Absolute thresholds that are not reached.

    Args:
        settings: `promotion.thresholds[training_set]`: "<benchmark>/<metric>", or a metric of the training set's own
            benchmark -> the least value, in percent.
        training_set: "fashioniq" or "cirr".
        evaluations: benchmark -> evaluation.

    Returns:
        a sentence per threshold that is not reached; and all of them as name -> {"value", "least"}.

    Raises:
        BadInput: a threshold names no metric that there is.
    """
    values = {
        f"{get_benchmark(benchmark).folder}/{metric}": value
        for benchmark, evaluation in evaluations.items()
        for metric, value in evaluation.metrics.items()
    }
    own = get_benchmark(training_set).folder
    sentences, found = [], {}
    thresholds: dict[str, float] = settings.promotion.thresholds.get(training_set, {})
    for name, least in thresholds.items():
        key = name if name in values else f"{own}/{name}"
        if key not in values:
            raise BadInput(
                f"no metric {name!r} has been measured",
                field=f"promotion.thresholds.{training_set}",
                remedy=f"Metrics are {', '.join(sorted(values))}",
            )
        found[key] = {"value": values[key], "least": least}
        if not values[key] >= least:  # also when it is NaN
            sentences.append(f"{key} is {values[key]:.2f}, required are {least:g}")
    return sentences, found

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
only what is significantly worse: newer models come in easily, and small losses add up. Twenty promotions of models that
are each 0.3 points worse would cost 5 points (with 0.5 it is half a point, by luck of the queries).

**The guard.** So the losses are added up. Each promotion's measured difference stands in the history; a challenger that
would measure more than `promotion.max_loss` points below the best champion of the last `promotion.window` changes is
refused, whatever `max_risk` lets pass (`qure.registry.history.accumulated_loss`).

**What the measured score is worth.** The best of many measures too high on the queries that chose it; every comparison
says by how much at most (`qure.registry.selection`), and `promotion.held_back` keeps queries that no decision reads.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from qure.benchmarks import get_benchmark
from qure.config import Settings
from qure.errors import BadInput
from qure.registry.selection import gate_part, gate_parts, held_back_part, selection_bias

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
        loss: percentage points that the challenger measures below the best champion of the window.
        max_loss: the largest that lets it pass.
        window: changes of champion that were looked back on.
        judged: versions that were judged on these queries.
        selection_bias: percentage points that the best of so many equal models measures too high.
        held_back: challenger against champion on the queries that decide nothing; None where none are held back.
    """

    paired: "PairedResult"
    risk: float
    max_risk: float
    loss: float = 0.0
    max_loss: float = float("inf")
    window: int = 0
    judged: int = 2
    selection_bias: float = 0.0
    held_back: "PairedResult | None" = None

    @property
    def passed(self) -> bool:
        """Whether the challenger is not worse, and losses have not added up."""
        return self.risk <= self.max_risk and self.loss <= self.max_loss

    def sentence(self) -> str:
        """The outcome in words."""
        verdict = "not worse" if self.risk <= self.max_risk else "worse"
        one = self.paired
        said = (
            f"{verdict} than the champion: {one.metric} {one.a:.2f} against {one.b:.2f} on {one.queries} queries, "
            f"difference {one.difference:+.2f} [{one.low:+.2f}, {one.high:+.2f}], worse in {100 * self.risk:.1f} % of "
            f"resamples, allowed are {100 * self.max_risk:g} %"
        )
        if self.loss > self.max_loss:
            said += (
                f"; but losses have added up: {self.loss:.2f} points below the best champion of the last {self.window} "
                f"changes, allowed are {self.max_loss:g} (promotion.max_loss)"
            )
        return said

    def note(self) -> str:
        """What the score is worth, in words; empty where there is nothing to say."""
        said = []
        if self.judged > 2:
            said.append(
                f"{self.judged} versions were judged on these queries: the best of so many measures up to "
                f"{self.selection_bias:.1f} points above its score on fresh queries"
            )
        if self.held_back is not None:
            one = self.held_back
            said.append(
                f"on {one.queries} queries held back from the decision it is {one.a:.2f} against {one.b:.2f}, "
                f"difference {one.difference:+.2f} [{one.low:+.2f}, {one.high:+.2f}]"
            )
        return "; ".join(said)

    def record(self) -> dict[str, Any]:
        """As JSON."""
        held_back = asdict(self.held_back) if self.held_back is not None else None
        return {
            **asdict(self.paired),
            "risk": self.risk,
            "max_risk": self.max_risk,
            "loss": self.loss,
            "max_loss": self.max_loss,
            "judged": self.judged,
            "selection_bias": self.selection_bias,
            "held_back": held_back,
            "passed": self.passed,
        }


def compare(
    settings: Settings,
    training_set: str,
    challenger: "Evaluation",
    champion: "Evaluation",
    *,
    lost: float = 0.0,
    judged: int = 2,
) -> Comparison:
    """The paired bootstrap of the headline metric (`promotion.compare`), on the queries that are not held back.

    Args:
        settings: `promotion` is read, and of `evaluation` the number of resamples and the seed.
        training_set: "fashioniq" or "cirr".
        challenger, champion: evaluations of the same benchmark and queries.
        lost: percentage points that the champion measured below the best of the window.
        judged: versions that were judged on these queries.

    Raises:
        BadInput: different queries, no such metric, or a held-back share that leaves no queries on one side.
    """
    rule = settings.promotion

    def paired(a: "Evaluation", b: "Evaluation") -> "PairedResult":
        from qure.evaluation.statistics.paired import paired_difference

        return paired_difference(
            a,
            b,
            rule.compare[training_set],
            samples=settings.evaluation.bootstrap_samples,
            confidence=rule.confidence,
            seed=settings.evaluation.seed,
        )

    decides = paired(*(gate_part(one, rule.held_back) for one in (challenger, champion)))
    own, others = (held_back_part(one, rule.held_back) for one in (challenger, champion))
    return Comparison(
        decides,
        risk_of(decides),
        rule.max_risk,
        loss=max(0.0, lost - decides.difference),
        max_loss=rule.max_loss,
        window=rule.window,
        judged=judged,
        selection_bias=selection_bias(decides, judged),
        held_back=paired(own, others) if own is not None and others is not None else None,
    )


def risk_of(paired: "PairedResult") -> float:
    """Share of resamples in which model a is worse than model b, ties counted half.

    `p` is the share in which a is not better, `p_worse` the share in which it is not worse; both hold the ties.
    """
    return (1.0 + paired.p - paired.p_worse) / 2.0


def missed_thresholds(
    settings: Settings, training_set: str, evaluations: "Mapping[str, Evaluation]"
) -> tuple[list[str], dict[str, dict[str, float]]]:
    """Absolute thresholds that are not reached.

    Args:
        settings: `promotion.thresholds[training_set]`: "<benchmark>/<metric>", or a metric of the training set's own
            benchmark -> the least value, in percent.
        training_set: "fashioniq" or "cirr".
        evaluations: benchmark -> evaluation; queries that are held back do not count.

    Returns:
        a sentence per threshold that is not reached; and all of them as name -> {"value", "least"}.

    Raises:
        BadInput: a threshold names no metric that there is, or is more than it can be.
    """
    parts = gate_parts(evaluations, settings.promotion.held_back)
    values = {
        f"{get_benchmark(benchmark).folder}/{metric}": value
        for benchmark, evaluation in parts.items()
        for metric, value in evaluation.metrics.items()
    }
    shares = {f"{get_benchmark(name).folder}/{one.name}" for name, part in parts.items() for one in part.measures}
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
        if key in shares and least > 100:
            raise BadInput(
                f"{key} is a percentage and never reaches {least:g}: nothing would pass",
                field=f"promotion.thresholds.{training_set}",
            )
        found[key] = {"value": values[key], "least": least}
        if not values[key] >= least:  # also when it is NaN
            sentences.append(f"{key} is {values[key]:.2f}, required are {least:g}")
    return sentences, found

"""The first sentence about an evaluated model: which, on what, how good, and against what."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from qure.evaluation.findings import METRIC, Finding
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.wording import EMPTY, RANDOM, SHUFFLED, UNTRAINED, between, control_name, number

#: In the order in which a reader asks: what does luck give, what was there before, what do half questions give?
_ORDER = (RANDOM, UNTRAINED, SHUFFLED, EMPTY)
#: Characters of a fingerprint that are shown.
_SHOWN = 12


@dataclass(frozen=True, slots=True)
class Headline:
    """An evaluation in four sentences.

    Attributes:
        verdict: model and main number, with the interval.
        against: what chance and the controls reach; empty without controls.
        judgement: whether the model may be trusted, by its findings.
        data: what it was judged on.
    """

    verdict: str
    against: str
    judgement: str
    data: str

    @property
    def text(self) -> str:
        """All of it."""
        return " ".join(part for part in (self.verdict, self.against, self.judgement, self.data) if part)


def headline(
    title: str,
    own: Evaluation,
    heading: str,
    controls: Mapping[str, Mapping[str, float]],
    findings: Sequence[Finding],
    *,
    rendered: bool,
) -> Headline:
    """The headline of a model.

    Args:
        title: the model's name, for example "qure-cirr".
        own: its evaluation on the training set's own benchmark.
        heading: the benchmark's name with its split.
        controls: control -> metric -> value.
        findings: what is wrong.
        rendered: whether the data is the rendered catalogue.
    """
    model = own.details.get("model")
    name = f"{title} (model {str(model)[:_SHOWN]})" if model else title
    value, bounds = own.metrics[METRIC], own.intervals[METRIC]
    confidence = f"{own.details['confidence']:.0%} interval" if "confidence" in own.details else "interval"
    reached = [
        f"{control_name(control)} {number(controls[control][METRIC])}"
        for control in _ORDER
        if METRIC in controls.get(control, {})
    ]
    what = f"{heading} of the rendered catalogue, not photographs" if rendered else heading
    return Headline(
        verdict=(
            f"{name} finds the labelled target among the first ten for {number(value)} % of "
            f"{own.metrics['queries']:,.0f} queries ({confidence.replace('%', ' %')} {between(bounds)})."
        ),
        against=f"For comparison: {', '.join(reached)}." if reached else "",
        judgement=_judgement(findings, asked=bool(reached)),
        data=(
            f"Judged on {what}: {own.metrics['gallery_size']:,.0f} images, "
            f"data fingerprint {own.data_fingerprint[:_SHOWN]}."
        ),
    )


def _judgement(findings: Sequence[Finding], *, asked: bool) -> str:
    if any(one.is_collapse for one in findings):
        return "It has collapsed and must not be used."
    if findings:
        return "It is not clearly above all of its controls: this number does not show that it composes image and text."
    return "It is clearly above all of its controls." if asked else "No controls were asked."

"""The model card: one page of Markdown about an evaluated model, short enough for a description in a registry."""

from collections.abc import Mapping, Sequence

from qure.benchmarks import judged_on
from qure.evaluation.findings import Finding
from qure.evaluation.headline import Headline
from qure.evaluation.markdown import table
from qure.evaluation.provenance import UNFILLED
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.wording import between, control_name, number, short_name

#: MLflow keeps this many characters of a version's description.
LONGEST = 5000
#: What the card shows of each benchmark, where it was measured.
_METRICS = ("recall_at_1", "recall_at_10", "recall_at_50", "recall_subset_at_1", "map_at_10", "agreement", "ndcg_at_10")


def model_card(
    training_set: str,
    lead: Headline,
    findings: Sequence[Finding],
    evaluations: Mapping[str, Evaluation],
    controls: Mapping[str, Mapping[str, float]],
    *,
    rendered: bool,
) -> str:
    """The card.

    Args:
        training_set: "fashioniq" or "cirr".
        lead: the headline.
        findings: what is wrong; stands before everything else.
        evaluations: the benchmark's heading -> evaluation, the training set's own first.
        controls: control -> metric -> value on the own benchmark.
        rendered: whether the data is the rendered catalogue.
    """
    name = f"qure-{training_set}"
    return "\n".join(
        [
            f"# {name}",
            "",
            *warnings(findings),
            lead.text,
            "",
            f"<!-- provenance -->{UNFILLED}<!-- /provenance -->",
            "",
            "## What it measures",
            "",
            *table(["benchmark", "metric", "percent", "interval"], _rows(evaluations)),
            "",
            *_controls(controls),
            "## What it is",
            "",
            "A composed-image-retrieval model: from a reference image and a text that says what to change it ranks the "
            "images of a gallery. Architecture and method are QuRe's (ICML 2025): a frozen ViT, a Q-Former, and "
            "hard negatives chosen from the model's own ranking.",
            "",
            "## Use",
            "",
            "```sh",
            f"qure search --training-set {training_set} --help",
            "```",
            "```python",
            f'mlflow.pyfunc.load_model("models:/{name}@champion")',
            "```",
            "",
            "## Limits",
            "",
            *(f"- {one}" for one in _limits(training_set, rendered=rendered)),
            "",
        ]
    )


def warnings(findings: Sequence[Finding]) -> list[str]:
    """Findings as lines of Markdown that nobody overlooks; none where nothing is wrong."""
    lines = [f"> **WARNING: {one.says}.** To mend it: {one.remedy}." for one in findings]
    return [line for one in lines for line in (one, "")]


def _rows(evaluations: Mapping[str, Evaluation]) -> list[list[str]]:
    return [
        [heading, short_name(metric), number(one.metrics[metric]), between(one.intervals[metric])]
        for heading, one in evaluations.items()
        for metric in _METRICS
        if metric in one.metrics and metric in one.intervals
    ]


def _controls(controls: Mapping[str, Mapping[str, float]]) -> list[str]:
    if not controls:
        return []
    metrics = [metric for metric in _METRICS if all(metric in values for values in controls.values())]
    rows = [[control_name(name), *(number(values[metric]) for metric in metrics)] for name, values in controls.items()]
    return [*table(["control", *map(short_name, metrics)], rows), ""]


def _limits(training_set: str, *, rendered: bool) -> list[str]:
    limits = [
        f"Judged on {', '.join(judged_on(training_set))} and nothing else: other images and other ways of asking are "
        "unknown.",
        "Recall counts one labelled target a query; other right answers count as wrong.",
    ]
    if rendered:
        limits.insert(
            0,
            "Trained and judged on rendered pictures with a small backbone: it shows that the pipeline works, knows "
            "nothing about photographs, and its numbers cannot be compared with published ones.",
        )
    return limits

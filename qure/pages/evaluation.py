"""The pages of the evaluate stage: one benchmark's, and that of all of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from qure.benchmarks import get_benchmark, judged_on
from qure.evaluation.findings import METRIC, Finding, read_findings
from qure.evaluation.parts import Part as JudgedPart
from qure.evaluation.wording import between, control_name, difference, number, short_name
from qure.files import read_json
from qure.pages.markdown import Page, prose, table
from qure.tracking.pages import HEADLINE

#: What a page shows of a benchmark, where it was measured.
SHOWN = ("recall_at_1", "recall_at_5", *HEADLINE)


def evaluation_page(training_set: str, evaluation: Path) -> Page:
    """How good a model is: the main number, what the controls reach, the metrics with their intervals.

    Args:
        training_set: which.
        evaluation: evaluate stage's folder.

    Raises:
        BadInput: the folder is missing or damaged.
    """
    metrics, intervals = read_json(evaluation / "metrics.json"), read_json(evaluation / "intervals.json")
    comparisons, findings = read_json(evaluation / "comparisons.json"), read_findings(evaluation)
    own = get_benchmark(training_set).folder
    page = Page(
        f"Evaluation of qure-{training_set}",
        f"{short_name(METRIC)} {number(metrics[own][METRIC])} ({between(intervals[own][METRIC])}): {verdict(findings)}",
        [
            (control_name(control).capitalize(), f"{short_name(METRIC)} {number(values[METRIC])}")
            for control, values in metrics["controls"].items()
            if METRIC in values
        ],
    )
    if findings:
        page.section("What is wrong", findings_list(findings))
    for name in judged_on(training_set):
        one = get_benchmark(name)
        if one.folder in metrics:
            page.section(f"{one.title}, percent", metrics_table(metrics[one.folder], intervals.get(one.folder, {})))
    if comparisons["controls"]:
        page.section("Does it use both halves of the query?", _controls(metrics["controls"], comparisons["controls"]))
    return page


def part_page(folder: Path) -> Page:
    """One benchmark that was judged by a task of its own."""
    part = JudgedPart.load(folder)
    one, own = part.evaluation, get_benchmark(part.benchmark)
    shown = [name for name in SHOWN if name in one.metrics]
    measured = ", ".join(f"{short_name(name)} {number(one.metrics[name])}" for name in shown)
    left_out = ", ".join(f"{count:,} {what}" for what, count in part.dropped.items())
    page = Page(
        f"{own.title} {one.split}",
        f"{measured} of {one.metrics['queries']:,.0f} queries.",
        [("Model", part.model[:12]), ("Left out", left_out)],
    )
    page.section("Metrics, percent", metrics_table(one.metrics, one.intervals))
    return page


def metrics_table(metrics: Mapping[str, float], intervals: Mapping[str, Sequence[float]]) -> str:
    """The main metrics with their intervals."""
    rows = [
        [short_name(name), number(metrics[name]), between(intervals[name]) if name in intervals else ""]
        for name in SHOWN
        if name in metrics
    ]
    return table(["metric", "this model", "interval"], rows)


def verdict(findings: Sequence[Finding]) -> str:
    """The findings in half a sentence."""
    if any(one.is_collapse for one in findings):
        return "it has collapsed and must not be used."
    if findings:
        return "it is not clearly above all of its controls."
    return "nothing is wrong with it."


def findings_list(findings: Sequence[Finding]) -> str:
    """Each finding with its remedy."""
    return "\n".join(
        f"- {prose(one.benchmark)}: {prose(one.says)}. To mend it: {prose(one.remedy)}" for one in findings
    )


def _controls(controls: Mapping[str, Any], differences: Mapping[str, Any]) -> str:
    rows = []
    for name, values in controls.items():
        paired = differences.get(name, {}).get(METRIC)
        gap = difference(paired["difference"], (paired["low"], paired["high"])) if paired else ""
        rows.append([prose(control_name(name)), number(values[METRIC]) if METRIC in values else "", gap])
    return table(["query", short_name(METRIC), "model minus it"], rows)

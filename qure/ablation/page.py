"""The ablation as tables: Markdown for people, CSV for spreadsheets."""

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from qure.ablation.summary import NDCG, RECALL, Difference, Estimate, Line

#: Metrics that the tables show where they were measured, with their headings.
METRICS = {NDCG: "nDCG@10", RECALL: "R@10", "recall_at_50": "R@50"}

#: Headings of an arm's other numbers (`shown_facts`).
FACTS_HEAD = (
    "false negatives", "H: ranks (size)", "fallback", "pairs", "won", "temperature", "epochs", "CPU s",
)  # fmt: skip

LEGEND = """\
Percent; mean over the seeds with its 95 % interval (Student's t over the seeds). Difference: in nDCG@10 (R@10 where \
the truth is unknown) to the baseline under the same budget, in points, with two intervals: over the queries (paired \
bootstrap of each query's mean over the seeds) and, in brackets, over the seeds (Student's t); bold where both lie on \
one side of zero. False negatives: share of draws from H that are fully relevant in truth. H: median ranks after the \
target (1 = its successor, negative = above the target) of its first and last image, and mean size. H and false \
negatives are those that the trained model would mine next; the contrastive loss mines nothing, its negatives are any \
image of the corpus. Pairs: negatives that a query met per step. Won: share of pairs that the target won in the last \
epoch. CPU: seconds of one training."""


def table(lines: Sequence[Line], *, baseline: str, circumstances: Mapping[str, Any]) -> str:
    """The Markdown page.

    Args:
        lines: one per arm.
        baseline: name of the arm that differences are to.
        circumstances: what was held fixed, shown above the table.
    """
    metrics = [name for name in METRICS if name in lines[0].metrics]
    head = ["arm", *(METRICS[name] for name in metrics), "difference", *FACTS_HEAD]
    parts = ["# Ablation", _circumstances(circumstances), f"Baseline of the differences: {_title(lines, baseline)}."]
    rows = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for group in dict.fromkeys(line.arm.group for line in lines):
        rows.append(f"| *{group}* |" + " |" * (len(head) - 1))
        rows += ["| " + " | ".join(_cells(line, metrics)) + " |" for line in lines if line.arm.group == group]
    return "\n\n".join([*parts, "\n".join(rows), LEGEND]) + "\n"


def terminal_table(results: Mapping[str, Any]) -> Table:
    """The headline numbers of results.json on a terminal."""
    arms = results["arms"]
    metrics = [name for name in METRICS if name in arms[0]["metrics"]]
    shown = Table(
        "arm", *(METRICS[name] for name in metrics), "difference", title=f"ablation, {results['training_set']}"
    )
    for arm in arms:
        difference = arm["differences"].get(NDCG) or arm["differences"].get(RECALL)
        change = f"{difference['value']:+.1f}, {difference['verdict']}" if difference else ""
        shown.add_row(arm["title"], *(f"{arm['metrics'][name]['mean']:.1f}" for name in metrics), change)
    return shown


def csv_of(lines: Sequence[Line]) -> str:
    """A row per arm and seed: the metrics, then the arm's other numbers, which are means over the seeds."""
    stream = io.StringIO()
    facts = list(lines[0].facts)
    metrics = list(lines[0].metrics)
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(["arm", "title", "group", "run", *metrics, *facts, "cpu_seconds"])
    for line in lines:
        for number in range(len(line.metrics[metrics[0]].values)):
            values = [line.metrics[name].values[number] for name in metrics]
            extras = [line.facts[name] for name in facts]
            writer.writerow([line.arm.name, line.arm.title, line.arm.group, number, *values, *extras, line.cpu_seconds])
    return stream.getvalue()


def _cells(line: Line, metrics: Sequence[str]) -> list[str]:
    difference = line.differences.get(NDCG) or line.differences.get(RECALL)
    return [
        line.arm.title,
        *(shown_estimate(line.metrics[name]) for name in metrics),
        shown_difference(difference) if difference else "",
        *shown_facts(line),
    ]


def shown_facts(line: Line) -> list[str]:
    """An arm's other numbers, in the order of `FACTS_HEAD`."""
    facts = line.facts
    first, last = shown_number(facts["first_after_target"]), shown_number(facts["last_after_target"])
    return [
        shown_number(facts["false_negatives"], "{:.2%}"),
        f"{first} to {last} ({shown_number(facts['size'])})",
        shown_number(facts["fallback_share"], "{:.1%}"),
        shown_number(facts["pairs_per_query"], "{:.1f}"),
        shown_number(facts["pair_accuracy"], "{:.3f}"),
        shown_number(facts["temperature"], "{:.4f}"),
        shown_number(facts["epochs"]),
        f"{line.cpu_seconds:.0f}",
    ]


def shown_estimate(value: Estimate) -> str:
    """A number with its interval over the seeds, where there are several."""
    if value.low is None or value.high is None:
        return f"{value.mean:.1f}"
    return f"{value.mean:.1f} ({value.low:.1f} to {value.high:.1f})"


def shown_difference(one: Difference, bold: str = "**") -> str:
    """A difference with both intervals; between marks of bold type where both lie on one side of zero."""
    mark = "" if one.verdict == "level" else bold
    text = f"{mark}{one.value:+.1f}{mark} ({one.low:+.1f} to {one.high:+.1f})"
    return text if one.seeds_low is None else f"{text} [{one.seeds_low:+.1f} to {one.seeds_high:+.1f}]"


def shown_number(value: float | None, form: str = "{:.0f}") -> str:
    """A number, or a dash where it is not known."""
    return "-" if value is None else form.format(value)


def _title(lines: Sequence[Line], name: str) -> str:
    return next((line.arm.title for line in lines if line.arm.name == name), f"`{name}`, not run")


def _circumstances(circumstances: Mapping[str, Any]) -> str:
    return "\n".join(f"- {name}: {value}" for name, value in circumstances.items())

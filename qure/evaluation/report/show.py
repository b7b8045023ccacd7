"""Results on a terminal."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.table import Table

from qure.evaluation.report.meanings import meaning
from qure.evaluation.wording import between, number, short_name

#: What the results table shows of a benchmark, in this order, where it was measured.
HEADLINES = (
    "recall_at_1",
    "recall_at_5",
    "recall_at_10",
    "recall_at_50",
    "recall_subset_at_1",
    "map_at_5",
    "map_at_10",
    "preference_rate",
    "agreement",
    "average",
    "ndcg_at_10",
    "relevant_at_10",
)

#: Numbers of a metrics file that say how it was made.
CIRCUMSTANCES = ("bootstrap_samples", "confidence", "seed")


def metrics_table(metrics: Mapping[str, Any]) -> Table:
    """All numbers of one flat metrics file, with intervals where it has them, and the files written beside it."""
    intervals = metrics.get("intervals", {})
    title = " ".join(str(metrics[name]) for name in ("benchmark", "split") if name in metrics)
    if metrics.get("partial_gallery"):
        title += " (partial gallery, not COCO's whole index: numbers are too high)"
    share = f"{metrics['confidence']:.0%} " if "confidence" in metrics else ""
    table = Table("metric", "value", f"{share}interval", title=title or None)
    for name, value in metrics.items():
        if isinstance(value, int | float) and not isinstance(value, bool) and name not in CIRCUMSTANCES:
            low_high = intervals.get(name)
            shown = f"{value:.2f}" if low_high else f"{value:,.6g}"
            table.add_row(name, shown, f"{low_high[0]:.2f} to {low_high[1]:.2f}" if low_high else "")
    for metric, file in metrics.get("submissions", {}).items():
        table.add_row(f"submission for {metric}", str(file), "")
    return table


#: Columns of the results table, after the trained model's own: heading and meaning.
CONTROLS = {
    "untrained_backbone": ("untrained backbone", "the model that training started from"),
    "shuffled_references": ("shuffled references", "the trained model, asked with another query's image"),
    "empty_text": ("empty text", "the trained model, asked without the words"),
    "random": ("chance", "a random order of the images, computed"),
}


def results_tables(
    training_set: str, metrics: Mapping[str, Any], intervals: Mapping[str, Any], *, confidence: float
) -> list[str | Table]:
    """The headline numbers of a training set's benchmarks, a heading and a table for each.

    On its own benchmark the controls stand beside the trained model.

    Args:
        training_set: whose.
        metrics, intervals: what the evaluate stage's metrics.json and intervals.json hold.
        confidence: of the intervals.
    """
    controls = metrics.get("controls", {})
    tables: list[str | Table] = []
    for name, values in _benchmarks(metrics).items():
        beside = {} if tables else {CONTROLS.get(one, (one, ""))[0]: found for one, found in controls.items()}
        table = Table(box=box.SIMPLE_HEAD, padding=(0, 0, 0, 1), pad_edge=False)
        table.add_column("", no_wrap=True, min_width=11)
        table.add_column("trained model", justify="right", width=7)
        table.add_column(interval_heading(confidence), justify="right", no_wrap=True)
        for heading in beside:
            # Folded at its blanks and nowhere else, so that all columns fit a terminal of 80.
            table.add_column(heading, justify="right", style="dim", width=max(map(len, heading.split())))
        for metric in HEADLINES:
            if metric in values:
                low_high = intervals.get(name, {}).get(metric)
                table.add_row(
                    short_name(metric),
                    number(values[metric]),
                    between(low_high) if low_high else "",
                    *(number(found[metric]) if metric in found else "" for found in beside.values()),
                )
        tables += [f"qure-{training_set} on {name.replace('_', '-')}, percent", table]
    return tables


def interval_heading(confidence: float) -> str:
    """
    >>> interval_heading(0.95)
    '95 % interval'
    """
    return f"{100 * confidence:g} % interval"


def legend(all_metrics: Sequence[Mapping[str, Any]], *, confidence: float) -> str:
    """What the columns and rows of results tables mean, for those that are shown."""
    benchmarks = [(name, values) for metrics in all_metrics for name, values in _benchmarks(metrics).items()]
    shown = {control for metrics in all_metrics for control in metrics.get("controls", {})}
    heading = interval_heading(confidence)
    lines = [f"{heading}: how uncertain the number is, because only so many queries were asked (bootstrap)."]
    lines += [f"{heading}: {words}." for control, (heading, words) in CONTROLS.items() if control in shown]
    for short, words in _meanings(benchmarks).items():
        sentences = [word if len(words) == 1 else f"{word} ({', '.join(of)})" for word, of in words.items()]
        lines.append(f"{short}: {'; '.join(sentences)}.")
    return "\n".join(f"  {line}" for line in lines)


def _meanings(benchmarks: Sequence[tuple[str, Mapping[str, Any]]]) -> dict[str, dict[str, list[str]]]:
    """Metric's short name -> meaning -> benchmarks; one entry for all depths of a metric."""
    found: dict[str, dict[str, list[str]]] = {}
    for metric in HEADLINES:
        for name, values in benchmarks:
            if metric in values:
                benchmark = name.replace("_", "-")
                short, sentence = short_name(metric), meaning(metric, benchmark)
                if "_at_" in metric:
                    short, sentence = (re.sub(r"\b\d+\b", "k", words) for words in (short, sentence))
                else:
                    sentence = re.sub(r"[a-z_]+_at_\d+", lambda one: short_name(one[0]), sentence)
                of = found.setdefault(short, {}).setdefault(sentence, [])
                of += [benchmark] if benchmark not in of else []
    return found


def _benchmarks(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The training set's own benchmark first."""
    return {name: values for name, values in metrics.items() if name != "controls" and isinstance(values, Mapping)}

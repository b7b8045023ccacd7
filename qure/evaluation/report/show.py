"""Results on a terminal."""

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.table import Table

from qure.files import read_json
from qure.layout import SetLayout

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


def results_table(layout: SetLayout) -> Table:
    """The headline numbers of a training set's benchmarks, and the controls beside the trained model.

    Raises:
        BadInput: the training set has not been evaluated.
    """
    metrics = read_json(
        layout.metrics,
        remedy=f"Run `dvc repro evaluate@{layout.training_set}` first",
    )
    benchmarks = {
        name: values for name, values in metrics.items() if name != "controls" and isinstance(values, Mapping)
    }
    columns = _columns(benchmarks, metrics.get("controls", {}))
    table = Table(title=f"qure-{layout.training_set} (percent)", box=box.SIMPLE_HEAD, padding=(0, 1), pad_edge=False)
    table.add_column("", no_wrap=True)
    for name in columns:
        # Folded at its blanks and nowhere else, so that all columns fit a terminal of 80.
        words = name.split("_")
        style = "" if name in benchmarks else "dim"
        table.add_column(" ".join(words), justify="right", style=style, width=max(map(len, words)))
    for metric in HEADLINES:
        if any(metric in values for values in benchmarks.values()):
            shown = [f"{values[metric]:.1f}" if metric in values else "" for values in columns.values()]
            table.add_row(_short(metric), *shown)
    return table


def _columns(benchmarks: Mapping[str, Any], controls: Mapping[str, Any]) -> dict[str, Any]:
    """The training set's own benchmark, what it must be seen beside, the other benchmarks."""
    own, *others = benchmarks
    return {own: benchmarks[own], **controls, **{name: benchmarks[name] for name in others}}


def _short(name: str) -> str:
    """
    >>> _short("recall_subset_at_1"), _short("map_at_5"), _short("average")
    ('Rs@1', 'mAP@5', 'average')
    """
    for long, short in (
        ("recall_subset_at_", "Rs@"),
        ("recall_at_", "R@"),
        ("map_at_", "mAP@"),
        ("ndcg_at_", "nDCG@"),
        ("relevant_at_", "relevant@"),
        ("preference_rate", "preference"),
    ):
        if name.startswith(long):
            return short + name.removeprefix(long)
    return name.replace("_", " ")

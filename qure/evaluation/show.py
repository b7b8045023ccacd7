"""Results on a terminal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.table import Table

from qure.files import read_json

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


def results_table(artifacts: Path, training_set: str) -> Table:
    """The headline numbers of a training set's benchmarks, and the controls beside the trained model.

    Raises:
        BadInput: the training set has not been evaluated.
    """
    metrics = read_json(
        artifacts / training_set / "evaluation" / "metrics.json",
        remedy=f"Run `dvc repro evaluate@{training_set}` first",
    )
    table = Table("", *(_short(name) for name in _present(metrics)), title=f"qure-{training_set} (percent)")
    for name, values in metrics.items():
        if name == "controls":
            for control, numbers in values.items():
                table.add_row(f"  {training_set}, {control.replace('_', ' ')}", *_cells(numbers, metrics), style="dim")
        elif isinstance(values, Mapping):
            table.add_row(name.replace("_", "-"), *_cells(values, metrics))
    return table


def _present(metrics: Mapping[str, Any]) -> list[str]:
    benchmarks = [values for name, values in metrics.items() if isinstance(values, Mapping) and name != "controls"]
    return [name for name in HEADLINES if any(name in values for values in benchmarks)]


def _cells(values: Mapping[str, Any], metrics: Mapping[str, Any]) -> list[str]:
    return [f"{values[name]:.1f}" if name in values else "" for name in _present(metrics)]


def _short(name: str) -> str:
    """
    >>> _short("recall_subset_at_1"), _short("map_at_5"), _short("average")
    ('Rs@1', 'mAP@5', 'average')
    """
    for long, short in (("recall_subset_at_", "Rs@"), ("recall_at_", "R@"), ("map_at_", "mAP@"), ("ndcg_at_", "nDCG@")):
        if name.startswith(long):
            return short + name.removeprefix(long)
    return name.replace("_", " ")

"""The figure of an ablation, after figure 4 of the paper: recall of every arm, and beside it how good the top ten is.

Colours are Okabe and Ito's, told apart with any colour vision; groups are also set apart by their headings.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from qure.ablation.page import METRICS
from qure.ablation.summary import NDCG, RECALL, Estimate, Line
from qure.files import atomic_file
from qure.negatives.plots import BLUE, GREEN, GREY, ORANGE, STYLE, VERMILION

#: Of the groups in their order; repeated when there are more.
COLOURS = (BLUE, ORANGE, GREY, GREEN, VERMILION)


def draw(lines: Sequence[Line], path: Path, *, baseline: str, by_chance: Mapping[str, float], title: str = "") -> None:
    """A horizontal bar per arm and metric, with 95 % intervals; the baseline's value as a dashed line.

    Bars begin at what a random order scores: for nDCG that is far from 0.

    Args:
        lines: one per arm, from top to bottom.
        path: PNG file, written whole or not at all.
        baseline: name of the arm whose value is drawn through; left out when it is none of the lines.
        by_chance: metric -> what a random order scores, percent.
    """
    metrics = [name for name in (RECALL, NDCG) if name in lines[0].metrics]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.6 + 3.4 * len(metrics), 1.6 + 0.34 * len(lines)), layout="constrained")
        FigureCanvasAgg(figure)
        if title:
            figure.suptitle(title)
        panels = figure.subplots(1, len(metrics), sharey=True, squeeze=False)[0]
        for panel, metric in zip(panels, metrics, strict=True):
            _draw_metric(panel, lines, metric, baseline, by_chance.get(metric, 0.0))
        panels[0].set_yticks(range(len(lines)), [line.arm.title for line in lines])
        panels[0].invert_yaxis()
        marks, labels = panels[0].get_legend_handles_labels()
        figure.legend(marks, labels, loc="outside lower center", ncols=min(len(labels), 3))
        with atomic_file(path) as temporary:
            figure.savefig(temporary, format="png", dpi=110)


def _draw_metric(panel: Axes, lines: Sequence[Line], metric: str, baseline: str, floor: float) -> None:
    groups = list(dict.fromkeys(line.arm.group for line in lines))
    for number, group in enumerate(groups):
        rows = [row for row, line in enumerate(lines) if line.arm.group == group]
        values = [lines[row].metrics[metric].mean for row in rows]
        lengths = [value - floor for value in values]
        panel.barh(rows, lengths, left=floor, height=0.72, color=COLOURS[number % len(COLOURS)], label=group)
    for row, line in enumerate(lines):
        _draw_interval(panel, row, line.metrics[metric])
    own = next((line for line in lines if line.arm.name == baseline), None)
    if own is not None:
        label = f"baseline: {own.arm.name.replace('_', ' ')}"
        panel.axvline(own.metrics[metric].mean, color="black", linestyle="--", linewidth=1.2, label=label)
    panel.set_xlabel(f"{METRICS[metric]} (percent; chance {floor:.1f})")
    panel.grid(axis="y", visible=False)
    # Room for the numbers at the ends of the bars; bars that end below chance are seen too.
    start = min(floor, *(line.metrics[metric].mean for line in lines))
    longest = max(_end(line, metric) for line in lines)
    panel.set_xlim(start, start + max(1.2 * (longest - start), 1.0))


def _draw_interval(panel: Axes, row: int, value: Estimate) -> None:
    end = value.mean
    if value.low is not None and value.high is not None:
        bounds = np.array([[value.mean - value.low], [value.high - value.mean]])
        panel.errorbar([value.mean], [row], xerr=bounds, color="black", linewidth=1.1, capsize=2.5)
        end = max(value.high, value.mean)
    panel.annotate(
        f"{value.mean:.1f}",
        (end, row),
        xytext=(4, 0),
        textcoords="offset points",
        va="center",
        fontsize=9,
        bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
    )


def _end(line: Line, metric: str) -> float:
    value = line.metrics[metric]
    return value.mean if value.high is None else max(value.high, value.mean)

"""Pictures of minings: sorted scores with the two drops (figures 6-8 of the paper), sizes over a run (figure 5), ranks.

Colours are Okabe and Ito's, told apart with any colour vision; marks differ in shape or line as well.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter
from PIL import Image

from qure.files import atomic_file
from qure.negatives.mining import CurveExample
from qure.negatives.statistics import AFTER_TARGET_EDGES

BLUE, ORANGE, GREEN, VERMILION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#555555"

#: Inches around panels of sorted scores (left, right, below with the legend, above, above with a title), and between
#: them. Measured by matplotlib's own layout, they take a third of the time of a picture.
LEFT, RIGHT, BELOW, ABOVE, UNDER_TITLE, BETWEEN = 0.8, 0.15, 1.0, 0.35, 0.65, 0.6
#: A second line of the legend, which is wider than a single panel.
LINE = 0.25

#: A set that takes up at most this share of a ranking is shown enlarged as well, from so many images on.
ZOOM, ZOOM_FROM = 0.15, 60

STYLE: dict[Any, Any] = {
    "font.size": 11,
    "axes.titlesize": 11,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#E5E5E5",
    "axes.axisbelow": True,
    "legend.frameon": False,
}


def draw_sorted_scores(examples: Sequence[CurveExample], path: Path, title: str = "") -> None:
    """One panel per query: its sorted scores, the target, the two drops and the set between them.

    Args:
        examples: `Mining.examples`, at least one.
        path: PNG file, written whole or not at all.
    """
    columns = min(len(examples), 4)
    rows = -(-len(examples) // columns)
    size = (3.7 * columns, 3.0 * rows + 0.6)
    with _figure(path, size, title, layout=None) as figure:
        below = BELOW if columns > 1 else BELOW + LINE
        places = _places(rows, columns, size, below, UNDER_TITLE if title else ABOVE)
        panels = figure.subplots(rows, columns, squeeze=False, gridspec_kw=places)
        for panel, example in zip(panels.flat, examples, strict=False):
            _draw_query(panel, example)
        for panel in panels.flat[len(examples) :]:
            panel.axis("off")
        for panel in panels[:, 0]:
            panel.set_ylabel("relevance")
        for panel in panels[-1]:
            panel.set_xlabel("rank (0 = best)")
        named = {label: mark for panel in panels.flat for mark, label in zip(*_legend_of(panel), strict=True)}
        figure.legend(named.values(), named.keys(), loc="lower center", ncols=len(named) if columns > 1 else 2)


def draw_sizes(minings: Sequence[dict[str, Any]], path: Path, labels: Sequence[str] = (), title: str = "") -> None:
    """Size of the sets over the minings of a run: median, mean, and where half and nine tenths of them lie.

    Args:
        minings: `Mining.statistics` in order.
        labels: a name per mining, for example "epoch 5"; default: its number.
    """
    place = np.arange(len(minings))
    size = {key: np.array([mining["size"][key] for mining in minings]) for key in minings[0]["size"]}
    with _figure(path, (6.4, 4.0), title) as figure:
        panel = figure.subplots()
        # Bands need two points; bars show a single mining too.
        panel.vlines(place, size["q05"], size["q95"], color=BLUE, linewidth=2, label="90 % of the queries")
        panel.vlines(place, size["q25"], size["q75"], color=BLUE, linewidth=8, alpha=0.45, label="50 % of the queries")
        panel.plot(place, size["q50"], color=BLUE, marker="o", label="median")
        panel.plot(place, size["mean"], color=VERMILION, marker="D", linestyle="--", label="mean")
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter("{x:,.0f}")
        panel.set_xticks(place, labels or [str(number) for number in place + 1])
        panel.set_xlabel("mining" if not labels else "")
        panel.set_ylabel("hard negatives per query")
        panel.legend()


def draw_ranks(statistics: dict[str, Any], path: Path, title: str = "") -> None:
    """Where one draw comes from: by share of the whole ranking, and by distance from the target."""
    with _figure(path, (10.5, 4.0), title) as figure:
        left, right = figure.subplots(1, 2, width_ratios=(1, 1.15))
        by_share = statistics["by_share_of_list"]
        edges = np.arange(by_share["bins"]) / by_share["bins"]
        left.bar(edges, by_share["probability"], width=1 / by_share["bins"], align="edge", color=BLUE)
        left.axhline(1 / by_share["bins"], color=GREY, linestyle="--", label="draws from the whole corpus")
        target = statistics["target_share"]["q50"]
        left.axvline(target, color=VERMILION, linestyle="-.", label="target (median)")
        left.set_xlim(0, 1)
        left.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        left.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        left.set_xlabel("place in the ranking (0 % = best)")
        left.set_ylabel("share of draws")
        left.legend()
        reached = sum(edge < statistics["corpus_size"][1] for edge in AFTER_TARGET_EDGES)
        probability = statistics["by_distance"]["probability"][: reached + 1]
        place = np.arange(len(probability))
        colours = [ORANGE] + [BLUE] * (len(probability) - 1)
        right.bar(place, probability, color=colours)
        right.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
        right.set_xticks(place, _distance_labels()[: len(place)], rotation=45, ha="right")
        right.set_xlabel("ranks after the target (1 = its successor)")


def _places(rows: int, columns: int, size: tuple[float, float], below: float, above: float) -> dict[str, float]:
    """Where a figure's panels lie, as shares of it, from its size and what is below and above them in inches."""
    width = (size[0] - LEFT - RIGHT - BETWEEN * (columns - 1)) / columns
    height = (size[1] - below - above - BETWEEN * (rows - 1)) / rows
    edges = {
        "left": LEFT / size[0],
        "right": 1 - RIGHT / size[0],
        "bottom": below / size[1],
        "top": 1 - above / size[1],
    }
    return edges | {"wspace": BETWEEN / width, "hspace": BETWEEN / height}


def _draw_query(panel: Axes, example: CurveExample) -> None:
    panel.set_title(_described(example), loc="left", fontsize=9)
    # Nothing makes room for what is wide: of 100,000 images five ranks at most are named, and 0.0002 is 2 of 1e-4.
    panel.tick_params(labelsize=8)
    panel.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    panel.ticklabel_format(axis="y", scilimits=(-2, 4))
    panel.yaxis.get_offset_text().set_fontsize(7)
    _draw_curve(panel, example)
    size = len(example.scores)
    marks = [example.first, example.last, *(rank for rank in (example.start, example.end) if rank >= 0)]
    near = [*marks, example.target_rank] if min(marks) - example.target_rank < ZOOM * size else marks
    if max(near) - min(near) > ZOOM * size or size < ZOOM_FROM:
        return
    # Sorted scores fall, so the upper right of a panel is free; a higher top keeps the inset off the curve.
    bottom, top = panel.get_ylim()
    panel.set_ylim(bottom, top + 0.35 * (top - bottom))
    inset = panel.inset_axes((0.4, 0.55, 0.59, 0.43))
    _draw_curve(inset, example)
    margin = max(2, (max(near) - min(near)) // 6)
    left, right = max(min(near) - margin, 0), min(max(near) + margin, size - 1)
    inset.set_xlim(left - 0.5, right + 0.5)
    room = 0.12 * (example.scores[left] - example.scores[right]) + 1e-6
    inset.set_ylim(example.scores[right] - room, example.scores[left] + room)
    inset.tick_params(labelsize=7)
    inset.xaxis.set_major_locator(MaxNLocator(3, integer=True))
    inset.yaxis.set_major_locator(MaxNLocator(3))
    inset.yaxis.get_offset_text().set_fontsize(7)
    panel.indicate_inset_zoom(inset, edgecolor=GREY)


def _draw_curve(panel: Axes, example: CurveExample) -> None:
    ranks = np.arange(len(example.scores))
    chosen = slice(example.first, example.last + 1)
    panel.axvspan(example.first - 0.5, example.last + 0.5, color=BLUE, alpha=0.12, linewidth=0)
    panel.plot(ranks, example.scores, color=GREY, linewidth=1.5, label="sorted relevance")
    panel.plot(ranks[chosen], example.scores[chosen], color=BLUE, linewidth=4, label="hard negatives")
    for number, drop in enumerate(rank for rank in (example.start, example.end) if rank >= 0):
        panel.plot(
            [drop, drop + 1],
            example.scores[drop : drop + 2],
            color=ORANGE,
            linewidth=2,
            marker="v",
            markersize=6,
            label="steep drop" if number == 0 else "",
        )
    score = example.scores[example.target_rank]
    panel.plot(example.target_rank, score, color=VERMILION, marker="*", markersize=12, linestyle="", label="target")


def _described(example: CurveExample) -> str:
    images, size = len(example.negatives), len(example.scores)
    return f"query {example.query}: {images} of {size}, ranks {example.first}-{example.last}"


def _legend_of(panel: Axes) -> tuple[list[Any], list[str]]:
    marks, labels = panel.get_legend_handles_labels()
    return list(marks), list(labels)


def _distance_labels() -> list[str]:
    labels = ["above"]
    for first, following in pairwise(AFTER_TARGET_EDGES):
        labels.append(str(first) if following == first + 1 else f"{first}-{following - 1}")
    return [*labels, f"{AFTER_TARGET_EDGES[-1]}+"]


@contextmanager
def _figure(
    path: Path, size: tuple[float, float], title: str, layout: Literal["constrained"] | None = "constrained"
) -> Iterator[Figure]:
    """A figure outside of pyplot's global state, saved on success."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout=layout, dpi=110)
        canvas = FigureCanvasAgg(figure)
        if title:
            figure.suptitle(title, y=1 - 0.08 / size[1])
        yield figure
        canvas.draw()  # savefig would draw twice, the first time for the layout alone
        with atomic_file(path) as temporary:
            Image.fromarray(np.asarray(canvas.buffer_rgba())).save(temporary, format="PNG")

"""What a model retrieves, as one PNG file."""

import random
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from qure.benchmarks import get_benchmark
from qure.datasets.image_store import open_images
from qure.datasets.truth import Truth
from qure.evaluation.report.cards import SYMBOLS, TOP_SHOWN, answers_of, mark_of, shares_of
from qure.evaluation.report.pictures import Thumbnails
from qure.evaluation.statistics.results import Evaluation
from qure.files import atomic_file

#: Okabe and Ito's green and blue, told apart with any colour vision; the line differs as well.
FRAMES: dict[str, dict[str, Any]] = {
    "right": {"color": "#00734F", "linewidth": 3.0, "linestyle": "-"},
    "relevant": {"color": "#0072B2", "linewidth": 2.5, "linestyle": (0, (3, 1.5))},
    "wrong": {"color": "#B5BCC4", "linewidth": 0.8, "linestyle": "-"},
}
#: Pixels of a picture's long side.
PICTURE = 160
QUERIES_SHOWN = 3

#: Inches. A row of pictures: reference, text (1.75 columns wide), target, a gap (0.15), and the candidates.
COLUMNS = TOP_SHOWN + 3.9
WIDTH, ROW, LEGEND = 13.6, 1.3, 0.4
COLUMN = WIDTH / COLUMNS
SIDE = COLUMN - 0.03


def draw_retrieval(
    evaluation: Evaluation, data: Path, truth: Truth | None, path: Path, count: int = QUERIES_SHOWN
) -> None:
    """A few queries, each with its reference, text, target and ten best candidates with marks.

    Drawn at random (the same ones every time) from the queries whose target is among the ten best, from different
    categories where there are any: they show what success looks like; the report shows failures as well.

    Args:
        evaluation: one with a target per query (FashionIQ, CIRR, CIRCO).
        data: data root.
        truth: marks candidates that meet every wanted attribute; None where that is not known.
        path: PNG file, written whole or not at all.
    """
    rows = _successes(evaluation, count)
    image_set = get_benchmark(get_benchmark(evaluation.benchmark).images)
    images = Thumbnails(open_images(image_set.root(data)), PICTURE)
    with _figure(path, ROW * len(rows) + LEGEND) as panel:
        for number, row in enumerate(rows):
            _draw_query(panel, LEGEND + ROW * (len(rows) - 1 - number), row, evaluation, images, truth)
        panel.text(WIDTH / 2, LEGEND / 3, _legend(truth is not None), ha="center", fontsize=10)


def _successes(evaluation: Evaluation, count: int) -> list[dict[str, Any]]:
    """Rows of the per-query table, one category after the other; the best ones where too few succeed."""
    table = evaluation.per_query.sort_values(["rank", "query_id"], kind="stable")
    good = table[table["rank"] <= TOP_SHOWN]
    rows = (good if len(good) >= count else table.head(count)).to_dict("records")
    groups: dict[Any, list[dict[str, Any]]] = {}
    for row in random.Random(0).sample(rows, len(rows)):
        groups.setdefault(row.get("category"), []).append({str(name): value for name, value in row.items()})
    ordered = [groups[name] for name in sorted(groups, key=str)]
    return [own[turn] for turn in range(count) for own in ordered if turn < len(own)][:count]


def _draw_query(
    panel: Axes, bottom: float, row: dict[str, Any], evaluation: Evaluation, images: Thumbnails, truth: Truth | None
) -> None:
    hits = evaluation.top[row["query_id"]][:TOP_SHOWN]
    shares = shares_of(truth, row["query_id"], [image for image, _ in hits])
    answers = answers_of(row)
    _draw_image(panel, (0.0, bottom), images.image(row["reference"]), "reference", "wrong")
    text = "\n".join(textwrap.wrap(f"“{row['text']}”", 21, max_lines=6))
    # parse_math: captions are people's text, and a dollar sign in them is not a formula.
    place = (1.875 * COLUMN, bottom + SIDE / 2)
    panel.text(*place, text, ha="center", va="center", fontsize=10, parse_math=False)
    _draw_image(panel, (2.75 * COLUMN, bottom), images.image(answers[0]), "target", "right")
    for rank, ((image, _), share) in enumerate(zip(hits, shares, strict=True), start=1):
        mark, left = mark_of(image, answers, share), (COLUMNS - TOP_SHOWN - 1 + rank) * COLUMN
        _draw_image(panel, (left, bottom), images.image(image), f"{rank} {SYMBOLS[mark]}", mark)


def _draw_image(panel: Axes, corner: tuple[float, float], image: Image.Image, title: str, mark: str) -> None:
    """In the middle of a cell whose lower left corner this is, framed as its mark says."""
    frame = FRAMES[mark]
    width, height = (SIDE * length / max(image.size) for length in image.size)
    left, bottom = corner[0] + (COLUMN - width) / 2, corner[1] + (SIDE - height) / 2
    panel.imshow(np.asarray(image), extent=(left, left + width, bottom, bottom + height), aspect="auto")
    panel.add_patch(Rectangle((left, bottom), width, height, fill=False, **frame))
    weight, colour = ("normal", "#555555") if mark == "wrong" else ("bold", frame["color"])
    above = (corner[0] + COLUMN / 2, bottom + height + 0.06)
    panel.text(*above, title, ha="center", fontsize=9, color=colour, fontweight=weight)


def _legend(known: bool) -> str:
    relevant = f"{SYMBOLS['relevant']} not labelled, but meets every wanted attribute     " if known else ""
    wrong = "misses a wanted attribute" if known else "not labelled"
    return f"{SYMBOLS['right']} labelled target     {relevant}{SYMBOLS['wrong']} {wrong}"


@contextmanager
def _figure(path: Path, height: float) -> Iterator[Axes]:
    """A sheet outside of pyplot's global state, measured in inches from its lower left corner; saved on success.

    One panel for everything: a panel per picture, laid out by matplotlib, takes more than twice as long.
    """
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        figure = Figure(figsize=(WIDTH, height), dpi=110)
        canvas = FigureCanvasAgg(figure)
        panel = figure.add_axes((0, 0, 1, 1), xlim=(0, WIDTH), ylim=(0, height), autoscale_on=False)
        panel.axis("off")
        yield panel
        canvas.draw()
        # Photographs as PNG are large; 256 colours are enough for small ones, and a quarter of the bytes.
        drawn = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB").quantize(256)
        with atomic_file(path) as temporary:
            drawn.save(temporary, format="PNG", optimize=True)

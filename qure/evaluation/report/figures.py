"""What a model retrieves, as one PNG file."""

import io
import random
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
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
    with _figure(path, (13.6, 1.3 * len(rows) + 0.4)) as figure:
        # Reference, text, target, a gap, and the candidates.
        grid = figure.add_gridspec(len(rows), TOP_SHOWN + 4, width_ratios=[1.0, 1.75, 1.0, 0.15] + [1.0] * TOP_SHOWN)
        for number, row in enumerate(rows):
            columns = [0, 1, 2, *range(4, TOP_SHOWN + 4)]
            panels = [figure.add_subplot(grid[number, column]) for column in columns]
            _draw_query(panels, row, evaluation, images, truth)
        figure.supxlabel(_legend(truth is not None), fontsize=10)


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
    panels: Sequence[Axes], row: dict[str, Any], evaluation: Evaluation, images: Thumbnails, truth: Truth | None
) -> None:
    hits = evaluation.top[row["query_id"]][:TOP_SHOWN]
    shares = shares_of(truth, row["query_id"], [image for image, _ in hits])
    answers = answers_of(row)
    _draw_image(panels[0], images.image(row["reference"]), "reference", "wrong")
    panels[1].axis("off")
    text = "\n".join(textwrap.wrap(f"“{row['text']}”", 21, max_lines=6))
    # parse_math: captions are people's text, and a dollar sign in them is not a formula.
    panels[1].text(0.5, 0.5, text, ha="center", va="center", fontsize=10, parse_math=False)
    _draw_image(panels[2], images.image(answers[0]), "target", "right")
    for panel in panels[3:]:
        panel.axis("off")
    for place, ((image, _), share, panel) in enumerate(zip(hits, shares, panels[3:], strict=False), start=1):
        mark = mark_of(image, answers, share)
        panel.axis("on")
        _draw_image(panel, images.image(image), f"{place} {SYMBOLS[mark]}", mark)


def _draw_image(panel: Axes, image: Any, title: str, mark: str) -> None:
    frame = FRAMES[mark]
    panel.imshow(np.asarray(image))
    panel.set_xticks([])
    panel.set_yticks([])
    for spine in panel.spines.values():
        spine.set(**frame)
    colour = "#555555" if mark == "wrong" else frame["color"]
    panel.set_title(title, fontsize=9, color=colour, pad=4, fontweight="bold" if mark != "wrong" else "normal")


def _legend(known: bool) -> str:
    relevant = f"{SYMBOLS['relevant']} not labelled, but meets every wanted attribute     " if known else ""
    wrong = "misses a wanted attribute" if known else "not labelled"
    return f"{SYMBOLS['right']} labelled target     {relevant}{SYMBOLS['wrong']} {wrong}"


@contextmanager
def _figure(path: Path, size: tuple[float, float]) -> Iterator[Figure]:
    """A figure outside of pyplot's global state, saved on success."""
    with matplotlib.rc_context({"font.family": "DejaVu Sans"}):
        figure = Figure(figsize=size, layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.03, wspace=0.02, hspace=0.02))
        FigureCanvasAgg(figure)
        yield figure
        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=110)
        # Photographs as PNG are large; 256 colours are enough for small ones, and a quarter of the bytes.
        with Image.open(buffer) as drawn, atomic_file(path) as temporary:
            drawn.convert("RGB").quantize(256).save(temporary, format="PNG", optimize=True)

from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from PIL import Image

from qure.config import NegativeSettings
from qure.negatives import plots
from qure.negatives.mining import CurveExample, Mining, mine


@pytest.fixture(scope="module")
def mining() -> Mining:
    generator = torch.Generator().manual_seed(0)
    candidates = torch.nn.functional.normalize(torch.randn(120, 4, 16, generator=generator), dim=-1)
    return mine(candidates[:30, 0], candidates, torch.arange(30), NegativeSettings(), curve_examples=3)


def read_picture(path: Path) -> Any:
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        return np.asarray(picture.convert("RGB"))


def has_colour(picture: Any, colour: str) -> bool:
    wanted = [int(colour[place : place + 2], 16) for place in (1, 3, 5)]
    return bool((np.abs(picture.astype(int) - wanted) <= 2).all(axis=-1).any())


def test_sorted_scores_show_target_drops_and_set(mining: Mining, tmp_path: Path) -> None:
    path = tmp_path / "minings" / "scores.png"
    plots.draw_sorted_scores(mining.examples, path, "dress")
    picture = read_picture(path)
    assert all(has_colour(picture, colour) for colour in (plots.BLUE, plots.ORANGE, plots.VERMILION, plots.GREY))
    assert [file.name for file in path.parent.iterdir()] == ["scores.png"]


@pytest.mark.parametrize(
    ("panels", "images", "lowest", "spread"),
    [
        *((1, 2, 0.0, 0.5), (1, 300, -0.02, 0.04), (2, 120_000, 0.0, 1.0), (4, 120_000, 0.2, 1e-4)),
        *((8, 300, 0.9999, 1e-4), (8, 50, -9000.0, 25_000.0), (13, 300, -0.15, 0.4)),
    ],
)
def test_no_text_is_cut_off_or_covers_another(
    panels: int, images: int, lowest: float, spread: float, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = np.linspace(lowest + spread, lowest, images).astype(np.float32)
    last = min(9, images - 1)
    one = CurveExample(219, scores, 0, -1, -1, 1, last, np.arange(1, last + 1))
    figures: list[Figure] = []

    class Kept(Figure):
        def __init__(self, *arguments: Any, **named: Any) -> None:
            super().__init__(*arguments, **named)
            figures.append(self)

    monkeypatch.setattr(plots, "Figure", Kept)
    plots.draw_sorted_scores([one] * panels, tmp_path / "scores.png", "CIRR, epoch 14" if panels > 1 else "")
    (figure,) = figures
    shown = [panel for panel in figure.findobj(Axes) if panel.axison]
    drawn = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for panel in shown:
        drawn += [panel._left_title, panel.xaxis.label, panel.yaxis.label, panel.yaxis.get_offset_text()]
        for axis in (panel.xaxis, panel.yaxis):
            low, high = sorted(axis.get_view_interval())
            drawn += [tick.label1 for tick in axis.get_major_ticks() if low <= tick.get_loc() <= high]
    boxes = [(text.get_text(), text.get_window_extent()) for text in drawn if text.get_text()]
    (left, below), (right, above) = figure.bbox.get_points()
    assert [name for name, box in boxes if not (left <= box.x0 and box.x1 <= right)] == []
    assert [name for name, box in boxes if not (below <= box.y0 and box.y1 <= above)] == []
    assert [(first, other) for (first, a), (other, b) in combinations(boxes, 2) if a.shrunk(0.9, 0.9).overlaps(b)] == []


def test_a_ranking_without_drops_is_drawn_without_them(tmp_path: Path) -> None:
    candidates = torch.nn.functional.normalize(torch.eye(3)[:, None] + 0.1, dim=-1)
    tiny = mine(candidates[:1, 0], candidates, [0], NegativeSettings())
    assert tiny.examples[0].start == -1
    plots.draw_sorted_scores(tiny.examples, tmp_path / "scores.png")
    assert not has_colour(read_picture(tmp_path / "scores.png"), plots.ORANGE)


def test_sizes_over_a_run(mining: Mining, tmp_path: Path) -> None:
    plots.draw_sizes([mining.statistics] * 3, tmp_path / "sizes.png", labels=["epoch 5", "epoch 10", "epoch 15"])
    picture = read_picture(tmp_path / "sizes.png")
    assert has_colour(picture, plots.BLUE)
    assert has_colour(picture, plots.VERMILION)
    plots.draw_sizes([mining.statistics], tmp_path / "one.png")
    read_picture(tmp_path / "one.png")


def test_ranks_of_draws(mining: Mining, tmp_path: Path) -> None:
    plots.draw_ranks(mining.statistics, tmp_path / "ranks.png", "first mining")
    assert has_colour(read_picture(tmp_path / "ranks.png"), plots.BLUE)


def test_a_failed_picture_leaves_no_file(mining: Mining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full_disk(*_: object, **__: object) -> None:
        raise OSError("No space left on device")

    monkeypatch.setattr("PIL.Image.Image.save", full_disk)
    with pytest.raises(OSError, match="No space left"):
        plots.draw_ranks(mining.statistics, tmp_path / "ranks.png")
    assert list(tmp_path.iterdir()) == []

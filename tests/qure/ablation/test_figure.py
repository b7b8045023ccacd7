"""The figure and the tables of lines whose numbers are known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from qure.ablation.arms import Arm
from qure.ablation.figure import _draw_metric, draw
from qure.ablation.page import csv_of, table
from qure.ablation.summary import FACTS, Difference, Estimate, Line
from qure.config import TrainingSettings

CHANCE = {"recall_at_10": 2.5, "ndcg_at_10": 40.0}


def line(name: str, group: str, mean: float, **changes: Any) -> Line:
    estimate = Estimate(mean, mean - 2, mean + 2, (mean - 1, mean + 1))
    values: dict[str, Any] = {
        "arm": Arm(name, name.capitalize(), group, 1, None, TrainingSettings()),
        "metrics": {"recall_at_10": estimate, "ndcg_at_10": Estimate(mean + 30, None, None, (mean + 30,))},
        "facts": dict.fromkeys(FACTS, 0.5),
        "cpu_seconds": 12.4,
        "findings": 0,
        "differences": {},
    }
    return Line(**(values | changes))


@pytest.fixture
def lines() -> list[Line]:
    difference = Difference(-3.0, -4.0, -2.0, -6.0, -1.0)
    return [line("base", "first", 24.0), line("other", "second", 21.0, differences={"ndcg_at_10": difference})]


def test_bars_reach_from_chance_to_the_mean_with_the_interval_around_it(lines: list[Line]) -> None:
    panel = Figure().subplots()
    _draw_metric(panel, lines, "recall_at_10", "base", CHANCE["recall_at_10"])
    bars = [bar for bar in panel.patches if bar.get_height() == pytest.approx(0.72)]
    assert [(bar.get_x(), bar.get_x() + bar.get_width()) for bar in bars] == [(2.5, 24.0), (2.5, 21.0)]
    ends = sorted(float(x) for one in panel.collections for segment in one.get_segments() for x, _ in segment)
    assert ends == pytest.approx([19.0, 22.0, 23.0, 26.0])
    assert [text.get_text() for text in panel.texts] == ["24.0", "21.0"]
    assert panel.get_xlim()[0] == 2.5
    dashed = [one for one in panel.lines if one.get_linestyle() == "--"]
    assert [one.get_xdata()[0] for one in dashed] == [24.0]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("means", "limits"), [((2.5,), (2.5, 3.5)), ((1.0, 2.0), (1.0, 2.2))])
def test_arms_that_learned_nothing_are_seen(means: tuple[float, ...], limits: tuple[float, float]) -> None:
    panel = Figure().subplots()
    plain = [Estimate(mean, None, None, (mean,)) for mean in means]
    metrics = [{"recall_at_10": one, "ndcg_at_10": one} for one in plain]
    lines = [line(f"arm {number}", "first", 9.0, metrics=one) for number, one in enumerate(metrics)]
    _draw_metric(panel, lines, "recall_at_10", "", 2.5)
    assert panel.get_xlim() == pytest.approx(limits)
    assert all(limits[0] <= mean < limits[1] for mean in means)


def test_the_figure_is_a_picture_with_something_on_it(lines: list[Line], tmp_path: Path) -> None:
    draw(lines, tmp_path / "figure.png", baseline="base", by_chance=CHANCE, title="Two arms")
    with Image.open(tmp_path / "figure.png") as image:
        pixels = np.asarray(image.convert("RGB")).reshape(-1, 3)
    assert len(np.unique(pixels, axis=0)) > 50
    assert [file.name for file in tmp_path.iterdir()] == ["figure.png"]


def test_the_table_has_groups_intervals_and_marked_differences(lines: list[Line]) -> None:
    page = table(lines, baseline="base", circumstances={"seeds": "0, 1"})
    assert "- seeds: 0, 1" in page
    assert "Baseline of the differences: Base." in page
    assert "| *second* |" in page
    assert "| 24.0 (22.0 to 26.0) |" in page
    assert "| **-3.0** (-4.0 to -2.0) [-6.0 to -1.0] |" in page


def test_what_is_unknown_is_a_dash_not_a_zero() -> None:
    unknown = line("base", "first", 24.0, facts=dict.fromkeys(FACTS))
    row = next(one for one in table([unknown], baseline="base", circumstances={}).splitlines() if "| Base |" in one)
    assert row.split("|")[5].strip() == "-"
    assert "0.00%" not in row


def test_csv_has_a_value_per_seed() -> None:
    short = [line("base", "first", 24.0, metrics={"recall_at_10": Estimate(24.0, 22.0, 26.0, (23.0, 25.0))})]
    rows = csv_of(short).splitlines()
    assert rows[0].startswith("arm,title,group,run,recall_at_10,false_negatives")
    assert [row.split(",")[:5] for row in rows[1:]] == [
        ["base", "Base", "first", "0", "23.0"],
        ["base", "Base", "first", "1", "25.0"],
    ]

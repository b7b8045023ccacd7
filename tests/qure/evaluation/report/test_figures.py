"""The figures and curves of the stage: they hold what they say, and are the same bytes every time."""

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from qure.datasets.truth import read_truth
from qure.evaluation.report import figures
from qure.evaluation.report.figures import draw_retrieval
from qure.evaluation.statistics.results import load_results


def pixels(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def test_the_stage_draws_both(evaluated: Any, scenes: Any) -> None:
    for found in (evaluated, scenes):
        folder = found.folder / "evaluation" / "plots"
        for name, width in (("retrieval.png", 1400), ("steep-drops.png", 700)):
            assert pixels(folder / name).shape[1] > width
            assert (folder / name).stat().st_size < 400_000


def test_retrieval_shows_the_pictures_of_successful_queries(evaluated: Any, tmp_path: Path) -> None:
    found = load_results(evaluated.folder / "evaluation" / "results")["fashioniq"]
    truth = read_truth(evaluated.data / "fashioniq")
    draw_retrieval(found, evaluated.data, truth, tmp_path / "again.png")
    written = evaluated.folder / "evaluation" / "plots" / "retrieval.png"
    assert (tmp_path / "again.png").read_bytes() == written.read_bytes()
    rows = figures._successes(found, 3)
    assert [row["category"] for row in rows] == ["dress", "shirt", "toptee"]
    assert all(row["rank"] <= 10 for row in rows)


def test_a_caption_with_dollars_is_no_formula(scenes: Any, tmp_path: Path) -> None:
    """CIRCO's captions all hold one."""
    found = load_results(scenes.folder / "evaluation" / "results")["circo"]
    assert found.per_query["text"].str.contains("$", regex=False).all()
    draw_retrieval(found, scenes.data, None, tmp_path / "circo.png")
    assert pixels(tmp_path / "circo.png").shape[1] > 1400


def test_curves_hold_what_training_wrote(evaluated: Any) -> None:
    folder = evaluated.folder / "evaluation" / "plots"
    lines = (folder / "loss.csv").read_text().splitlines()
    assert lines[0] == "epoch,loss,pair_accuracy,temperature"
    history = [json.loads(line) for line in (evaluated.folder / "training" / "history.jsonl").read_text().splitlines()]
    assert [int(line.split(",")[0]) for line in lines[1:]] == [1, 2, 3]
    assert [float(line.split(",")[2]) for line in lines[1:]] == [one["pair_accuracy"] for one in history]
    assert (folder / "set_size.csv").read_text().startswith("epoch,mean,median\n2,")

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from qure.config import NegativeSettings
from qure.negatives import plots
from qure.negatives.mining import Mining, mine


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

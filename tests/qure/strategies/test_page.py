"""docs/strategies.md: its function, settings, arms and program do what the page says."""

import re
from pathlib import Path

import pytest
import torch

from qure.ablation.arms import read_arms
from qure.config import NegativeSettings, Settings
from qure.negatives.mining import negatives_from_scores
from qure.strategies import registry, require_usable

PAGE = Path(__file__).resolve().parents[3] / "docs" / "strategies.md"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


def test_the_pages_files_work_together(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))
    function, program = blocks("python")
    params, arms, _ = blocks("yaml")
    for name, text in (("close.py", function), ("params.yaml", params), ("arms.yaml", arms)):
        (tmp_path / name).write_text(text)
    settings = Settings.load(tmp_path / "params.yaml")
    chosen = settings.training_for("fashioniq").negatives
    require_usable(chosen)
    scores, target = torch.tensor([[0.9, 0.85, 0.8, 0.4, 0.3]]), torch.tensor([1])
    assert negatives_from_scores(scores, target, chosen)[0].of(0).tolist() == [0, 2]

    read = read_arms(settings, "fashioniq", file=tmp_path / "arms.yaml")
    assert [arm.recipe.negatives.options for arm in read.arms] == [{}, {}, {"margin": 0.02}]

    exec(compile(program, "program", "exec"), {})
    own = NegativeSettings(strategy="only_next")
    assert negatives_from_scores(scores, target, own)[0].of(0).tolist() == [2]

"""The report's Markdown: summary and model card of a really evaluated (tiny) model."""

import json
import shutil
from pathlib import Path
from typing import Any

from qure.evaluation.findings import read_findings
from qure.evaluation.joint import JointEvaluation
from qure.evaluation.model_card import LONGEST
from qure.evaluation.parts import Part
from qure.evaluation.stage import write_again
from qure.evaluation.statistics.results import load_results
from qure.evaluation.wording import difference


def test_the_model_card_tells_how_good_on_what_and_against_what(evaluated: Any) -> None:
    folder = evaluated.folder / "evaluation"
    card = (folder / "model_card.md").read_text()
    assert len(card) <= LONGEST
    metrics = json.loads((folder / "metrics.json").read_text())
    assert f"among the first ten for {metrics['fashioniq']['recall_at_10']:.1f} % of" in card
    assert f"chance {metrics['controls']['random']['recall_at_10']:.1f}" in card
    assert "knows nothing about photographs" in card
    assert "qure search --training-set fashioniq" in card
    findings = read_findings(folder)
    assert all(one.says in card and one.remedy in card for one in findings)
    assert card.count("**WARNING:") == len(findings)
    headings = [line for line in card.splitlines() if line.startswith("#")]
    assert headings == ["# qure-fashioniq", "## What it measures", "## What it is", "## Use", "## Limits"]


def test_a_champion_that_was_asked_otherwise_is_not_compared(evaluated: Any, tmp_path: Path) -> None:
    champion = tmp_path / "champion"
    shutil.copytree(evaluated.folder / "champion", champion)
    file = champion / "results" / "fashioniq" / "evaluation.json"
    file.write_text(json.dumps({**json.loads(file.read_text()), "data_fingerprint": "another"}))
    write_again(
        evaluated.settings,
        "fashioniq",
        data=evaluated.data,
        evaluation=evaluated.folder / "evaluation",
        champion=champion,
        output=tmp_path,
    )
    first, second = (tmp_path / "summary.md").read_text().split("## HP-FashionIQ")
    assert "was evaluated on other data" in first
    assert "| champion | difference |" not in first
    assert "| champion | difference |" in second


def test_the_reports_difference_is_the_one_in_the_comparisons(evaluated: Any) -> None:
    """Both are made from the settings' seed, whatever it is."""
    settings = evaluated.settings.evaluation.model_copy(update={"seed": 7})
    own, other = (load_results(evaluated.folder / name / "results") for name in ("evaluation", "champion"))
    compared = JointEvaluation([Part(own["fashioniq"], {}, {}, {})], other).comparisons(settings)["champion"][
        "fashioniq"
    ]
    write_again(
        evaluated.settings.model_copy(update={"evaluation": settings}),
        "fashioniq",
        data=evaluated.data,
        evaluation=evaluated.folder / "evaluation",
        champion=evaluated.folder / "champion",
        output=evaluated.folder / "seeded",
    )
    told = compared["recall_at_10"]
    expected = difference(told["difference"], (told["low"], told["high"]))
    (row,) = [
        line
        for line in (evaluated.folder / "seeded" / "summary.md").read_text().splitlines()
        if line.startswith("| R@10 |")
    ]
    assert row.endswith(f"| {expected} |")

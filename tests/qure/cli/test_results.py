"""`qure results` and `qure search`: what they print, for people and for programs."""

import json
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

SHOWN = {"recall_at_10": 29.0, "average": 40.0, "queries": 600}
CONTROLS = {name: {"recall_at_10": 4.0, "average": 9.0} for name in ("untrained_backbone", "random")}


def _write(file: Path, value: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(value))


@pytest.fixture
def finished(project: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stages leave, for both training sets, and one image."""
    monkeypatch.setattr("qure.registry.asking.is_champion_gone", lambda *_: False)
    for training_set, second in (("fashioniq", "hp_fashioniq"), ("cirr", "circo")):
        folder = project / "artifacts" / training_set
        numbers = {training_set: SHOWN, second: {}, "controls": CONTROLS}
        _write(folder / "evaluation" / "metrics.json", numbers)
        _write(folder / "evaluation" / "intervals.json", {training_set: {"recall_at_10": [26.1, 31.9]}})
        promotion = {"outcome": "promoted", "version": 1, "champion_before": None, "reason": "there was no champion"}
        _write(folder / "promotion.json", promotion)
        query = {"query_id": "dress/0", "reference": "B01", "text": "is blue, isn't it"}
        _write(folder / "evaluation" / "plots" / "hard-negatives.json", [query])
    images = project / "data" / "fashioniq" / "images"
    images.mkdir(parents=True)
    Image.new("RGB", (8, 8), "red").save(images / "B01.jpg")
    return project


def test_numbers_stand_with_their_intervals_and_a_legend(qure: Callable[..., Any], finished: Path) -> None:
    said = qure("results").out
    words = " ".join(said.split())
    assert "R@10 29.0 26.1 to 31.9 4.0 4.0" in words
    assert "95 % interval: how uncertain" in words
    assert "R@k: share of queries whose target is among the k best candidates." in words
    assert "untrained backbone: the model that training started from." in words
    assert "average: mean of R@10 and R@50 (fashioniq); mean of R@5 and Rs@1 (cirr)." in words
    assert "shuffled references" not in words  # not measured, not explained
    assert "qure-fashioniq version 1 is champion (there was no champion)" in said
    assert "report: artifacts/fashioniq/evaluation/report.html" in said


def test_the_search_line_can_be_pasted(qure: Callable[..., Any], finished: Path) -> None:
    (line,) = [one for one in qure("results").out.splitlines() if one.startswith("  qure search")]
    _, _, image, text, *options = shlex.split(line)
    assert (finished / image).is_file()
    assert text == "is blue, isn't it"
    assert options[:4] == ["--training-set", "fashioniq", "--group", "dress"]


def test_a_refused_model_is_told_and_not_searched(qure: Callable[..., Any], finished: Path) -> None:
    for training_set in ("fashioniq", "cirr"):
        refused = {"outcome": "refused", "version": 2, "champion_before": 1, "reason": "worse than the champion"}
        _write(finished / "artifacts" / training_set / "promotion.json", refused)
    said = qure("results").out
    assert "qure-cirr version 2 was not promoted, version 1 stays champion: worse than the champion" in said
    assert "qure search" not in said


def test_a_registry_that_was_removed_and_a_champion_that_stays_are_told(
    qure: Callable[..., Any], finished: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = {"outcome": "champion already", "version": 2, "champion_before": 2, "reason": "it is champion"}
    _write(finished / "artifacts" / "cirr" / "promotion.json", again)
    (finished / "artifacts" / "cirr" / "evaluation" / "plots" / "hard-negatives.json").unlink()
    assert "qure-cirr version 2 is champion, as before" in qure("results").out
    monkeypatch.setattr("qure.registry.asking.is_champion_gone", lambda settings, training_set: training_set == "cirr")
    said = " ".join(qure("results").out.split())
    assert "qure-cirr has no champion: the registry is new or was removed." in said
    assert "qure-fashioniq version 1 is champion (there was no champion)" in said


def test_a_search_whose_picture_is_not_a_file_is_not_proposed(qure: Callable[..., Any], finished: Path) -> None:
    (finished / "data" / "fashioniq" / "images" / "B01.jpg").unlink()
    assert "qure search" not in qure("results").out


def test_a_picture_that_is_not_there_is_named(qure: Callable[..., Any], project: Path) -> None:
    said = qure("search", "none.jpg", "is blue")
    assert (said.exit_code, "none.jpg: the image does not exist" in said.err) == (2, True)


def test_results_for_programs(qure: Callable[..., Any], finished: Path) -> None:
    found = json.loads(qure("results", "--json").out)
    assert found["cirr"]["metrics"]["cirr"] == SHOWN
    assert found["cirr"]["intervals"]["cirr"]["recall_at_10"] == [26.1, 31.9]
    assert found["cirr"]["promotion"]["version"] == 1


@pytest.fixture
def champion(finished: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One that finds an image which is there and one which is not."""
    monkeypatch.setattr("qure.registry.asking.ask_champion", lambda *_: [("B01", 0.75), ("B99", 0.5)])
    return finished


def test_search_prints_paths(qure: Callable[..., Any], champion: Path) -> None:
    said = qure("search", "data/fashioniq/images/B01.jpg", "is blue")
    assert said.out == "  1  0.750  B01  data/fashioniq/images/B01.jpg\n  2  0.500  B99\n"


def test_search_for_programs(qure: Callable[..., Any], champion: Path) -> None:
    first, second = json.loads(qure("search", "data/fashioniq/images/B01.jpg", "is blue", "--json").out)
    assert first == {"rank": 1, "relevance": 0.75, "image_id": "B01", "path": "data/fashioniq/images/B01.jpg"}
    assert second["path"] is None


def test_search_draws_a_contact_sheet(qure: Callable[..., Any], champion: Path) -> None:
    said = qure("search", "data/fashioniq/images/B01.jpg", "is blue " * 99, "--sheet", "found.png")
    assert said.exit_code == 0
    sheet = Image.open(champion / "found.png").convert("RGB")
    query, first, second = (sheet.crop((x, y, x + 9, y + 9)).getcolors() for x, y in ((20, 20), (20, 264), (224, 264)))
    assert query == first != second  # the second has no file


@pytest.mark.parametrize(("sheet", "problem"), [("found.txt", "is a picture"), ("nowhere/found.png", "does not exist")])
def test_a_sheet_that_cannot_be_written_is_refused_before_the_champion_is_asked(
    qure: Callable[..., Any], finished: Path, monkeypatch: pytest.MonkeyPatch, sheet: str, problem: str
) -> None:
    monkeypatch.setattr("qure.registry.asking.ask_champion", lambda *_: pytest.fail("asked"))
    said = qure("search", "data/fashioniq/images/B01.jpg", "is blue", "--sheet", sheet)
    assert said.exit_code == 2
    assert problem in said.err


def test_an_ablation_is_a_table_or_json(
    qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def row(title: str, ndcg: float, difference: dict[str, Any]) -> dict[str, Any]:
        return {"title": title, "metrics": {"ndcg_at_10": {"mean": ndcg}}, "differences": difference}

    worse = {"ndcg_at_10": {"value": -3.25, "verdict": "below"}}
    found = {"training_set": "cirr", "arms": [row("In-batch contrast", 60.14, {}), row("Published", 56.89, worse)]}
    asked: list[dict[str, Any]] = []
    monkeypatch.setattr("qure.ablation.stage.ablate", lambda *_, **given: asked.append(given) or found)
    said = qure("ablate", "--training-set", "cirr", "--epochs", "2", "--seeds", "4", "--arm", "published").out
    lines = [" ".join(line.replace("│", " ").split()) for line in said.splitlines()]
    assert "In-batch contrast 60.1" in lines
    assert "Published 56.9 -3.2, below" in lines
    assert "report.html, table.md" in said
    assert (asked[0]["epochs"], list(asked[0]["seeds"]), asked[0]["arms"]) == (2, [0, 1, 2, 3], ["published"])
    assert json.loads(qure("ablate", "--training-set", "cirr", "--json").out) == found

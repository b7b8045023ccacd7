"""Every way in which a promotion ends, on a real registry; what it loads, asks and keeps is told by a shelf.

`test_promoting.py` does the same through the stage functions, with real models and evaluations that are kept.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.evaluation.findings import Finding
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.results import Evaluation
from qure.registry import promotion as module
from qure.registry.evaluations import EvaluationLost
from qure.registry.history import ROLLED_BACK, SET_BY_HAND
from qure.registry.journal import CHAMPION
from qure.registry.promotion import ROUNDS, Decision, Promotion
from qure.registry.registration import FINGERPRINT
from qure.tracking import connect

NAME = "qure-fashioniq"
VERSIONS = 5
QUERIES = 60

Reevaluate = Callable[[Path, Path], None]


def _evaluation(model: str, hits: int, asked: str) -> Evaluation:
    """Of a model that answers the first `hits` of 60 queries."""
    table = pd.DataFrame({"query_id": [str(number) for number in range(QUERIES)]})
    table["hit"] = (np.arange(QUERIES) < hits).astype(float)
    table["category"] = "dress"
    metrics = {"recall_at_10": 100.0 * hits / QUERIES}
    measures = (Measure("recall_at_10", "hit", mean_over="category"),)
    return Evaluation(
        "fashioniq", "val", metrics, {}, table, {}, measures, "category", None, asked, details={"model": model}
    )


class Shelf:
    """A registry of five versions, each with a model of its own, and what the rest of the world would tell of them."""

    def __init__(self, settings: Settings, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings, self.scratch = settings, scratch
        self.client: Any = connect(settings.tracking)
        self.client.create_registered_model(NAME)
        for number in range(1, VERSIONS + 1):
            self.client.create_model_version(NAME, source="s3://bucket/model", tags={FINGERPRINT: f"model {number}"})
        self.kept: dict[tuple[int, str], Evaluation] = {}
        self.lost: set[int] = set()
        self.broken: set[int] = set()
        self.gone: set[int] = set()
        self.collapsed: list[Finding] = []
        self.judged_again: dict[str, Evaluation] = {}
        for name in ("attach", "download_evaluation", "count_judged", "download", "answers", "read_evaluations"):
            monkeypatch.setattr(module, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(module, "collapses", lambda evaluations: self.collapsed)
        monkeypatch.setattr(module, "read_manifest", lambda folder: {"fingerprint": folder.name})

    def promote(
        self, number: int, hits: int, *, asked: str = "now", reevaluate: Reevaluate | None = None, model: str = ""
    ) -> Decision:
        found = {"fashioniq": _evaluation(model or f"model {number}", hits, asked)}
        promotion = Promotion(self.client, self.settings, "fashioniq", found, reevaluate, self.scratch, "the run")
        decision = promotion.decide(number, self.scratch)
        assert list(self.scratch.iterdir()) == [], "downloads are gone"
        return decision

    @property
    def champions(self) -> module.Champions:
        return module.Champions(self.client, NAME)

    def _attach(self, client: Any, version: Any, folder: Path, evaluations: Any, key: str) -> None:
        self.kept[int(version.version), key] = evaluations["fashioniq"]

    def _download_evaluation(self, client: Any, version: Any, benchmark: str, key: str) -> Evaluation | None:
        assert benchmark == "fashioniq"
        if int(version.version) in self.lost:
            raise EvaluationLost(f"the evaluation of version {version.version} is gone")
        return self.kept.get((int(version.version), key))

    def _count_judged(self, client: Any, name: str, key: str) -> int:
        assert name == NAME
        return sum(one == key for _, one in self.kept)

    def _download(self, uri: str, folder: Path) -> Path:
        _, name, number, *inside = uri.split("/")
        assert name == NAME
        if int(number) in self.gone:
            raise OSError("no such bucket")
        place = folder.joinpath(f"version {number}", *inside)
        place.mkdir(parents=True)
        return place

    def _answers(self, package: Path, *, environment: str, scratch: Path) -> None:
        assert package.is_relative_to(scratch)
        assert environment == self.settings.promotion.environment
        if int(package.name.split()[1]) in self.broken:
            raise StageFailed("it does not load or answer")

    def _read_evaluations(self, folder: Path, training_set: str, fingerprint: str) -> dict[str, Evaluation]:
        assert (training_set, folder.name, fingerprint) == ("fashioniq", "evaluation", "model")
        return self.judged_again


@pytest.fixture
def shelf(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shelf:
    """Nobody is champion yet."""
    (tmp_path / "scratch").mkdir()
    return Shelf(settings, tmp_path / "scratch", monkeypatch)


def changed(shelf: Shelf, **promotion: Any) -> None:
    shelf.settings = shelf.settings.model_validate(shelf.settings.model_dump() | {"promotion": promotion})


def test_the_first_is_champion_and_its_entry_says_why_and_by_what(shelf: Shelf) -> None:
    told = shelf.promote(1, 30)
    assert (told.outcome, told.reason, told.version) == ("promoted", "there was no champion", 1)
    assert (told.champion_before, told.compared_with, told.comparison, told.note) == (None, None, None, "")
    assert told.checks == {"loads": True, "collapsed": [], "thresholds": {}, "rolled_back": None}
    assert told.passed
    assert told.record()["promoted"] is True
    (entry,) = shelf.champions.history()
    assert (entry.version, entry.previous, entry.why, entry.run) == (1, None, "there was no champion", "the run")
    assert entry.command == "qure promote --training-set fashioniq"
    assert [number for number, _ in shelf.kept] == [1], "its evaluation is kept for the next one"


def test_a_better_one_follows_and_the_difference_is_remembered(shelf: Shelf) -> None:
    shelf.promote(1, 30)
    told = shelf.promote(2, 36)
    assert (told.outcome, told.champion_before, told.compared_with) == ("promoted", 1, 1)
    assert told.checks == {
        "loads": True,
        "collapsed": [],
        "thresholds": {},
        "rolled_back": None,
        "not_worse": True,
        "loss": True,
    }
    assert told.comparison is not None
    assert (told.comparison["a"], told.comparison["b"]) == (60.0, 50.0)
    assert told.reason.startswith("not worse than the champion: recall_at_10 60.00 against 50.00")
    entry = shelf.champions.history()[-1]
    assert (entry.version, entry.previous, entry.difference, entry.why) == (2, 1, pytest.approx(10.0), told.reason)
    assert told.note == "", "of two versions there is nothing to say"
    assert shelf.promote(3, 42).note.startswith("3 versions were judged on these queries")


def test_a_worse_one_is_refused_and_changes_nothing(shelf: Shelf) -> None:
    shelf.promote(1, 30)
    told = shelf.promote(2, 24)
    assert (told.outcome, told.champion_before, told.compared_with) == ("refused", 1, 1)
    assert (told.checks["not_worse"], told.checks["loss"]) == (False, False)
    assert told.reason.startswith("worse than the champion")
    assert not told.passed
    assert told.record()["promoted"] is False
    assert [one.version for one in shelf.champions.history()] == [1]


def test_losses_that_are_small_each_add_up(shelf: Shelf) -> None:
    changed(shelf, max_risk=1.0, max_loss=4.0)
    shelf.promote(1, 30)
    assert shelf.promote(2, 29).outcome == "promoted", "1.7 points"
    assert shelf.promote(3, 28).outcome == "promoted", "3.3"
    told = shelf.promote(4, 27)
    assert (told.outcome, told.checks["not_worse"], told.checks["loss"]) == ("refused", True, False)
    assert "losses have added up: 5.00 points below the best champion" in told.reason


def test_what_is_allowed_is_allowed_to_the_last_point(shelf: Shelf) -> None:
    changed(shelf, max_risk=1.0, max_loss=10.0)
    shelf.promote(1, 30)
    told = shelf.promote(2, 24)
    assert told.comparison is not None
    assert told.comparison["loss"] == 10.0
    assert (told.outcome, told.checks["not_worse"], told.checks["loss"]) == ("promoted", True, True)


def test_a_champion_stays_and_hears_when_it_would_not_pass_today(
    shelf: Shelf, caplog: pytest.LogCaptureFixture
) -> None:
    shelf.promote(1, 30)
    told = shelf.promote(1, 30)
    assert (told.outcome, told.reason, told.champion_before) == ("champion already", "it is champion already", 1)
    assert told.passed
    assert told.record()["promoted"] is False
    assert "would not be promoted today" not in caplog.text
    shelf.broken.add(1)
    told = shelf.promote(1, 30)
    assert told.outcome == "champion already"
    assert told.reason == "it is champion already, but would not be promoted today: it does not load or answer"
    assert "version 1, would not be promoted today: it does not load or answer" in caplog.text
    assert [one.version for one in shelf.champions.history()] == [1]


def test_without_an_alias_the_last_champion_is_the_one_to_beat(shelf: Shelf) -> None:
    shelf.promote(1, 20)
    shelf.promote(2, 30)
    shelf.client.delete_registered_model_alias(NAME, CHAMPION)
    worse = shelf.promote(3, 25)
    assert (worse.outcome, worse.champion_before, worse.compared_with) == ("refused", None, 2)
    assert worse.reason.startswith("there is no champion; version 2 was the last one: worse than the champion")
    again = shelf.promote(2, 30)
    assert (again.outcome, again.champion_before) == ("promoted", None)
    assert again.reason == "there was no champion, and it was the last one"
    assert shelf.champions.history()[-1].previous == 1, "who followed whom stays as it was"
    shelf.client.delete_registered_model_alias(NAME, CHAMPION)
    assert shelf.promote(3, 40).outcome == "promoted"
    assert shelf.champions.history()[-1].previous == 2


def test_one_that_was_rolled_back_does_not_return_by_itself(shelf: Shelf) -> None:
    shelf.promote(1, 20)
    shelf.promote(2, 30)
    with shelf.champions.lock() as lock:
        shelf.champions.roll_back(lock, None)
    at = shelf.champions.history()[-1].at
    assert shelf.champions.history()[-1].reason == ROLLED_BACK
    told = shelf.promote(2, 40)
    assert (told.outcome, told.champion_before, told.checks["rolled_back"]) == ("refused", 1, at)
    assert told.reason == (
        f"it was rolled back at {at}; to make it champion again: qure rollback --training-set fashioniq --to-version 2"
    )
    shelf.broken.add(2)
    assert shelf.promote(2, 40).reason == "it does not load or answer", "what was found first is told"
    assert shelf.promote(3, 40).checks["rolled_back"] is None


def test_thresholds_collapse_and_loading_bar_whoever_is_champion(shelf: Shelf) -> None:
    changed(shelf, thresholds={"fashioniq": {"recall_at_10": 60.0, "fashioniq/recall_at_10": 70.0}})
    told = shelf.promote(1, 30)
    assert (told.outcome, told.champion_before) == ("refused", None)
    missed = "fashioniq/recall_at_10 is 50.00, required are"
    assert told.reason == f"{missed} 60; {missed} 70"
    assert told.checks["thresholds"] == {"fashioniq/recall_at_10": {"value": 50.0, "least": 70.0}}
    shelf.collapsed = [Finding("level relevance", "cirr", "all alike", "train again"), Finding("same", "x", "y", "z")]
    told = shelf.promote(1, 30)
    assert told.reason == "cirr: all alike; x: y. To mend it: train again"
    assert told.checks["collapsed"] == ["cirr: level relevance", "x: same"]
    shelf.broken.add(1)
    told = shelf.promote(1, 30)
    assert (told.reason, told.checks["loads"]) == ("it does not load or answer", False)
    shelf.broken.clear()
    changed(shelf, refuse_collapsed=False)
    told = shelf.promote(1, 30)
    assert told.outcome == "promoted"
    assert told.checks["collapsed"] == ["cirr: level relevance", "x: same"], "it is told all the same"


def test_files_that_cannot_be_brought_are_a_reason(shelf: Shelf) -> None:
    shelf.gone.add(1)
    told = shelf.promote(1, 30)
    assert (told.outcome, told.checks["loads"]) == ("refused", False)
    assert told.reason == f"models:/{NAME}/1 cannot be downloaded: no such bucket"


def test_another_model_or_no_version_is_refused_by_name(shelf: Shelf) -> None:
    with pytest.raises(BadInput, match=r"version 1 holds the model model 1, evaluated was model 2.*qure register"):
        shelf.promote(1, 30, model="model 2")
    with pytest.raises(BadInput, match=rf"{NAME} has no version 9.*register@fashioniq promote@fashioniq"):
        shelf.promote(9, 30)
    assert shelf.kept == {}
    assert shelf.champions.history() == []


def test_where_it_cannot_be_judged_again_the_ways_out_are_named(shelf: Shelf) -> None:
    shelf.promote(1, 30, asked="last year")
    told = shelf.promote(2, 40)
    assert (told.outcome, told.champion_before, told.compared_with, told.comparison) == ("refused", 1, 1, None)
    assert told.reason.startswith(
        "the champion, version 1, was judged on other data and cannot be evaluated again here"
    )
    assert "qure promote --training-set fashioniq" in told.reason
    assert "if version 1 is not to be champion any more: qure rollback --training-set fashioniq" in told.reason
    shelf.lost.add(1)
    told = shelf.promote(2, 40)
    assert told.reason.startswith("the evaluation of version 1 is gone. It cannot be evaluated again here")
    assert told.compared_with == 1


def test_a_champion_that_was_asked_something_else_is_judged_again_and_then_compared(shelf: Shelf) -> None:
    shelf.promote(1, 50, asked="last year")
    judged = []

    def reevaluate(model: Path, output: Path) -> None:
        assert model.is_dir()
        assert not output.exists()
        judged.append(next(one.name for one in model.parents if one.name.startswith("version")))

    shelf.judged_again = {"fashioniq": _evaluation("model 1", 35, "now")}
    told = shelf.promote(2, 40, reevaluate=reevaluate)
    assert (told.outcome, judged) == ("promoted", ["version 1"])
    assert told.comparison is not None
    assert told.comparison["b"] == pytest.approx(100 * 35 / 60), "on the present data, not on last year's"
    shelf.promote(3, 41, reevaluate=reevaluate)
    assert judged == ["version 1"], "whoever was judged on the same is not judged again"
    assert sum(number == 1 for number, _ in shelf.kept) == 2, "what was found is kept for the next one"


def test_judging_again_that_asks_something_else_or_has_no_model_fails(shelf: Shelf) -> None:
    shelf.promote(1, 50, asked="last year")
    shelf.judged_again = {"fashioniq": _evaluation("model 1", 35, "yesterday")}
    with pytest.raises(StageFailed, match="was not asked what the challenger was asked"):
        shelf.promote(2, 40, reevaluate=lambda *_: None)
    shelf.gone.add(1)
    with pytest.raises(
        StageFailed, match=rf"models:/{NAME}/1/artifacts/model cannot be .*register@fashioniq.*qure rollback"
    ):
        shelf.promote(2, 40, reevaluate=lambda *_: None)
    assert shelf.champions.current() == 1


def test_a_champion_that_keeps_changing_ends_it(shelf: Shelf) -> None:
    """A person moves the alias whenever the champion is being judged: each time to one that was not asked the same."""
    shelf.promote(1, 50, asked="last year")
    moved = []

    def reevaluate(model: Path, output: Path) -> None:
        moved.append(1 + len(moved) % 2)
        shelf.client.set_registered_model_alias(NAME, CHAMPION, str(3 - moved[-1]))
        shelf.kept.clear()

    shelf.judged_again = {"fashioniq": _evaluation("model 1", 35, "now")}
    shelf.lost = {1, 2}
    with pytest.raises(StageFailed, match=f"the champion changed {ROUNDS} times meanwhile"):
        shelf.promote(3, 40, reevaluate=reevaluate)
    assert len(moved) == ROUNDS == 5
    assert {one.reason for one in shelf.champions.history()[1:]} == {SET_BY_HAND}
    assert 3 not in [one.version for one in shelf.champions.history()]

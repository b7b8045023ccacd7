"""The rule and its error rates."""

import json
from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pandas as pd
import pytest

from qure.config import PromotionSettings, Settings
from qure.errors import BadInput
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.results import Evaluation
from qure.registry.comparison import Comparison, compare, missed_thresholds, risk_of
from qure.registry.history import PROMOTED, Entry, accumulated_loss
from qure.registry.selection import gate_part, held_back_part

QUERIES = 600


def _settings(**promotion: object) -> Settings:
    return Settings.model_validate(
        {
            "training": {"fashioniq": {"recipe": "catalogue"}, "cirr": {"recipe": "catalogue"}},
            "evaluation": {"bootstrap_samples": 200},
            "promotion": promotion,
        }
    )


def _evaluation(hits: "np.ndarray[tuple[int], np.dtype[np.float64]]") -> Evaluation:
    table = pd.DataFrame({"query_id": [str(number) for number in range(len(hits))], "hit": hits})
    table["category"] = [("dress", "shirt", "toptee")[number % 3] for number in range(len(hits))]
    measure = Measure("recall_at_10", "hit", mean_over="category")
    metrics = {"recall_at_10": 100 * float(table.groupby("category")["hit"].mean().mean())}
    return Evaluation("fashioniq", "val", metrics, {}, table, {}, (measure,), strata="category")


def _pair(draw: np.random.Generator, difference: float, spread: float = 0.2) -> tuple[Evaluation, Evaluation]:
    """Answers of two models to the same queries; `spread` is the share of queries on which they differ by chance."""
    easy = draw.random(QUERIES) < 0.5
    flips = draw.random((2, QUERIES)) < spread / 2
    challenger, champion = (np.where(flip, ~easy, easy).astype(float) for flip in flips)
    lucky = draw.random(QUERIES) < abs(difference)
    if difference >= 0:
        challenger = np.where(lucky, 1.0, challenger)
        champion = np.where(lucky, 0.0, champion)
    else:
        challenger = np.where(lucky, 0.0, challenger)
        champion = np.where(lucky, 1.0, champion)
    return _evaluation(challenger), _evaluation(champion)


def _compare(challenger: Evaluation, champion: Evaluation, **promotion: object) -> Comparison:
    return compare(_settings(**promotion), "fashioniq", challenger, champion)


def test_of_two_versions_the_same_one_wins_in_either_order() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        one, other = _pair(draw, float(draw.normal(scale=0.02)))
        forth, back = _compare(one, other), _compare(other, one)
        assert forth.risk == pytest.approx(1 - back.risk)
        assert forth.passed != back.passed or forth.risk == 0.5


def test_equal_answers_pass() -> None:
    one, _ = _pair(np.random.default_rng(0), 0.0)
    found = _compare(one, one)
    assert (found.risk, found.passed, found.paired.difference) == (0.5, True, 0.0)


def test_a_large_difference_is_certain() -> None:
    better, worse = _pair(np.random.default_rng(0), 0.2)
    assert _compare(better, worse).risk < 0.01
    assert _compare(worse, better).risk > 0.99
    assert not _compare(worse, better, max_risk=0.99, max_loss=100.0).passed


@pytest.mark.parametrize("true", [-0.04, 0.0, 0.04])
def test_error_rates_are_those_that_are_documented(true: float) -> None:
    draw = np.random.default_rng(7)
    trials = [_compare(*_pair(draw, true), max_loss=100.0) for _ in range(80)]  # the guard is another rule
    differences = [trial.paired.difference for trial in trials]
    normal = NormalDist()
    for max_risk in (0.05, 0.5, 0.95):
        promoted = float(np.mean([replace(trial, max_risk=max_risk).passed for trial in trials]))
        expected = normal.cdf(np.mean(differences) / np.std(differences) - normal.inv_cdf(1 - max_risk))
        assert promoted == pytest.approx(expected, abs=0.12), max_risk


def test_the_risk_counts_ties_half() -> None:
    better, worse = _pair(np.random.default_rng(0), 0.0)
    found = _compare(better, worse)
    assert 0 < found.risk < 1
    assert risk_of(found.paired) == found.risk


def test_the_sentence_holds_the_numbers() -> None:
    better, worse = _pair(np.random.default_rng(0), 0.2)
    text = _compare(worse, better).sentence()
    assert "worse than the champion: recall_at_10" in text
    assert "on 600 queries" in text
    assert "worse in 99.8 % of resamples, allowed are 50 %" in text


def test_settings_fill_what_is_left_out() -> None:
    assert PromotionSettings(compare={"cirr": "recall_at_1"}).compare == {
        "fashioniq": "recall_at_10",
        "cirr": "recall_at_1",
    }
    with pytest.raises(ValueError, match="max_risk"):
        PromotionSettings(max_risk=1.5)


def test_a_risk_that_nothing_can_have_is_refused() -> None:
    """The least that n resamples tell is 1 / (2 (n + 1)): below it nothing would pass."""
    better, worse = _pair(np.random.default_rng(0), 0.4)
    found = _compare(better, worse)
    assert found.risk == pytest.approx(0.5 / 201)
    for nothing in (0.0, 0.9 * found.risk):
        with pytest.raises(ValueError, match="max_risk"):
            _settings(max_risk=nothing)
    assert _compare(better, worse, max_risk=1.001 * found.risk).passed


def test_the_largest_risk_and_loss_that_are_allowed_pass() -> None:
    """Shares of 200 resamples meet a limit of 5 % exactly."""
    found = replace(_compare(*_pair(np.random.default_rng(0), 0.4)), risk=0.05, max_risk=0.05, loss=1.5, max_loss=1.5)
    assert found.passed
    assert found.sentence().startswith("not worse than the champion: ")
    assert "added up" not in found.sentence()
    for beyond in ({"risk": 0.0501}, {"loss": 1.501}):
        assert not replace(found, **beyond).passed
    assert replace(found, risk=0.0501).sentence().startswith("worse than the champion: ")


def test_a_threshold_is_missed_below_it_and_by_what_is_no_number() -> None:
    found = _evaluation(np.array([1.0, 1.0, 1.0, 0.0, 0.0, 0.0]))  # half of each category
    broken = replace(found, benchmark="hp-fashioniq", metrics={"score": float("nan")})
    evaluations = {"fashioniq": found, "hp-fashioniq": broken}

    def missed(**thresholds: float) -> list[str]:
        named = {name.replace("__", "/"): least for name, least in thresholds.items()}
        return missed_thresholds(_settings(thresholds={"fashioniq": named}), "fashioniq", evaluations)[0]

    assert missed(recall_at_10=49.9) == missed(recall_at_10=50.0) == missed(fashioniq__recall_at_10=0) == []
    assert missed(recall_at_10=50.1) == ["fashioniq/recall_at_10 is 50.00, required are 50.1"]
    assert missed(hp_fashioniq__score=0) == ["hp_fashioniq/score is nan, required are 0"]
    assert missed(hp_fashioniq__score=101) == ["hp_fashioniq/score is nan, required are 101"], "no share, no limit"
    assert missed(recall_at_10=100) == ["fashioniq/recall_at_10 is 50.00, required are 100"]
    with pytest.raises(BadInput, match=r"fashioniq/recall_at_10 is a percentage and never reaches 100.5"):
        missed(recall_at_10=100.5)
    with pytest.raises(BadInput, match=r"no metric 'recall_at_11' .* are fashioniq/recall_at_10, hp_fashioniq/score"):
        missed(recall_at_11=1)
    settings = _settings(thresholds={"fashioniq": {"recall_at_10": 60}})
    assert missed_thresholds(settings, "fashioniq", evaluations)[1] == {
        "fashioniq/recall_at_10": {"value": 50.0, "least": 60}
    }
    assert missed_thresholds(settings, "cirr", {"cirr": replace(found, benchmark="cirr")}) == ([], {})


def test_a_loss_is_what_the_champion_had_lost_and_what_the_challenger_adds() -> None:
    better, worse = _pair(np.random.default_rng(0), 0.05)
    gain = _compare(better, worse).paired.difference
    assert gain > 1
    assert compare(_settings(), "fashioniq", better, worse, lost=0.6).loss == 0.0
    assert compare(_settings(), "fashioniq", better, worse, lost=gain + 0.6).loss == pytest.approx(0.6)
    assert compare(_settings(), "fashioniq", worse, better, lost=0.6).loss == pytest.approx(gain + 0.6)


def _sunk(promotions: int, **promotion: object) -> float:
    """True points that a champion loses over promotions of models that are each 0.3 points worse than it."""
    draw, champion, level, history = np.random.default_rng(5), 0.0, None, [Entry(0, None, PROMOTED, "")]
    easy = draw.random(QUERIES)
    quality = 0.6
    best = _evaluation((easy < quality).astype(float))
    for number in range(1, promotions + 1):
        flips = draw.random(QUERIES) < 0.1
        worse = quality + champion / 100 - 0.003
        challenger = _evaluation(np.where(flips, draw.random(QUERIES) < worse, easy < worse).astype(float))
        lost = accumulated_loss(history, history[-1].version, 20)
        found = compare(_settings(**promotion), "fashioniq", challenger, best if level is None else level, lost=lost)
        if found.passed:
            history.append(Entry(number, history[-1].version, PROMOTED, "", difference=found.paired.difference))
            level, champion = challenger, champion - 0.3
    return -champion


def test_small_losses_do_not_add_up_unnoticed() -> None:
    assert _sunk(20, max_risk=0.95, max_loss=100.0) > 3.0, "without the guard"
    assert _sunk(20, max_risk=0.95) < 3.0, "with it: a point, and what chance hides of it"


@pytest.mark.parametrize("judged", [2, 20])
def test_the_best_of_equal_models_measures_too_high_by_what_is_said(judged: int) -> None:
    draw, share, rounds, above, said = np.random.default_rng(1), 0.3, 150, [], []
    for _ in range(rounds):
        hits = (draw.random((judged, QUERIES)) < share).astype(float)
        above.append(100 * (hits.mean(axis=1).max() - share))
    for _ in range(5):
        one, other = ((draw.random(QUERIES) < share).astype(float) for _ in range(2))
        found = compare(_settings(), "fashioniq", _evaluation(one), _evaluation(other), judged=judged)
        said.append(found.selection_bias)
    assert np.mean(said) == pytest.approx(np.mean(above), rel=0.2)
    assert (f"{judged} versions were judged on these queries" in found.note()) is (judged > 2)


def test_held_back_queries_are_the_same_for_every_model_and_decide_nothing() -> None:
    one, other = _pair(np.random.default_rng(3), 0.1)
    gate, aside = gate_part(one, 0.25), held_back_part(one, 0.25)
    assert aside is not None
    assert set(gate.per_query["query_id"]).isdisjoint(aside.per_query["query_id"])
    assert len(gate.per_query) + len(aside.per_query) == QUERIES
    assert list(gate_part(other, 0.25).per_query["query_id"]) == list(gate.per_query["query_id"])
    hits = one.per_query.set_index("query_id")["hit"]
    turned = hits.where(~hits.index.isin(aside.per_query["query_id"]), 1 - hits)
    changed = _compare(_evaluation(turned.to_numpy()), other, held_back=0.25)
    before = _compare(one, other, held_back=0.25)
    assert changed.risk == before.risk
    assert changed.held_back is not None
    assert before.held_back is not None
    assert changed.held_back.a != before.held_back.a
    assert f"on {len(aside.per_query)} queries held back from the decision it is {changed.held_back.a:.2f}" in (
        changed.note()
    )
    record = json.loads(json.dumps(changed.record()))
    assert record["held_back"]["a"] == changed.held_back.a
    assert (record["a"], record["risk"], record["passed"]) == (changed.paired.a, changed.risk, changed.passed)
    plain = _compare(one, other)
    assert (plain.record()["held_back"], plain.note()) == (None, ""), "of two versions there is nothing to say"
    assert gate_part(one, 0.0) is one
    assert held_back_part(one, 0.0) is None
    table = one.per_query.groupby("category")["hit"].mean()
    assert one.metrics["recall_at_10"] == pytest.approx(100 * table.mean())
    rest = gate.per_query.groupby("category")["hit"].mean()
    assert gate.metrics["recall_at_10"] == pytest.approx(100 * rest.mean())

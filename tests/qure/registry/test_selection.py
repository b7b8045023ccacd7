"""Which queries decide, and what the best of several measures too high."""

import math

import numpy as np
import pandas as pd
import pytest

from qure.errors import BadInput
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.paired import PairedResult
from qure.evaluation.statistics.results import Evaluation
from qure.registry.selection import expected_maximum, gate_part, gate_parts, held_back_part, selection_bias


def evaluation(people: list[str]) -> Evaluation:
    """A person has several queries; every second query is a hit. `other` is a metric that no query makes."""
    table = pd.DataFrame({"query_id": [str(number) for number in range(len(people))], "person": people})
    table["hit"] = [number % 2 for number in range(len(people))]
    metrics = {"recall": 50.0, "other": 7.0}
    return Evaluation("fashioniq", "val", metrics, {}, table, {}, (Measure("recall", "hit"),), cluster="person")


def test_the_share_is_held_back_and_the_rest_decides() -> None:
    whole = evaluation([f"person {number}" for number in range(1000)])
    aside = held_back_part(whole, 0.2)
    assert aside is not None
    # 200 expected; a binomial draw is further off than this once in ten thousand.
    assert len(aside.per_query) == pytest.approx(200, abs=50)
    assert len(gate_part(whole, 0.2).per_query) == 1000 - len(aside.per_query)
    assert list(aside.per_query.index) == list(range(len(aside.per_query)))


def test_a_person_is_on_one_side_and_numbers_are_those_of_the_part() -> None:
    whole = evaluation([f"person {number // 7}" for number in range(700)])
    gate, aside = gate_parts({"fashioniq": whole}, 0.5)["fashioniq"], held_back_part(whole, 0.5)
    assert aside is not None
    assert set(gate.per_query["person"]).isdisjoint(aside.per_query["person"])
    assert set(gate.per_query["person"]) | set(aside.per_query["person"]) == set(whole.per_query["person"])
    for part in (gate, aside):
        assert part.metrics == {"recall": pytest.approx(100 * part.per_query["hit"].mean()), "other": 7.0}


@pytest.mark.parametrize("person", ["ann", "eve"])
def test_a_share_that_leaves_a_side_empty_is_refused(person: str) -> None:
    """Of one person's queries all are on one side, which one depends on the name."""
    alone = evaluation([person] * 4)
    whole, empty = (gate_part, held_back_part) if person == "ann" else (held_back_part, gate_part)
    found = whole(alone, 0.5)
    assert found is not None
    assert len(found.per_query) == 4
    with pytest.raises(BadInput, match=r"of 4 queries of 'fashioniq' none is left on one side") as refused:
        empty(alone, 0.5)
    assert refused.value.field == "promotion.held_back"


def test_the_mean_of_the_largest_is_known_for_few_and_simulated_for_many() -> None:
    assert expected_maximum(0) == expected_maximum(1) == 0.0
    assert expected_maximum(2) == pytest.approx(1 / math.sqrt(math.pi), abs=1e-4)
    assert expected_maximum(3) == pytest.approx(3 / (2 * math.sqrt(math.pi)), abs=1e-3)
    drawn = np.random.default_rng(0).standard_normal((40_000, 50)).max(axis=1)
    assert expected_maximum(50) == pytest.approx(drawn.mean(), abs=0.01)


@pytest.mark.parametrize(("confidence", "quantile"), [(0.95, 1.959964), (0.9, 1.644854)])
def test_the_bias_follows_from_the_interval(confidence: float, quantile: float) -> None:
    """An interval of two standard errors of a difference of two, each of which has that by sqrt(2)."""
    width = 2 * quantile * 3.0 * math.sqrt(2)  # models whose scores have a standard error of 3 points
    paired = PairedResult("recall", 50.0, 49.0, 1.0, 1.0 - width / 2, 1.0 + width / 2, 0.5, 0.5, 100, confidence)
    assert selection_bias(paired, 1) == 0.0
    assert selection_bias(paired, 2) == pytest.approx(3 / math.sqrt(math.pi), abs=1e-3)

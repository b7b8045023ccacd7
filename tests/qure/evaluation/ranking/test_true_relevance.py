"""True relevance of the top ten against plain definitions."""

import itertools
import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qure.datasets.types import Triplet
from qure.evaluation.ranking.true_relevance import COLUMNS, by_chance, measure_top, ndcg, truth_measures

shares = st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=30)


def plain_ndcg(ranked: Sequence[float]) -> float:
    """Of a whole ranking: DCG of its first ten over that of the best order."""

    def dcg(gains: Sequence[float]) -> float:
        return sum(gain / math.log2(rank + 1) for rank, gain in enumerate(gains[:10], start=1))

    ideal = dcg(sorted(ranked, reverse=True))
    return dcg(ranked) / ideal if ideal else 0.0


@given(shares)
def test_ndcg_is_the_definition(ranked: list[float]) -> None:
    found = ndcg(np.array(ranked[:10]), np.array(ranked))
    assert found == pytest.approx(plain_ndcg(ranked))
    assert 0.0 <= found <= 1.0 + 1e-12


class Table:
    """Known relevance of five images to two queries."""

    values = np.array([[1.0, 0.5, 0.0, 1.0, 0.25], [0.0, 0.0, 1.0, 0.5, 0.5]], dtype=np.float32)

    def relevance_matrix(self, query_ids: Sequence[str], image_ids: Sequence[str]) -> np.ndarray:
        return self.values[[int(query) for query in query_ids]][:, [int(image) for image in image_ids]]


def test_judges_the_best_ten_and_leaves_out_what_is_no_candidate() -> None:
    triplets = [Triplet("0", "r", "is red"), Triplet("1", "r", "is blue")]
    best = np.array([[3, 1, 2, 4], [2, 0, 1, 4]])
    found = measure_top(Table(), triplets, ["0", "1", "2", "3", "4"], best, np.array([0, 3]))
    assert found["ndcg_at_10"] == pytest.approx([plain_ndcg([1.0, 0.5, 0.0, 0.25]), plain_ndcg([1.0, 0.0, 0.0, 0.5])])
    assert found["wanted_share_at_10"] == pytest.approx([1.75 / 4, 1.5 / 4])
    assert found["relevant_at_10"] == pytest.approx([0.25, 0.25])


@pytest.mark.parametrize("references", [None, ["0", "3"]])
def test_chance_is_the_mean_over_all_orders(references: list[str] | None) -> None:
    expected = []
    for row, gains in enumerate(Table.values.tolist()):
        left = [gain for column, gain in enumerate(gains) if references is None or str(column) != references[row]]
        orders = list(itertools.permutations(left))
        expected.append(
            [
                sum(plain_ndcg(order) for order in orders) / len(orders),
                sum(left) / len(left),
                left.count(1.0) / len(left),
            ]
        )
    found = by_chance(Table(), ["0", "1"], ["0", "1", "2", "3", "4"], references)
    assert list(found) == ["ndcg_at_10", "wanted_share_at_10", "relevant_at_10"]
    assert list(found.values()) == pytest.approx(np.mean(expected, axis=0).tolist())


class Many:
    """Twelve images of which so many are right."""

    def __init__(self, right: int) -> None:
        self.right = right

    def relevance_matrix(self, query_ids: Sequence[str], image_ids: Sequence[str]) -> np.ndarray:
        gains = np.zeros((1, len(image_ids)), dtype=np.float32)
        gains[0, : self.right] = 1.0
        return gains


def test_chance_counts_the_first_ten_places_only() -> None:
    images = [str(number) for number in range(12)]
    assert by_chance(Many(0), ["q"], images, None)["ndcg_at_10"] == 0.0, "nothing is relevant: nothing is found"
    assert by_chance(Many(12), ["q"], images, None)["ndcg_at_10"] == pytest.approx(1.0)
    gain = [1 / math.log2(rank + 1) for rank in range(1, 11)]
    assert by_chance(Many(1), ["q"], images, None)["ndcg_at_10"] == pytest.approx(sum(gain) / 12)


def test_what_is_measured_is_called_by_its_depth() -> None:
    assert COLUMNS == ("ndcg_at_10", "wanted_share_at_10", "relevant_at_10")
    assert [(one.name, one.value, one.mean_over) for one in truth_measures("category")] == [
        (name, name, "category") for name in COLUMNS
    ]

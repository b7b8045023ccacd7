"""Recall and average precision over several right answers, counted by hand."""

import numpy as np
import pytest

from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking.right_answers import (
    answer_columns,
    answer_ranks,
    average_precision,
    right_columns,
    right_measures,
    several_known,
)

GALLERY = Gallery("g", tuple(f"i{number}" for number in range(60)))


def asked(*answers: str, target: str = "i3") -> Triplet:
    return Triplet("q", "reference", "is red", target=target, answers=answers)


def test_several_answers_are_more_than_the_target() -> None:
    assert not several_known([])
    assert not several_known([asked(), asked("i3")])
    assert several_known([asked(), asked("i3", "i4")])


def test_answers_are_columns_the_target_first() -> None:
    found = answer_columns([asked("i3", "i0", "i59"), asked(), asked(target="i7")], GALLERY)
    assert [columns.tolist() for columns in found] == [[3, 0, 59], [3], [7]]


def test_answers_outside_the_gallery_are_counted_each_once() -> None:
    with pytest.raises(BadInput, match=r"^2 right answers are not in the gallery of 60 images: 'x', 'y'"):
        answer_columns([asked("i3", "x"), asked("y", "x")], GALLERY)


def test_ranks_are_ascending_and_ties_go_by_column() -> None:
    """Image n ranks n + 1; in the second query all images are alike."""
    falling = -np.arange(60, dtype=np.float32)
    found = answer_ranks(np.stack([falling, np.zeros(60, np.float32)]), [np.array([9, 0]), np.array([4])])
    assert [ranks.tolist() for ranks in found] == [[1, 10], [5]]


def test_columns_over_all_right_answers() -> None:
    """The answers rank 1, 6, 11 and 51; and 5."""
    falling = -np.arange(60, dtype=np.float32)
    found = right_columns(np.stack([falling, falling]), [np.array([50, 10, 0, 5]), np.array([4])])
    precision = [1 / 4, (1 + 2 / 6) / 4, (1 + 2 / 6 + 3 / 11) / 4]
    expected = {
        "best_rank": [1, 5],
        "right_recall_at_1": [0.25, 0],
        "right_recall_at_5": [0.25, 1],
        "right_recall_at_10": [0.5, 1],
        "right_recall_at_50": [0.75, 1],
        "right_map_at_5": [precision[0], 1 / 5],
        "right_map_at_10": [precision[1], 1 / 5],
        "right_map_at_25": [precision[2], 1 / 5],
        "right_map_at_50": [precision[2], 1 / 5],
    }
    assert list(found) == list(expected)
    for name, values in expected.items():
        assert found[name].tolist() == pytest.approx(values), name
    measures = right_measures("category")
    assert [(one.name, one.value, one.mean_over) for one in measures] == [
        (name, name, "category") for name in list(expected)[1:]
    ]


@pytest.mark.parametrize(
    ("ranks", "depth", "expected"),
    [([1], 1, 1.0), ([2], 1, 0.0), ([2], 2, 0.5), ([1, 2, 3], 1, 1.0), ([5, 6], 5, 0.1), ([3, 4, 5, 6], 3, 1 / 9)],
)
def test_average_precision_is_over_what_could_be_found(ranks: list[int], depth: int, expected: float) -> None:
    assert average_precision(np.array(ranks), depth) == pytest.approx(expected)

"""Tables that Great Expectations is given: long texts are cut, and stay too long and different."""

from collections.abc import Callable

import pandas as pd
import pytest

LONG, OTHER = "x" * 5000, "x" * 4999 + "y"


@pytest.fixture
def bound() -> Callable[[pd.DataFrame, int], pd.DataFrame]:
    from qure.validation.lazy import prepare

    prepare()
    from qure.validation.suites import with_bounded_texts

    return with_bounded_texts


def test_long_texts_are_cut_alone_and_in_lists_and_stay_apart(
    bound: Callable[[pd.DataFrame, int], pd.DataFrame],
) -> None:
    cells = {"text": [LONG, OTHER, None], "captions": [["short", LONG], ["short", OTHER], 3], "row": [1, 2, 3]}
    bounded = bound(pd.DataFrame(cells, dtype=object), 2000)
    (one, other, nothing), (both, others, number) = bounded["text"], bounded["captions"]
    assert one.startswith(f"{LONG[:2000]}... (5000 characters, SHA-256 ")
    assert 2000 < len(one) < 2200
    assert one != other
    assert (both, others) == (["short", one], ["short", other]), "the same text is the same wherever it stands"
    assert (nothing, number, bounded["row"].tolist()) == (None, 3, [1, 2, 3])


def test_a_table_of_short_texts_stays_as_it_is(bound: Callable[[pd.DataFrame, int], pd.DataFrame]) -> None:
    table = pd.DataFrame({"text": ["x" * 1000], "captions": [["x" * 1000]]}, dtype=object)
    assert bound(table, 10) is table

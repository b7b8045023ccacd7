"""The project's own expectations, against Great Expectations' where it has one that says the same."""

import math
from typing import Any

import pandas as pd
import pytest


@pytest.fixture
def found() -> Any:
    """(expectation, first column, second column) -> rows of the bad rows' list: where, and what stands there."""
    from qure.validation.lazy import prepare

    prepare()
    from qure.validation.annotations import Annotations
    from qure.validation.findings import bad_rows_of
    from qure.validation.run import run_suites
    from qure.validation.shared import expect
    from qure.validation.suites import Suite

    def run(expectation: Any, first: list[Any], second: list[Any], **arguments: Any) -> list[tuple[Any, ...]]:
        place = {"file": ["a.json"] * len(first), "row": list(range(len(first)))}
        cells = {**place, "key": [f"train/{row}" for row in place["row"]], "candidate": first, "target": second}
        table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in cells.items()})
        rule = expect("target_is_reference", "target", expectation, **arguments)
        (result,) = run_suites([Suite("fashioniq.triplets", table, [rule])])
        rows = bad_rows_of(Annotations("fashioniq"), result.expectations)
        return [(one.file, one.row, one.field, one.query, one.value) for one in rows]

    return run


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (["x", "y", "z"], ["x", "q", "z"]),
        (["x", None, None, math.nan, "w", "v"], ["x", None, "z", math.nan, math.nan, "v"]),
        ([None, None], [None, None]),
        (["x", pd.NA, pd.NaT, "x"], ["x", pd.NA, pd.NaT, pd.NA]),
        ([1, True, "1", 1.0, 0], [1.0, 1, 1, True, False]),
        (["", " ", "\u00e9", "A"], ["", "", "e\u0301", "a"]),
    ],
)
def test_pairs_that_are_alike_are_those_that_great_expectations_names(
    found: Any, first: list[Any], second: list[Any]
) -> None:
    from great_expectations.expectations import ExpectSelectColumnValuesToBeUniqueWithinRecord

    from qure.validation.expectations import ExpectColumnPairValuesToDiffer

    theirs = found(
        ExpectSelectColumnValuesToBeUniqueWithinRecord,
        first,
        second,
        column_list=["candidate", "target"],
        ignore_row_if="any_value_is_missing",
    )
    assert found(ExpectColumnPairValuesToDiffer, first, second, column_A="candidate", column_B="target") == theirs


def test_a_pair_of_alike_values_is_listed_with_both(found: Any) -> None:
    from qure.validation.expectations import ExpectColumnPairValuesToDiffer

    columns = {"column_A": "candidate", "column_B": "target"}
    rows = found(ExpectColumnPairValuesToDiffer, ["B1", "B2", None], ["B1", "B3", None], **columns)
    assert rows == [("a.json", 0, "target", "train/0", "['B1', 'B1']")]


def test_an_expectation_that_could_not_be_evaluated_is_no_passed_one(found: Any) -> None:
    from qure.validation.expectations import ExpectColumnPairValuesToDiffer

    with pytest.raises(RuntimeError, match=r"fashioniq\.triplets: .*differ could not be evaluated: .*nowhere"):
        found(ExpectColumnPairValuesToDiffer, ["B1"], ["B2"], column_A="candidate", column_B="nowhere")

"""Rules that several benchmarks' tables share, as expectations. Importing this imports Great Expectations (seconds)."""

from typing import Any

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from qure.config import ValidationSettings
from qure.datasets import checks
from qure.validation import labels
from qure.validation.annotations import RECORD
from qure.validation.expectations import (
    ExpectColumnPairValuesAToBeMemberOfB,
    ExpectColumnPairValuesToDiffer,
    ExpectColumnPairValuesToStayInOneSplit,
    ExpectColumnValuesToHaveDistinctEntries,
)
from qure.validation.rules import RULES, Severity

#: Control characters that no text needs; tab and line breaks are white space.
CONTROL_CHARACTERS = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"


def query_rules(
    reference: str,
    target: str,
    text: str,
    settings: ValidationSettings,
    *,
    text_key: str | None = None,
    within: tuple[str, ...] = ("file",),
) -> list[Expectation]:
    """Rules of every query whose answer is known; a triplet must not be repeated among rows alike in `within`.

    `text_key` is the column that is equal for texts that say the same (`qure.datasets.texts.text_key`).
    """
    return [
        expect(
            checks.TARGET_IS_REFERENCE,
            target,
            ExpectColumnPairValuesToDiffer,
            column_A=reference,
            column_B=target,
        ),
        expect(
            checks.DUPLICATE_TRIPLET,
            text,
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=[*within, reference, target, text_key or text],
            ignore_row_if="any_value_is_missing",
        ),
        expect(checks.EMPTY_TEXT, text, gxe.ExpectColumnValueLengthsToBeBetween, column=text, min_value=1),
        *_text(text, settings),
    ]


def unlabelled_query_rules(
    reference: str, text: str, settings: ValidationSettings, *, text_key: str | None = None
) -> list[Expectation]:
    """Rules of queries whose answers are withheld; a submission needs them all, so odd ones only warn."""
    return [
        expect(
            "duplicate_unlabelled",
            text,
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=["file", reference, text_key or text],
            ignore_row_if="any_value_is_missing",
        ),
        expect("empty_text_unlabelled", text, gxe.ExpectColumnValueLengthsToBeBetween, column=text, min_value=1),
        *_text(text, settings),
    ]


def label_rules() -> list[Expectation]:
    """Rules of people's labels (`qure.validation.labels`)."""
    return [
        *present("id", *labels.OTHERS, "gt_img_ids"),
        expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="key"),
        expect("label_query", "id", gxe.ExpectColumnValuesToBeNull, column="unknown_query"),
        *[
            expect("label_query", field, gxe.ExpectColumnValuesToBeNull, column=column)
            for field, column in labels.OTHERS.items()
        ],
        *ground_truth_rules("target_img_id", "gt_img_ids"),
    ]


def ground_truth_rules(target: str, answers: str) -> list[Expectation]:
    """Rules of a query's right answers; `reference_answer` is the column of a reference that is among them."""
    return [
        expect("ground_truth", answers, ExpectColumnValuesToHaveDistinctEntries, column=answers),
        expect("ground_truth", target, ExpectColumnPairValuesAToBeMemberOfB, column_A=target, column_B=answers),
        expect("ground_truth", answers, gxe.ExpectColumnValuesToBeNull, column="reference_answer"),
    ]


def _text(text: str, settings: ValidationSettings) -> list[Expectation]:
    return [
        expect(
            "text_length",
            text,
            gxe.ExpectColumnValueLengthsToBeBetween,
            column=text,
            max_value=settings.max_text_characters,
        ),
        expect("text_characters", text, gxe.ExpectColumnValuesToNotMatchRegex, column=text, regex=CONTROL_CHARACTERS),
    ]


def confusable_ids() -> Expectation:
    """No id in a list of images differs from an earlier one only in case or Unicode form (`texts.id_key`)."""
    return expect("confusable_id", "image", ExpectColumnPairValuesToStayInOneSplit, column_A="id_key", column_B="image")


def present(*columns: str) -> list[Expectation]:
    """Every row is an object, and none of these cells is empty."""
    return [expect("schema", column, gxe.ExpectColumnValuesToNotBeNull, column=column) for column in (RECORD, *columns)]


def expect(
    rule: str, field: str, expectation: type[Expectation], *, severity: Severity | None = None, **arguments: Any
) -> Expectation:
    """An expectation that knows which rule it checks and which of the file's fields it is about."""
    weight = severity or RULES[rule].severity
    return expectation(
        **arguments,
        meta={"rule": rule, "field": field, "severity": weight},
        notes=f"{rule}: {RULES[rule].reason}.",
        severity="critical" if weight == "error" else "warning",
    )

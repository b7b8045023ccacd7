"""What CIRR's tables must meet. Importing this module imports Great Expectations (seconds)."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from qure.config import ValidationSettings
from qure.validation import labels
from qure.validation.expectations import (
    ExpectColumnPairValuesAToBeMemberOfB,
    ExpectColumnPairValuesToStayInOneSplit,
    ExpectColumnValuesToBeSafeImageIds,
    ExpectColumnValuesToHaveDistinctEntries,
)
from qure.validation.shared import confusable_ids, expect, label_rules, present, query_rules, unlabelled_query_rules


def suites(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    """Table -> what its rows must meet."""
    shape = [
        expect("duplicate_id", "pairid", gxe.ExpectColumnValuesToBeUnique, column="key"),
        expect("image_set", "img_set.members", ExpectColumnValuesToHaveDistinctEntries, column="members", count=6),
        expect(
            "image_set", "reference", ExpectColumnPairValuesAToBeMemberOfB, column_A="reference", column_B="members"
        ),
    ]
    queries = [
        *present("pairid", "reference", "target_hard", "caption", "members", "target_soft"),
        *shape,
        expect(
            "image_set", "target_hard", ExpectColumnPairValuesAToBeMemberOfB, column_A="target_hard", column_B="members"
        ),
        *query_rules("reference", "target_hard", "caption", settings, text_key="caption_key"),
        expect("soft_answers", "target_soft", gxe.ExpectColumnValuesToBeNull, column="reference_grade"),
        expect("soft_answers", "target_soft", gxe.ExpectColumnValuesToBeBetween, column="target_grade", min_value=0),
        expect(
            "pair_in_two_splits",
            "target_hard",
            ExpectColumnPairValuesToStayInOneSplit,
            column_A="pair",
            column_B="split",
        ),
    ]
    unlabelled = [
        *present("pairid", "reference", "caption", "members"),
        *shape,
        *unlabelled_query_rules("reference", "caption", settings, text_key="caption_key"),
    ]
    lists = [
        *present("image", "path"),
        expect("unsafe_id", "image", ExpectColumnValuesToBeSafeImageIds, column="image"),
        expect("unsafe_path", "path", gxe.ExpectColumnValuesToBeNull, column="path_problem"),
        expect(
            "duplicate_id",
            "path",
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=["file", "path"],
            ignore_row_if="any_value_is_missing",
        ),
        expect(
            "path_of_another_image",
            "path",
            gxe.ExpectColumnPairValuesToBeEqual,
            column_A="image",
            column_B="path_id",
            ignore_row_if="either_value_is_missing",
        ),
        confusable_ids(),
        expect("leakage", "image", ExpectColumnPairValuesToStayInOneSplit, column_A="split_key", column_B="split"),
    ]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists, labels.TABLE: label_rules()}

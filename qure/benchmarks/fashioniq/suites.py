"""What FashionIQ's tables must meet. Importing this module imports Great Expectations (seconds)."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from qure.config import ValidationSettings
from qure.validation import labels
from qure.validation.expectations import ExpectColumnPairValuesToStayInOneSplit, ExpectColumnValuesToBeSafeImageIds
from qure.validation.shared import confusable_ids, expect, label_rules, present, query_rules, unlabelled_query_rules


def suites(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    """Table -> what its rows must meet."""
    queries = [
        *present("candidate", "target", "captions"),
        *query_rules("candidate", "target", "captions", settings, text_key="captions_key"),
        *[
            expect("one_caption_empty", name, gxe.ExpectColumnValueLengthsToBeBetween, column=name, min_value=1)
            for name in ("captions[0]", "captions[1]")
        ],
        expect(
            "pair_in_two_splits", "target", ExpectColumnPairValuesToStayInOneSplit, column_A="pair", column_B="split"
        ),
    ]
    unlabelled = [
        *present("candidate", "captions"),
        *unlabelled_query_rules("candidate", "captions", settings, text_key="captions_key"),
    ]
    lists = [
        *present("image"),
        expect("unsafe_id", "image", ExpectColumnValuesToBeSafeImageIds, column="image"),
        expect(
            "duplicate_id",
            "image",
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=["file", "image"],
            ignore_row_if="any_value_is_missing",
        ),
        confusable_ids(),
        expect("leakage", "image", ExpectColumnPairValuesToStayInOneSplit, column_A="split_key", column_B="split"),
        expect(
            "cross_category_leakage",
            "image",
            ExpectColumnPairValuesToStayInOneSplit,
            column_A="image",
            column_B="split",
        ),
    ]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists, labels.TABLE: label_rules()}

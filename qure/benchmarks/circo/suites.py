"""What CIRCO's tables must meet. Importing this module imports Great Expectations (seconds)."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from qure.config import ValidationSettings
from qure.validation.expectations import ExpectColumnPairValuesAToBeMemberOfB, ExpectColumnValuesToHaveDistinctEntries
from qure.validation.shared import expect, present, query_rules, unlabelled_query_rules


def suites(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    """Table -> what its rows must meet."""
    queries = [
        *present("id", "reference_img_id", "target_img_id", "relative_caption", "gt_img_ids"),
        expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="key"),
        expect("ground_truth", "gt_img_ids", ExpectColumnValuesToHaveDistinctEntries, column="gt_img_ids"),
        expect(
            "ground_truth",
            "target_img_id",
            ExpectColumnPairValuesAToBeMemberOfB,
            column_A="target_img_id",
            column_B="gt_img_ids",
        ),
        expect("ground_truth", "gt_img_ids", gxe.ExpectColumnValuesToBeNull, column="reference_answer"),
        *query_rules("reference_img_id", "target_img_id", "relative_caption", settings, text_key="caption_key"),
    ]
    unlabelled = [
        *present("id", "reference_img_id", "relative_caption"),
        expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="key"),
        *unlabelled_query_rules("reference_img_id", "relative_caption", settings, text_key="caption_key"),
    ]
    lists = [*present("image"), expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="image")]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists}

"""What CIRCO's tables must meet. Importing this module imports Great Expectations (seconds)."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from qure.config import ValidationSettings
from qure.validation.shared import expect, ground_truth_rules, present, query_rules, unlabelled_query_rules


def suites(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    """Table -> what its rows must meet."""
    queries = [
        *present("id", "reference_img_id", "target_img_id", "relative_caption", "gt_img_ids"),
        expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="key"),
        *ground_truth_rules("target_img_id", "gt_img_ids"),
        *query_rules("reference_img_id", "target_img_id", "relative_caption", settings, text_key="caption_key"),
    ]
    unlabelled = [
        *present("id", "reference_img_id", "relative_caption"),
        expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="key"),
        *unlabelled_query_rules("reference_img_id", "relative_caption", settings, text_key="caption_key"),
    ]
    lists = [*present("image"), expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="image")]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists}

"""What HP-FashionIQ's tables must meet. Importing this module imports Great Expectations (seconds)."""

import great_expectations.expectations as gxe
from great_expectations.expectations.expectation import Expectation

from qure.benchmarks.hp_fashioniq.tables import LISTS
from qure.config import ValidationSettings
from qure.validation.expectations import (
    ExpectColumnPairValuesToDiffer,
    ExpectColumnPairValuesToStayInOneSplit,
    ExpectColumnValuesToHaveDistinctEntries,
)
from qure.validation.shared import expect, present, query_rules


def suites(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    """Table -> what its rows must meet."""
    sets = ("set_1", "set_2")
    fields = ("ref_img_paths", "targ_img_paths", "sentences", "preferred set", "score_1", "score_2", *sets)
    answers = [
        *present(*fields),
        expect("answer", "preferred set", gxe.ExpectColumnValuesToBeInSet, column="preferred set", value_set=[1, 2]),
        *[
            expect(
                "answer",
                f"retrieved_set{number}.user_score",
                gxe.ExpectColumnValuesToBeBetween,
                column=f"score_{number}",
                min_value=1,
                max_value=5,
            )
            for number in (1, 2)
        ],
        *[
            expect(
                "retrieved_set",
                f"retrieved_set{number}.img_path",
                ExpectColumnValuesToHaveDistinctEntries,
                column=f"set_{number}",
                count=5,
            )
            for number in (1, 2)
        ],
        expect(
            "inconsistent_preference",
            "preferred set",
            gxe.ExpectColumnPairValuesAToBeGreaterThanB,
            column_A="score_of_preferred",
            column_B="score_of_other",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
        ),
        expect(
            "identical_sets",
            "retrieved_set1.img_path",
            ExpectColumnPairValuesToDiffer,
            column_A="images_1",
            column_B="images_2",
        ),
        expect(
            "contradicting_answers",
            "preferred set",
            ExpectColumnPairValuesToStayInOneSplit,
            column_A="question",
            column_B="chosen",
        ),
        expect("repeated_question", "sentences", gxe.ExpectColumnValuesToBeUnique, column="question"),
        *query_rules(
            "ref_img_paths",
            "targ_img_paths",
            "sentences",
            settings,
            within=("person", "images_1", "images_2"),
        ),
    ]
    people = [expect("no_answers", "sentences", gxe.ExpectColumnValuesToBeBetween, column="answers", min_value=1)]
    return {"answers": answers, "question_sets": present(*LISTS), "people": people}

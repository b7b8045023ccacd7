"""Which expectations each benchmark's tables must meet. Importing this module imports Great Expectations (seconds)."""

from dataclasses import dataclass

import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations.expectation import Expectation

from qure.config import ValidationSettings
from qure.datasets import checks
from qure.validation.annotations.collect import Annotations
from qure.validation.annotations.hp_fashioniq import LISTS
from qure.validation.expectations import (
    IMAGE_LISTS,
    ExpectColumnPairValuesAToBeMemberOfB,
    ExpectColumnPairValuesToBeListed,
    ExpectColumnPairValuesToStayInOneSplit,
    ExpectColumnValuesToBeSafeImageIds,
    ExpectColumnValuesToHaveDistinctEntries,
    ExpectContentNotToBeSharedWithTrain,
)
from qure.validation.public import public_entries
from qure.validation.rules import Severity
from qure.validation.shared import expect, present, query_rules, unlabelled_query_rules


@dataclass(frozen=True)
class Suite:
    """Expectations for one table.

    Attributes:
        name: "{benchmark}.{table}".
        table: the rows.
        expectations: each with `meta` {"rule", "field"}.
    """

    name: str
    table: pd.DataFrame
    expectations: list[Expectation]


def annotation_suites(
    annotations: Annotations, settings: ValidationSettings, *, claims_public: bool | None
) -> list[Suite]:
    """The suites for one benchmark's annotation tables.

    Args:
        annotations: the tables.
        settings: bounds.
        claims_public: whether numbers of entries must be the published ones; None only warns.
    """
    IMAGE_LISTS[annotations.benchmark] = annotations.lists
    build = {"fashioniq": _fashioniq, "cirr": _cirr, "circo": _circo, "hp-fashioniq": _hp_fashioniq}
    found = build[annotations.benchmark](settings)
    found["mentions"] = _mentions(annotations.benchmark)
    suites = [
        Suite(f"{annotations.benchmark}.{name}", annotations.tables[name], expectations)
        for name, expectations in found.items()
    ]
    return [*suites, _files(annotations, claims_public)]


def image_suites(
    benchmark: str, images: pd.DataFrame, contents: pd.DataFrame, settings: ValidationSettings
) -> list[Suite]:
    """The suites for a benchmark's images.

    Args:
        benchmark: whose images.
        images: one row per image (`qure.validation.images.image_table`).
        contents: one row per image and split.
        settings: bounds.
    """
    image_rules = [
        expect("image_missing", "image", gxe.ExpectColumnValuesToNotBeNull, column="found"),
        expect("image_too_large", "image", gxe.ExpectColumnValuesToBeNull, column="refused"),
        expect("image_unreadable", "image", gxe.ExpectColumnValuesToBeNull, column="unreadable"),
        expect(
            "image_size",
            "image",
            gxe.ExpectColumnValuesToBeBetween,
            column="short_side",
            min_value=settings.min_image_side,
        ),
        expect(
            "image_aspect",
            "image",
            gxe.ExpectColumnValuesToBeBetween,
            column="aspect",
            max_value=settings.max_image_aspect,
        ),
    ]
    shared = expect(
        "image_duplicate", "image", ExpectContentNotToBeSharedWithTrain, column_list=["sha256", "image", "split"]
    )
    return [Suite(f"{benchmark}.images", images, image_rules), Suite(f"{benchmark}.contents", contents, [shared])]


def _fashioniq(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    queries = [
        *present("candidate", "target", "captions"),
        *query_rules("candidate", "target", "captions", settings),
        *[
            expect("one_caption_empty", name, gxe.ExpectColumnValueLengthsToBeBetween, column=name, min_value=1)
            for name in ("captions[0]", "captions[1]")
        ],
        expect(
            "pair_in_two_splits", "target", ExpectColumnPairValuesToStayInOneSplit, column_A="pair", column_B="split"
        ),
    ]
    unlabelled = [*present("candidate", "captions"), *unlabelled_query_rules("candidate", "captions", settings)]
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
        expect("leakage", "image", ExpectColumnPairValuesToStayInOneSplit, column_A="split_key", column_B="split"),
        expect(
            "cross_category_leakage",
            "image",
            ExpectColumnPairValuesToStayInOneSplit,
            column_A="image",
            column_B="split",
        ),
    ]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists}


def _cirr(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    shape = [
        expect("duplicate_id", "pairid", gxe.ExpectColumnValuesToBeUnique, column="key"),
        expect("image_set", "img_set.members", ExpectColumnValuesToHaveDistinctEntries, column="members", count=6),
        expect(
            "image_set", "reference", ExpectColumnPairValuesAToBeMemberOfB, column_A="reference", column_B="members"
        ),
    ]
    queries = [
        *present("pairid", "reference", "target_hard", "caption", "members"),
        *shape,
        expect(
            "image_set", "target_hard", ExpectColumnPairValuesAToBeMemberOfB, column_A="target_hard", column_B="members"
        ),
        *query_rules("reference", "target_hard", "caption", settings),
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
        *unlabelled_query_rules("reference", "caption", settings),
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
        expect("leakage", "image", ExpectColumnPairValuesToStayInOneSplit, column_A="split_key", column_B="split"),
    ]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists}


def _circo(settings: ValidationSettings) -> dict[str, list[Expectation]]:
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
        *query_rules("reference_img_id", "target_img_id", "relative_caption", settings),
    ]
    unlabelled = [
        *present("id", "reference_img_id", "relative_caption"),
        expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="key"),
        *unlabelled_query_rules("reference_img_id", "relative_caption", settings),
    ]
    lists = [*present("image"), expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="image")]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists}


def _hp_fashioniq(settings: ValidationSettings) -> dict[str, list[Expectation]]:
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
            gxe.ExpectSelectColumnValuesToBeUniqueWithinRecord,
            column_list=["images_1", "images_2"],
            ignore_row_if="any_value_is_missing",
        ),
        *query_rules(
            "ref_img_paths", "targ_img_paths", "sentences", settings, within=("person", "images_1", "images_2")
        ),
    ]
    return {"answers": answers, "question_sets": present(*LISTS)}


def _mentions(benchmark: str) -> list[Expectation]:
    return [
        expect("unsafe_id", "image", ExpectColumnValuesToBeSafeImageIds, column="image"),
        expect(
            checks.UNKNOWN_ID,
            "image",
            ExpectColumnPairValuesToBeListed,
            column_A="image",
            column_B="list",
            benchmark=benchmark,
        ),
    ]


def _files(annotations: Annotations, claims_public: bool | None) -> Suite:
    """Numbers of entries: at least one, and the published files' where the data does not say that it is other data."""
    files = annotations.tables["files"].copy()
    published = files["file"].map(public_entries)
    files["published"] = None if claims_public is False else published.astype(object).where(published.notna(), None)
    severity: Severity = "error" if claims_public else "warning"
    counts = [
        expect("empty_file", "entries", gxe.ExpectColumnValuesToBeBetween, column="entries", min_value=1),
        expect(
            "public_count",
            "entries",
            gxe.ExpectColumnPairValuesToBeEqual,
            severity=severity,
            column_A="entries",
            column_B="published",
            ignore_row_if="either_value_is_missing",
        ),
    ]
    return Suite(f"{annotations.benchmark}.files", files, counts)

"""Which expectations each benchmark's tables must meet. Importing this module imports Great Expectations (seconds)."""

from dataclasses import dataclass
from typing import Any

import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations.expectation import Expectation

from qure.config import ValidationSettings
from qure.datasets import checks
from qure.validation.annotations.collect import RECORD, Annotations
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
from qure.validation.rules import RULES, Severity

#: Control characters that no text needs; tab and line breaks are white space.
CONTROL_CHARACTERS = r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]"


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
        _expect("image_missing", "image", gxe.ExpectColumnValuesToNotBeNull, column="found"),
        _expect("image_too_large", "image", gxe.ExpectColumnValuesToBeNull, column="refused"),
        _expect("image_unreadable", "image", gxe.ExpectColumnValuesToBeNull, column="unreadable"),
        _expect(
            "image_size",
            "image",
            gxe.ExpectColumnValuesToBeBetween,
            column="short_side",
            min_value=settings.min_image_side,
        ),
        _expect(
            "image_aspect",
            "image",
            gxe.ExpectColumnValuesToBeBetween,
            column="aspect",
            max_value=settings.max_image_aspect,
        ),
    ]
    shared = _expect(
        "image_duplicate", "image", ExpectContentNotToBeSharedWithTrain, column_list=["sha256", "image", "split"]
    )
    return [Suite(f"{benchmark}.images", images, image_rules), Suite(f"{benchmark}.contents", contents, [shared])]


def _fashioniq(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    queries = [
        *_present("candidate", "target", "captions"),
        *_query("candidate", "target", "captions", settings),
        *[
            _expect("one_caption_empty", name, gxe.ExpectColumnValueLengthsToBeBetween, column=name, min_value=1)
            for name in ("captions[0]", "captions[1]")
        ],
        _expect(
            "pair_in_two_splits", "target", ExpectColumnPairValuesToStayInOneSplit, column_A="pair", column_B="split"
        ),
    ]
    unlabelled = [*_present("candidate", "captions"), *_unlabelled_query("candidate", "captions", settings)]
    lists = [
        *_present("image"),
        _expect("unsafe_id", "image", ExpectColumnValuesToBeSafeImageIds, column="image"),
        _expect(
            "duplicate_id",
            "image",
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=["file", "image"],
            ignore_row_if="any_value_is_missing",
        ),
        _expect("leakage", "image", ExpectColumnPairValuesToStayInOneSplit, column_A="split_key", column_B="split"),
        _expect(
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
        _expect("duplicate_id", "pairid", gxe.ExpectColumnValuesToBeUnique, column="key"),
        _expect("image_set", "img_set.members", ExpectColumnValuesToHaveDistinctEntries, column="members", count=6),
        _expect(
            "image_set", "reference", ExpectColumnPairValuesAToBeMemberOfB, column_A="reference", column_B="members"
        ),
    ]
    queries = [
        *_present("pairid", "reference", "target_hard", "caption", "members"),
        *shape,
        _expect(
            "image_set", "target_hard", ExpectColumnPairValuesAToBeMemberOfB, column_A="target_hard", column_B="members"
        ),
        *_query("reference", "target_hard", "caption", settings),
        _expect(
            "pair_in_two_splits",
            "target_hard",
            ExpectColumnPairValuesToStayInOneSplit,
            column_A="pair",
            column_B="split",
        ),
    ]
    unlabelled = [
        *_present("pairid", "reference", "caption", "members"),
        *shape,
        *_unlabelled_query("reference", "caption", settings),
    ]
    lists = [
        *_present("image", "path"),
        _expect("unsafe_id", "image", ExpectColumnValuesToBeSafeImageIds, column="image"),
        _expect("unsafe_path", "path", gxe.ExpectColumnValuesToBeNull, column="path_problem"),
        _expect(
            "duplicate_id",
            "path",
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=["file", "path"],
            ignore_row_if="any_value_is_missing",
        ),
        _expect("leakage", "image", ExpectColumnPairValuesToStayInOneSplit, column_A="split_key", column_B="split"),
    ]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists}


def _circo(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    queries = [
        *_present("id", "reference_img_id", "target_img_id", "relative_caption", "gt_img_ids"),
        _expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="key"),
        _expect("ground_truth", "gt_img_ids", ExpectColumnValuesToHaveDistinctEntries, column="gt_img_ids"),
        _expect(
            "ground_truth",
            "target_img_id",
            ExpectColumnPairValuesAToBeMemberOfB,
            column_A="target_img_id",
            column_B="gt_img_ids",
        ),
        *_query("reference_img_id", "target_img_id", "relative_caption", settings),
    ]
    unlabelled = [
        *_present("id", "reference_img_id", "relative_caption"),
        _expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="key"),
        *_unlabelled_query("reference_img_id", "relative_caption", settings),
    ]
    lists = [*_present("image"), _expect("duplicate_id", "id", gxe.ExpectColumnValuesToBeUnique, column="image")]
    return {"queries": queries, "unlabelled": unlabelled, "image_lists": lists}


def _hp_fashioniq(settings: ValidationSettings) -> dict[str, list[Expectation]]:
    sets = ("set_1", "set_2")
    fields = ("ref_img_paths", "targ_img_paths", "sentences", "preferred set", "score_1", "score_2", *sets)
    answers = [
        *_present(*fields),
        _expect("answer", "preferred set", gxe.ExpectColumnValuesToBeInSet, column="preferred set", value_set=[1, 2]),
        *[
            _expect(
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
            _expect(
                "retrieved_set",
                f"retrieved_set{number}.img_path",
                ExpectColumnValuesToHaveDistinctEntries,
                column=f"set_{number}",
                count=5,
            )
            for number in (1, 2)
        ],
        _expect(
            "inconsistent_preference",
            "preferred set",
            gxe.ExpectColumnPairValuesAToBeGreaterThanB,
            column_A="score_of_preferred",
            column_B="score_of_other",
            or_equal=True,
            ignore_row_if="either_value_is_missing",
        ),
        _expect(
            "identical_sets",
            "retrieved_set1.img_path",
            gxe.ExpectSelectColumnValuesToBeUniqueWithinRecord,
            column_list=["images_1", "images_2"],
            ignore_row_if="any_value_is_missing",
        ),
        *_query("ref_img_paths", "targ_img_paths", "sentences", settings, within=("person", "images_1", "images_2")),
    ]
    return {"answers": answers, "question_sets": _present(*LISTS)}


def _mentions(benchmark: str) -> list[Expectation]:
    return [
        _expect("unsafe_id", "image", ExpectColumnValuesToBeSafeImageIds, column="image"),
        _expect(
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
        _expect("empty_file", "entries", gxe.ExpectColumnValuesToBeBetween, column="entries", min_value=1),
        _expect(
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


def _query(
    reference: str, target: str, text: str, settings: ValidationSettings, *, within: tuple[str, ...] = ("file",)
) -> list[Expectation]:
    """Rules of every query whose answer is known; a triplet must not be repeated among rows alike in `within`."""
    return [
        _expect(
            checks.TARGET_IS_REFERENCE,
            target,
            gxe.ExpectSelectColumnValuesToBeUniqueWithinRecord,
            column_list=[reference, target],
            ignore_row_if="any_value_is_missing",
        ),
        _expect(
            checks.DUPLICATE_TRIPLET,
            text,
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=[*within, reference, target, text],
            ignore_row_if="any_value_is_missing",
        ),
        _expect(checks.EMPTY_TEXT, text, gxe.ExpectColumnValueLengthsToBeBetween, column=text, min_value=1),
        *_text(text, settings),
    ]


def _unlabelled_query(reference: str, text: str, settings: ValidationSettings) -> list[Expectation]:
    """Rules of queries whose answers are withheld; a submission needs them all, so odd ones only warn."""
    return [
        _expect(
            "duplicate_unlabelled",
            text,
            gxe.ExpectCompoundColumnsToBeUnique,
            column_list=["file", reference, text],
            ignore_row_if="any_value_is_missing",
        ),
        _expect("empty_text_unlabelled", text, gxe.ExpectColumnValueLengthsToBeBetween, column=text, min_value=1),
        *_text(text, settings),
    ]


def _text(text: str, settings: ValidationSettings) -> list[Expectation]:
    return [
        _expect(
            "text_length",
            text,
            gxe.ExpectColumnValueLengthsToBeBetween,
            column=text,
            max_value=settings.max_text_characters,
        ),
        _expect("text_characters", text, gxe.ExpectColumnValuesToNotMatchRegex, column=text, regex=CONTROL_CHARACTERS),
    ]


def _present(*columns: str) -> list[Expectation]:
    """Every row is an object, and none of these cells is empty."""
    return [
        _expect("schema", column, gxe.ExpectColumnValuesToNotBeNull, column=column) for column in (RECORD, *columns)
    ]


def _expect(
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

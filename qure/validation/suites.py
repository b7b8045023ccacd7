"""Which expectations each benchmark's tables must meet. Importing this module imports Great Expectations (seconds)."""

from dataclasses import dataclass

import great_expectations.expectations as gxe
import pandas as pd
from great_expectations.expectations.expectation import Expectation

from qure.benchmarks import get_benchmark
from qure.config import ValidationSettings
from qure.datasets import checks
from qure.validation.annotations import Annotations
from qure.validation.expectations import (
    IMAGE_LISTS,
    ExpectColumnPairValuesToBeListed,
    ExpectColumnValuesToBeSafeImageIds,
    ExpectContentNotToBeSharedWithTrain,
)
from qure.validation.rules import Severity
from qure.validation.shared import expect


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
    found = get_benchmark(annotations.benchmark).suites(settings)
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
    benchmark = get_benchmark(annotations.benchmark)
    published = files["file"].map(lambda file: benchmark.entries.get(file.removeprefix(f"{benchmark.folder}/")))
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

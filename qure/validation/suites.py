"""Which expectations each benchmark's tables must meet. Importing this module imports Great Expectations (seconds)."""

import hashlib
from dataclasses import dataclass
from typing import Any

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
)
from qure.validation.images import TRAIN
from qure.validation.rules import Severity
from qure.validation.shared import expect

#: Ids and file names, which have bounds of their own, are never cut.
_SHORTEST_CUT = 1000


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
        Suite(
            f"{annotations.benchmark}.{name}",
            with_bounded_texts(annotations.tables[name], settings.max_text_characters),
            expectations,
        )
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
        expect("image_not_as_packed", "image", gxe.ExpectColumnValuesToBeNull, column="changed"),
        expect("image_damaged", "image", gxe.ExpectColumnValuesToBeNull, column="damaged"),
        expect("image_blank", "image", gxe.ExpectColumnValuesToBeNull, column="blank"),
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
    shared = [
        expect("image_duplicate", "image", gxe.ExpectColumnValuesToBeNull, column="twin"),
        expect("image_near_duplicate", "image", gxe.ExpectColumnValuesToBeNull, column="near"),
    ]
    train = contents[contents["split"] == TRAIN]
    return [Suite(f"{benchmark}.images", images, image_rules), Suite(f"{benchmark}.contents", train, shared)]


def with_bounded_texts(table: pd.DataFrame, limit: int) -> pd.DataFrame:
    """A table whose texts beyond `limit` characters are cut, still too long and still different from each other.

    Great Expectations copies a value it complains about some ten times, and one cell may hold megabytes.
    """
    limit = max(limit, _SHORTEST_CUT)
    long = [name for name in table.columns if _has_long(list(table[name]), limit)]
    bounded = {
        name: pd.Series([_bounded(cell, limit) for cell in table[name]], index=table.index, dtype=object)
        for name in long
    }
    return table.assign(**bounded) if bounded else table


def _has_long(cells: list[Any], limit: int) -> bool:
    texts = [cell for cell in cells if type(cell) is str]
    texts += [one for cell in cells if type(cell) is list for one in cell if type(one) is str]
    return max(map(len, texts), default=0) > limit


def _bounded(cell: Any, limit: int) -> Any:
    if isinstance(cell, str) and len(cell) > limit:
        digest = hashlib.sha256(cell.encode("utf-8", "surrogatepass")).hexdigest()
        return f"{cell[:limit]}... ({len(cell)} characters, SHA-256 {digest})"
    if isinstance(cell, list) and any(isinstance(one, str) and len(one) > limit for one in cell):
        return [_bounded(one, limit) for one in cell]
    return cell


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

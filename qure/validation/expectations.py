"""Expectations that Great Expectations has none for. Importing this module imports Great Expectations (seconds).

Each is a metric, which answers for every row at once on pandas, and an expectation, which says it in words. An empty
cell is nobody's business here: a rule about missing values names it.
"""

from collections.abc import Mapping
from typing import Any, ClassVar

import pandas as pd
from great_expectations.core.expectation_validation_result import ExpectationValidationResult
from great_expectations.execution_engine import PandasExecutionEngine
from great_expectations.expectations.expectation import (
    ColumnMapExpectation,
    ColumnPairMapExpectation,
)
from great_expectations.expectations.expectation_configuration import ExpectationConfiguration
from great_expectations.expectations.metrics import ColumnMapMetricProvider, column_condition_partial
from great_expectations.expectations.metrics.map_metric_provider import (
    ColumnPairMapMetricProvider,
    column_pair_condition_partial,
)
from great_expectations.render import LegacyRendererType, RenderedStringTemplateContent
from great_expectations.render.renderer.renderer import renderer

from qure.datasets.ids import unsafe_reason

#: Benchmark -> name of a list of images -> its ids. Expectations carry only these names, because Great Expectations
#: writes their arguments into every result and page, and a list has up to 123,403 ids.
IMAGE_LISTS: dict[str, Mapping[str, frozenset[str]]] = {}


class InWords:
    """Renders an expectation in Data Docs by its class's `words`, with its arguments put in."""

    words: ClassVar[str] = ""

    @classmethod
    @renderer(renderer_type=LegacyRendererType.PRESCRIPTIVE)
    def _prescriptive_renderer(
        cls,
        configuration: ExpectationConfiguration | None = None,
        result: ExpectationValidationResult | None = None,
        runtime_configuration: dict[str, Any] | None = None,
        **_: Any,
    ) -> list[RenderedStringTemplateContent]:
        arguments = dict(configuration.kwargs) if configuration else {}
        string_template = {
            "template": cls.words,
            "params": arguments,
            "styling": (runtime_configuration or {}).get("styling"),
        }
        return [RenderedStringTemplateContent(content_block_type="string_template", string_template=string_template)]


class SafeImageId(ColumnMapMetricProvider):
    condition_metric_name = "column_values.safe_image_id"

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, **_: Any) -> pd.Series:
        return column.map(lambda image: unsafe_reason(image) is None)


class ExpectColumnValuesToBeSafeImageIds(InWords, ColumnMapExpectation):
    """Ids that can only name a file inside the image folder (`qure.datasets.ids.unsafe_reason`)."""

    map_metric = "column_values.safe_image_id"
    words: ClassVar[str] = "values can name no file outside the image folder."


class PairListed(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.listed"
    condition_domain_keys = ("batch_id", "table", "column_A", "column_B", "row_condition", "condition_parser")
    condition_value_keys = ("benchmark",)

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_A: pd.Series, column_B: pd.Series, benchmark: str = "", **_: Any) -> pd.Series:
        lists = IMAGE_LISTS[benchmark]
        known = [
            list_name is None or image in lists.get(list_name, frozenset()) or unsafe_reason(image) is not None
            for image, list_name in zip(column_A, column_B, strict=True)
        ]
        return pd.Series(known, index=column_A.index, dtype=bool)


class ExpectColumnPairValuesToBeListed(InWords, ColumnPairMapExpectation):
    """Column A's image is in the list of images that column B names; an unsafe id is another expectation's business.

    Args:
        column_A: image ids.
        column_B: names of lists, keys of `IMAGE_LISTS[benchmark]`; None where no list has to hold the image.
        benchmark: whose lists.
    """

    benchmark: str
    map_metric = "column_pair_values.listed"
    success_keys: ClassVar[tuple[str, ...]] = ("mostly", "benchmark")
    words: ClassVar[str] = "Every $column_A must be in $benchmark's image list that $column_B names."


class PairMember(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.a_member_of_b"
    condition_domain_keys = ("batch_id", "table", "column_A", "column_B", "row_condition", "condition_parser")

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_A: pd.Series, column_B: pd.Series, **_: Any) -> pd.Series:
        member = [
            value is None or values is None or value in values for value, values in zip(column_A, column_B, strict=True)
        ]
        return pd.Series(member, index=column_A.index, dtype=bool)


class ExpectColumnPairValuesAToBeMemberOfB(InWords, ColumnPairMapExpectation):
    """Column A's value is one of those in column B's list."""

    map_metric = "column_pair_values.a_member_of_b"
    words: ClassVar[str] = "Every $column_A must be one of its row's $column_B."


class PairDiffers(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.differ"
    condition_domain_keys = ("batch_id", "table", "column_A", "column_B", "row_condition", "condition_parser")

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_A: pd.Series, column_B: pd.Series, **_: Any) -> pd.Series:
        return column_A.isna() | column_B.isna() | (column_A != column_B)


class ExpectColumnPairValuesToDiffer(InWords, ColumnPairMapExpectation):
    """Column A's value is another than column B's.

    Great Expectations' `ExpectSelectColumnValuesToBeUniqueWithinRecord` says the same of any number of columns, and
    counts them row by row (1.24.1).
    """

    map_metric = "column_pair_values.differ"
    words: ClassVar[str] = "Every $column_A must be another than its row's $column_B."


class DistinctEntries(ColumnMapMetricProvider):
    condition_metric_name = "column_values.distinct_entries"
    condition_value_keys = ("count",)

    @column_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column: pd.Series, count: int | None = None, **_: Any) -> pd.Series:
        return column.map(lambda entries: len(set(entries)) == len(entries) and count in (None, len(entries)))


class ExpectColumnValuesToHaveDistinctEntries(InWords, ColumnMapExpectation):
    """Lists whose entries all differ, and which have `count` of them (None: any number)."""

    count: int | None = None
    map_metric = "column_values.distinct_entries"
    success_keys: ClassVar[tuple[str, ...]] = ("mostly", "count")
    words: ClassVar[str] = "values must be lists without repetition (entries wanted: $count)."


class PairOneSplit(ColumnPairMapMetricProvider):
    condition_metric_name = "column_pair_values.in_one_split"
    condition_domain_keys = ("batch_id", "table", "column_A", "column_B", "row_condition", "condition_parser")

    @column_pair_condition_partial(engine=PandasExecutionEngine)
    def _pandas(cls, column_A: pd.Series, column_B: pd.Series, **_: Any) -> pd.Series:
        first = column_B.groupby(column_A).transform("first")
        return column_A.isna() | (column_B == first)


class ExpectColumnPairValuesToStayInOneSplit(InWords, ColumnPairMapExpectation):
    """Column A's value occurs in one split (column B) only; rows of every split but the first one with it are bad."""

    map_metric = "column_pair_values.in_one_split"
    words: ClassVar[str] = "No $column_A of one $column_B may be in another one as well."

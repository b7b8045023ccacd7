"""Runs suites with Great Expectations on data frames. Importing this module imports Great Expectations (seconds)."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import great_expectations as gx
from great_expectations.core.expectation_validation_result import ExpectationSuiteValidationResult
from great_expectations.data_context.types.base import (
    DataContextConfig,
    InMemoryStoreBackendDefaults,
    ProgressBarsConfig,
)

from qure.validation.suites import Suite

#: Columns that tell which row it was, as far as a table has them.
PLACE = ("file", "row", "key", "field", "image", "other", "beside")


@dataclass(frozen=True)
class SuiteResult:
    """What one suite found.

    Attributes:
        name: the suite's.
        rows: how many rows its table has.
        validation: Great Expectations' own result, for Data Docs.
        expectations: each expectation's result as JSON.
    """

    name: str
    rows: int
    validation: ExpectationSuiteValidationResult
    expectations: list[dict[str, Any]]


def run_suites(suites: Sequence[Suite]) -> list[SuiteResult]:
    """Checks every table that has rows, in memory: nothing is stored and nothing is sent anywhere.

    Raises:
        RuntimeError: an expectation could not be evaluated, which is a defect of the suite and not of the data.
    """
    source = _context().data_sources.add_pandas("qure")
    results = []
    for suite in suites:
        if len(suite.table) == 0:
            continue
        batch = source.add_dataframe_asset(suite.name).add_batch_definition_whole_dataframe("all")
        validation = batch.get_batch({"dataframe": suite.table}).validate(
            gx.ExpectationSuite(name=suite.name, expectations=suite.expectations),
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [column for column in PLACE if column in suite.table.columns],
                "return_unexpected_index_query": False,
            },
        )
        expectations = [result.to_json_dict() for result in validation.results]
        for expectation in expectations:
            _check_evaluated(suite.name, expectation)
        results.append(SuiteResult(suite.name, len(suite.table), validation, expectations))
    return results


def _context() -> gx.data_context.EphemeralDataContext:
    config = DataContextConfig(
        store_backend_defaults=InMemoryStoreBackendDefaults(init_temp_docs_sites=False),
        progress_bars=ProgressBarsConfig(globally=False),
        analytics_enabled=False,
    )
    return gx.get_context(mode="ephemeral", project_config=config)


def _check_evaluated(suite: str, result: dict[str, Any]) -> None:
    exception = result["exception_info"]
    details = [exception] if "raised_exception" in exception else list(exception.values())
    for detail in details:
        if detail["raised_exception"]:
            name = result["expectation_config"]["type"]
            raise RuntimeError(f"{suite}: {name} could not be evaluated: {detail['exception_message']}")

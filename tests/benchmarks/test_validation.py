"""The validation benchmark, small: all runs of the same data come to the same result, to the byte."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.integration


def test_every_run_of_the_same_data_has_the_same_result(bench: Callable[..., dict[str, Any]]) -> None:
    found = bench("validation", "--images", 300, "--workers", 1)
    runs = [found[name] for name in ("first_run", "second_run", "second_run_all_files_touched")]
    assert len({run["result_sha256"] for run in runs}) == 1
    assert {(run["images"], run["rows"]) for run in runs} == {(found["images"], found["rows"])}
    assert found["images"] >= 300

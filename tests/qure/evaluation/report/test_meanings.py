"""What a metric means, in words."""

import pytest

from qure.evaluation.report.meanings import meaning


@pytest.mark.parametrize(
    ("metric", "says"),
    [
        ("median_rank", "as CIRR defines it"),
        ("xrecall_at_10", "as CIRR defines it"),
        ("median_rank_without_leaked", "as CIRR defines it; without queries whose target train triplets name"),
    ],
)
def test_of_a_metric_of_a_benchmarks_own_the_report_says_whose_it_is(metric: str, says: str) -> None:
    assert meaning(metric, "cirr") == says

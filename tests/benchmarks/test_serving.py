"""The serving benchmark in small: the server answers, refuses what is too large, and its memory stays bounded."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.integration
def test_a_served_model_is_asked_and_its_memory_is_told(bench: Callable[..., dict[str, Any]]) -> None:
    found = bench("serving", "--scale", 0.1, "--requests", 6, "--clients", 2, "--large", 3)
    assert 0 < found["later_median_seconds"] <= found["later_95_percent_seconds"]
    assert found["answers_per_second"] > 0
    peak = found["peak_mib"]
    assert found["idle_mib"] <= peak["ordinary"] <= peak["with_large_jpegs"] <= peak["with_refused_pngs"]
    # Three images of 24 million pixels are 216 MB where each is decoded whole, those that are refused 562 MB.
    assert peak["with_refused_pngs"] - peak["ordinary"] < 200

"""The mining benchmark, small: the loop over queries and the blocks find the same sets."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.integration
def test_both_ways_find_the_same_sets(bench: Callable[..., dict[str, Any]]) -> None:
    found = bench("mining", "--queries", 60, "--images", 300, "--tokens", 4, "--dimensions", 16)
    assert found["queries_with_the_same_set"] == 60

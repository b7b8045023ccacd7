"""The comparison of builds in small: this commit against itself, through real archives and processes."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.integration
def test_a_build_is_compared_with_itself(bench: Callable[..., dict[str, Any]]) -> None:
    found = bench("builds", "HEAD", "--sizes", "30x90,20x70", "--tokens", 2, "--dimensions", 8, "--repeats", 1)
    assert list(found["mining"]) == ["30x90", "20x70"]
    assert all(one["same_to_the_bit"] for one in found["mining"].values())
    assert len(found["before_commit"]) == 40

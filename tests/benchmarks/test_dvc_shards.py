"""The benchmark of DVC, small: from files and from shards the same images come back."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.integration


def test_files_and_shards_bring_the_same_images_back(bench: Callable[..., dict[str, Any]]) -> None:
    found = bench("dvc_shards", "--images", 20, "--bytes", 500, "--shard-bytes", 4_000)
    assert found["same_images_came_back"] is True
    assert found["shard_files"] > 1

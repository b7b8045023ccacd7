"""The benchmark of Kubeflow's overhead, small: what tasks pass on arrives (the script fails otherwise)."""

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.kfp_local


def test_the_chain_counts_to_its_end(bench: Callable[..., dict[str, Any]]) -> None:
    from pipelines.compiling import PIPELINES

    found = bench("kfp_overhead", "--runs", 1)
    assert found["compile_seconds"].keys() == PIPELINES.keys()
    assert found["subprocess"].keys() == {"seconds_per_empty_task", "seconds_to_start_and_import_the_stages"}

"""The benchmark of a training step, small: cached features give the loss of three passes, but for their rounding."""

from collections.abc import Callable
from typing import Any

import pytest


@pytest.mark.integration
def test_cached_features_give_the_same_loss(bench: Callable[..., dict[str, Any]]) -> None:
    found = bench("training_step", "--size", "small", "--repeats", 1)
    losses = found["losses"]
    assert losses["cached_features"] == pytest.approx(losses["three_vit_passes"], rel=1e-3)
    assert losses["three_vit_passes"] > 0

"""Deterministic operations for a while, and what torch was set to afterwards."""

from typing import Any

import pytest
import torch

from qure.models.threads import deterministic_algorithms

SETTINGS: Any = torch.utils.deterministic


def settings() -> tuple[bool, bool]:
    return torch.are_deterministic_algorithms_enabled(), SETTINGS.fill_uninitialized_memory


@deterministic_algorithms()
def fail_within() -> None:
    """Filling each new tensor would cost a small model time in every step."""
    assert settings() == (True, False)
    raise ZeroDivisionError


@pytest.mark.parametrize("before", [(False, True), (True, False)])
def test_deterministic_for_a_while(before: tuple[bool, bool]) -> None:
    torch.use_deterministic_algorithms(before[0])
    SETTINGS.fill_uninitialized_memory = before[1]
    try:
        with pytest.raises(ZeroDivisionError):
            fail_within()
        assert settings() == before
    finally:
        torch.use_deterministic_algorithms(False)
        SETTINGS.fill_uninitialized_memory = True

"""`--shuffle SEED`: another order of the same tests, in which a module's stay together."""

from collections.abc import Callable
from itertools import groupby
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

NAMES = [f"tests/test_{module}.py::test_{number}" for module in "abcdef" for number in range(5)]


@pytest.fixture
def ordered(helper: Callable[[str], ModuleType]) -> Callable[[int | None], list[str]]:
    """Seed -> the tests' names in the order in which they are run."""

    def order(seed: int | None) -> list[str]:
        items: list[Any] = [SimpleNamespace(nodeid=name) for name in NAMES]
        config: Any = SimpleNamespace(getoption={"--shuffle": seed}.get)
        helper("conftest").pytest_collection_modifyitems(config, items)
        return [item.nodeid for item in items]

    return order


def test_without_a_seed_the_order_stays(ordered: Callable[[int | None], list[str]]) -> None:
    assert ordered(None) == NAMES


def test_a_seed_decides_an_order_that_keeps_modules_together(ordered: Callable[[int | None], list[str]]) -> None:
    found = ordered(1)
    assert sorted(found) == NAMES
    assert found == ordered(1)
    assert len({tuple(ordered(seed)) for seed in (None, 1, 2, 3)}) == 4
    modules = [module for module, _ in groupby(found, key=lambda name: name.partition("::")[0])]
    assert len(modules) == 6
    assert modules != sorted(modules)

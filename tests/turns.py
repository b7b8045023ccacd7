"""Which of the tests that take minutes a gate runs: a part by turns, so that a few gates have run them all.

`--turn SEED/PARTS` keeps the modules of one part, and those of `ALWAYS`; SEED modulo PARTS says which. The parts take
about as long as each other by `seconds.json`: what each module took on one worker, written with `--write-seconds`.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from statistics import median

import pytest

SECONDS = Path(__file__).with_name("seconds.json")

#: Tests that take minutes have one of these marks.
MARKS = ("containers", "kfp_local", "integration")

#: In every gate: what is built anew by it, and what the newcomer's services stand on.
ALWAYS = ("tests/pipelines/test_image.py", "tests/pipelines/test_local.py", "tests/infra/services/test_services.py")


def parse(turn: str) -> tuple[int, int]:
    """SEED/PARTS -> the part's number, from 0, and how many there are.

    >>> parse("10/4")
    (2, 4)
    """
    seed, _, parts = turn.partition("/")
    if not (seed.isdecimal() and parts.isdecimal() and int(parts)):
        raise ValueError(f"{turn!r} is not SEED/PARTS, two whole numbers")
    return int(seed) % int(parts), int(parts)


def modules_of(part: int, parts: int, modules: Iterable[str], seconds: Mapping[str, float]) -> set[str]:
    """The modules of one part: the longest are dealt first, each to the part that has least so far.

    Args:
        part: from 0.
        parts: how many.
        modules: all that there are.
        seconds: what some of them took; a module that was not measured counts as the median.

    >>> seconds = {"a": 9, "b": 5, "c": 4, "d": 1}
    >>> [sorted(modules_of(part, 2, "abcd", seconds).difference(ALWAYS)) for part in range(2)]
    [['a', 'd'], ['b', 'c']]
    """
    usual = median(seconds.values()) if seconds else 1.0
    dealt: list[set[str]] = [set() for _ in range(parts)]
    load = [0.0] * parts
    for module in sorted(set(modules).difference(ALWAYS), key=lambda name: (-seconds.get(name, usual), name)):
        least = load.index(min(load))
        dealt[least].add(module)
        load[least] += seconds.get(module, usual)
    return dealt[part] | set(ALWAYS)


def read_seconds() -> dict[str, float]:
    """Seconds by module, none where nothing was measured yet."""
    return dict(json.loads(SECONDS.read_text())) if SECONDS.exists() else {}


class Stopwatch:
    """A pytest plugin that keeps what each module with long tests took."""

    def __init__(self) -> None:
        self.spent: dict[str, float] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if any(mark in report.keywords for mark in MARKS):
            module = report.nodeid.partition("::")[0]
            self.spent[module] = self.spent.get(module, 0.0) + report.duration

    def pytest_sessionfinish(self) -> None:
        write_seconds(self.spent)


def write_seconds(measured: Mapping[str, float]) -> None:
    """Adds what was measured; modules that were not run keep what they took."""
    rounded = {module: round(spent, 1) for module, spent in measured.items()}
    SECONDS.write_text(json.dumps(dict(sorted((read_seconds() | rounded).items())), indent=2) + "\n")

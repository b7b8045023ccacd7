"""The comparison of commands in small: one that needs no demo, of this checkout against itself."""

from pathlib import Path

from benchmarks import commands
from benchmarks.common import CHECKOUT


def test_both_sides_are_started_and_print_the_same(tmp_path: Path) -> None:
    found = commands.taken(["--version"], {"before": CHECKOUT, "now": CHECKOUT}, tmp_path, 1)
    assert found["prints_the_same"]
    assert found["before_s"]["median"] > 0 < found["now_s"]["median"]

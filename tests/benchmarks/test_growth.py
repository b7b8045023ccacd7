"""The growth benchmark in small: every size is mined and searched, and an exponent follows."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks import growth


def test_mining_and_search_are_measured_at_every_size(bench: Callable[..., dict[str, Any]], tmp_path: Path) -> None:
    found = bench("growth", "--sizes", "300,600", "--tokens", 2, "--dimensions", 8)
    for side in ("mining", "retrieval"):
        assert list(found[side]["sizes"]) == ["300", "600"]
        assert all(one["seconds"] > 0 for one in found[side]["sizes"].values())
        assert isinstance(found[side]["exponent"], float)
    growth.draw(json.loads(json.dumps(found)), tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")


def test_the_exponent_is_the_slope_of_the_logarithms() -> None:
    quadratic = {str(size): {"seconds": 3e-9 * size**2} for size in (1000, 10_000, 100_000)}
    assert growth.exponent(quadratic, 0) == 2.0
    quadratic["1000"]["seconds"] = 1.0
    assert growth.exponent(quadratic, 10_000) == 2.0

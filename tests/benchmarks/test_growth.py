"""The growth benchmark in small: every size is mined and searched, and an exponent follows."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import common, growth


def test_mining_and_search_are_measured_at_every_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each size in this process, where the command begins one for it."""
    monkeypatch.setattr(common, "RESULTS", tmp_path)

    def run(command: list[str], **_: object) -> "growth.subprocess.CompletedProcess[str]":
        with monkeypatch.context() as inner:
            inner.setattr(sys, "argv", command[2:])
            capsys.readouterr()
            growth.main()
        return growth.subprocess.CompletedProcess(command, 0, stdout=capsys.readouterr().out)

    small = ["growth", "--sizes", "300,600", "--tokens", "2", "--dimensions", "8", "--folder", str(tmp_path)]
    monkeypatch.setattr(growth.subprocess, "run", run)
    monkeypatch.setattr(common, "circumstances", lambda checkout: {})
    monkeypatch.setattr(sys, "argv", small)
    growth.main()
    found = json.loads((tmp_path / "growth.json").read_text())
    for side in ("mining", "retrieval"):
        assert list(found[side]["sizes"]) == ["300", "600"]
        assert all(one["seconds"] > 0 for one in found[side]["sizes"].values())
        assert isinstance(found[side]["exponent"], float)
    growth.draw(found, tmp_path / "growth.png")
    assert (tmp_path / "growth.png").read_bytes().startswith(b"\x89PNG")
    assert {path.name for path in tmp_path.iterdir()} == {"growth.json", "growth.png"}


def test_the_exponent_is_the_slope_of_the_logarithms() -> None:
    quadratic = {str(size): {"seconds": 3e-9 * size**2} for size in (1000, 10_000, 100_000)}
    assert growth.exponent(quadratic, 0) == 2.0
    quadratic["1000"]["seconds"] = 1.0
    assert growth.exponent(quadratic, 10_000) == 2.0

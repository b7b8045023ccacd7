"""The search benchmark in small: what it says of the order is true, whatever it says of the time."""

import json
import sys
from pathlib import Path

import pytest

from benchmarks import common, search


def test_the_index_finds_what_evaluation_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(sys, "argv", ["search", "--images", "500", "--tokens", "4", "--dimensions", "16"])
    search.main()
    written = json.loads((tmp_path / "search.json").read_text())
    assert written["same_order"]["index"] == written["size"]["searches"] == 5
    assert written["size"]["images"] == 500

"""Benchmarks in small, as a person starts them; what they write goes elsewhere than into benchmarks/results."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """Runs a benchmark with arguments and gives the result that it wrote."""

    def run(name: str, *arguments: object) -> dict[str, Any]:
        results = tmp_path / "results"
        results.mkdir(exist_ok=True)
        command = [sys.executable, "-m", f"benchmarks.{name}", *map(str, arguments)]
        done = subprocess.run(
            command,
            cwd=ROOT,
            env=os.environ | {"QURE_BENCH_RESULTS": str(results), "MLFLOW_TRACKING_URI": "none"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        found: dict[str, Any] = json.loads((results / f"{name}.json").read_text())
        assert {"date", "commit", "machine", "versions"} <= found["measured"].keys()
        return found

    return run

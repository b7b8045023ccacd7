"""The GPU benchmark, tiny and on this machine's processor: its parts agree; how long they take says nothing here."""

import subprocess
import sys
from pathlib import Path

import pytest


def test_the_small_version_agrees_with_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).parents[2]
    monkeypatch.syspath_prepend(str(root))
    from benchmarks.gpu import run

    kept = sorted((one.name, one.stat().st_mtime) for one in (root / "benchmarks" / "results").iterdir())
    found = run.main(["--small", "--only", "parity,mining,precompute"])
    if found["device"] == "cpu":
        assert set(found["parity"]["fp32"].values()) == {0.0}
    assert max(found["parity"]["bf16"].values()) < 0.05
    mining = found["mining"]["fashioniq_category"]
    assert mining["queries_with_the_same_set_in_both_tiles"] == 150
    assert mining["queries_with_the_same_set_on_the_cpu"] == [150, 150]
    assert found["precompute"]["images"] == 20
    assert kept == sorted((one.name, one.stat().st_mtime) for one in (root / "benchmarks" / "results").iterdir())


@pytest.mark.integration
def test_needs_no_more_than_a_gpu_image_has() -> None:
    """What the script imports on its way: neither the tracking server's client nor the validation's library."""

    code = (
        "import sys, benchmarks.gpu.run, qure.training.loop, qure.features.computing, qure.models.model;"
        "print([name for name in ('mlflow', 'great_expectations', 'boto3', 'kfp', 'dvc') if name in sys.modules])"
    )
    root = Path(__file__).parents[2]
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

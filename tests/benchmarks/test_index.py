"""The index benchmark in small: what it compares is compared with exact search, whatever it says of the time."""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import common, index
from benchmarks.index import Clustered
from qure.evaluation.ranking.embeddings import write_embeddings


def test_a_synthetic_gallery_is_the_same_in_whatever_parts() -> None:
    gallery = Clustered(900, 3, 8)
    whole = gallery.read(0, 900)
    assert whole.shape == (900, 3, 8)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=2), 1, atol=1e-5)
    parts = [gallery.read(0, 400), gallery.read(400, 820), gallery.read(820, 900)]
    assert np.array_equal(np.concatenate(parts), whole)


def test_each_side_measures_the_same_gallery(tmp_path: Path) -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'qure[index]'")
    gallery = Clustered(3000, 4, 16)
    write_embeddings(tmp_path / "embeddings.safetensors", [str(row) for row in range(3000)], gallery, dtype="fp16")
    for name, seed in (("queries", 1), ("others", 3)):
        np.save(tmp_path / f"{name}.npy", gallery.queries(5, seed))
    options = argparse.Namespace(hold=0, bytes=8)
    assert index.run_exact(tmp_path, options)["held"] is False
    built = index.run_build(tmp_path, options)
    assert (built["parts"], built["lists"]) == (1, 128)
    assert built["bytes_an_image"] >= 4 * (8 + 8)
    found = index.run_search(tmp_path, options)
    assert 0.5 < found["as_built"]["recall_at_10"] <= found["four_times_as_far"]["recall_at_10"] <= 1
    options.hold = 1 << 30
    assert index.run_exact(tmp_path, options)["held"] is True


def test_what_was_measured_of_other_sizes_is_kept_when_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(common, "RESULTS", tmp_path)
    monkeypatch.setattr(index, "RESULTS", tmp_path)

    def measure(size: str, folder: Path, arguments: argparse.Namespace) -> dict[str, Any]:
        assert folder.is_dir()
        return {"queries": arguments.queries}

    monkeypatch.setattr(index, "measure_size", measure)
    for arguments in (["--sizes", "300x2x8"], ["--sizes", "20x2x8,100x2x8", "--queries", "7", "--add"]):
        monkeypatch.setattr(sys, "argv", ["index", *arguments])
        index.main()
    found = json.loads((tmp_path / "index.json").read_text())
    assert found["sizes"] == {"20x2x8": {"queries": 7}, "100x2x8": {"queries": 7}, "300x2x8": {"queries": 100}}

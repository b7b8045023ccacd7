"""`qure index`: an index for a gallery folder, as the settings say."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from qure.evaluation.ranking.embeddings import write_embeddings

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'qure[index]'")


def unit(*shape: int) -> np.ndarray:
    rows = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.fixture
def gallery(project: Path) -> Path:
    """A gallery of its own, and settings that want an index."""
    write_embeddings(
        project / "gallery" / "embeddings.safetensors", [f"image-{row}" for row in range(3000)], unit(3000, 4, 16)
    )
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["serving"] = {"index": {"kind": "ivf_pq", "bytes_per_token": 1, "least_recall": 0.1, "queries": 30}}
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    return project / "gallery"


def test_an_index_is_made_and_told(qure: Callable[..., Any], gallery: Path) -> None:
    said = qure("--quiet", "index", "gallery")
    assert said.exit_code == 0, said.err
    assert "of 128 lists are searched" in said.out
    assert "against exact search (30 queries)" in said.out
    write_embeddings("queries.safetensors", [f"query-{row}" for row in range(12)], unit(12, 16))
    said = qure("--quiet", "index", "gallery", "--queries", "queries.safetensors", "--json")
    assert json.loads(said.out) == json.loads((gallery / "index" / "index.json").read_text())
    assert json.loads(said.out)["queries"] == 12


def test_without_the_wish_for_one_the_way_out_is_told(qure: Callable[..., Any], project: Path) -> None:
    said = qure("index", "gallery")
    assert said.exit_code == 2
    assert "field 'serving.index.kind': no index is wanted. Set it to ivf_pq" in said.err


def test_a_folder_that_is_no_gallery(qure: Callable[..., Any], gallery: Path) -> None:
    (gallery / "embeddings.safetensors").unlink()
    said = qure("index", "gallery")
    assert (said.exit_code, "embeddings.safetensors: the file does not exist" in said.err) == (2, True)

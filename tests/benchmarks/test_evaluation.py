"""The benchmark of the protocols, with tiny embeddings: the numbers are those of a plain calculation."""

import argparse
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from benchmarks import evaluation
from benchmarks.common import CHECKOUT
from qure.benchmarks.cirr import files as cirr


@pytest.mark.integration
def test_recall_is_that_of_a_plain_ranking(annotations: Path, tmp_path: Path) -> None:
    arguments = argparse.Namespace(annotations=annotations, dimensions=8, tokens=2, repeats=1)
    found = evaluation.measure("cirr", {"now": CHECKOUT, "before": CHECKOUT}, arguments, tmp_path)
    (queries,), (gallery,) = (load_file(tmp_path / f"{name}.safetensors").values() for name in ("queries", "gallery"))
    root, split = evaluation.prepared("cirr", annotations, tmp_path)
    place = {image: number for number, image in enumerate(evaluation.asked("cirr", root, split)[1])}
    scores = np.einsum("qd,ntd->qnt", queries.reshape(len(queries), -1), gallery).max(axis=2)
    triplets = cirr.read_triplets(root, split)
    for row, triplet in enumerate(triplets):
        scores[row, place[triplet.reference]] = -np.inf
    targets = scores[range(len(triplets)), [place[triplet.target] for triplet in triplets]]
    ranks = 1 + (scores > targets[:, None]).sum(axis=1)
    for depth in (1, 5, 10, 50):
        assert found["metrics"][f"recall_at_{depth}"] == pytest.approx(100 * (ranks <= depth).mean(), abs=0.03)
    assert found["same_metrics"]
    assert set(found["cpu_s"]) == {"now", "before", "published"}

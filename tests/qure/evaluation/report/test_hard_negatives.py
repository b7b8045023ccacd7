"""What lies between the steep drops: that of the mining, of typical queries, and on disk what is shown."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from qure.config import NegativeSettings
from qure.datasets.types import Gallery, Triplet
from qure.evaluation.judging import _draw_drops
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.report import hard_negatives
from qure.evaluation.report.hard_negatives import rankings, typical_rankings
from qure.negatives.mining import mine


def test_drops_and_sets_of_known_scores(tmp_path: Path) -> None:
    """One query over eight candidates: its drops lie after the third and the sixth image."""
    scores = np.array([1.0, 0.9, 0.85, 0.5, 0.48, 0.47, 0.1, 0.09], dtype=np.float32)
    order = np.random.default_rng(0).permutation(8)
    ids = tuple(f"i{number}" for number in order)
    gallery = Embeddings(ids, np.stack([scores[order], np.ones(8)], axis=1).astype(np.float32))
    queries = Embeddings(["dress/0"], np.array([[1.0, 0.0]], dtype=np.float32))
    triplet = Triplet("dress/0", "i7", "is red", "i0", "dress")
    # The strategy that the training used does not matter.
    rule = NegativeSettings(strategy="top_k", top_k=3)
    (found,) = typical_rankings([triplet], Gallery("g", ids), queries, gallery, rule)
    assert found.curve.scores.tolist() == scores.tolist()
    assert (found.curve.target_rank, found.curve.start, found.curve.end) == (0, 2, 5)
    assert (found.curve.first, found.curve.last) == (3, 5)
    assert [(image, place) for image, place, _ in found.negatives] == [("i3", 3), ("i4", 4), ("i5", 5)]
    hard_negatives.save([found], tmp_path / "kept.json")
    (record,) = hard_negatives.load(tmp_path / "kept.json")
    negatives = record.pop("negatives")
    assert record == {
        "query_id": "dress/0",
        "reference": "i7",
        "text": "is red",
        "target": "i0",
        "target_rank": 1,
        "size": 3,
        "first": 4,
        "last": 6,
        "corpus_size": 8,
    }
    assert [(one["id"], one["rank"]) for one in negatives] == [("i3", 4), ("i4", 5), ("i5", 6)]
    assert [one["score"] for one in negatives] == pytest.approx([0.5, 0.48, 0.47])


def test_one_image_or_no_query_has_no_drops_and_leaves_no_picture(tmp_path: Path) -> None:
    gallery = Gallery("val dress", ("i0",))
    vectors = Embeddings(["i0"], np.array([[1.0, 0.0]], dtype=np.float32))
    triplet = Triplet("q0", "i0", "is red", "i0", "dress")
    queries = Embeddings(["q0"], np.array([[1.0, 0.0]], dtype=np.float32))
    for triplets in ([triplet], []):
        assert typical_rankings(triplets, gallery, queries, vectors, NegativeSettings()) == []
        task: Any = SimpleNamespace(split=SimpleNamespace(galleries={"dress": gallery}, triplets=triplets))
        _draw_drops(task, queries, vectors, NegativeSettings(), "cpu", tmp_path / "plots")
    assert typical_rankings([], Gallery("g", ("i0", "i1")), queries, vectors, NegativeSettings()) == []
    assert not (tmp_path / "plots").exists()


@pytest.mark.parametrize("rule", [NegativeSettings(), NegativeSettings(rule="paper", search_window=50)])
def test_the_sets_are_those_of_the_mining_and_the_shown_ones_typical(
    unit_embeddings: Callable[..., Embeddings], tmp_path: Path, rule: NegativeSettings
) -> None:
    ids = tuple(f"i{number}" for number in range(200))
    triplets = [Triplet(f"{number}", "i0", "is red", f"i{number}") for number in range(64)]
    queries, gallery = unit_embeddings([one.query_id for one in triplets], 1), unit_embeddings(ids, 2, 3)
    mined = mine(torch.from_numpy(queries.vectors[:, 0]), torch.from_numpy(gallery.vectors), np.arange(64), rule).hard
    scores = np.einsum("qd,ntd->qnt", queries.vectors[:, 0].astype(float), gallery.vectors.astype(float)).max(axis=2)
    found = rankings(triplets, Gallery("g", ids), scores.astype(np.float32), np.arange(64), rule)
    for number, one in enumerate(found):
        assert {image for image, _, _ in one.negatives} == {ids[column] for column in mined.of(number)}
    sizes = np.array([len(one.negatives) for one in found])
    shown = typical_rankings(triplets, Gallery("g", ids), queries, gallery, rule)
    nearest = sorted(abs(len(one.negatives) - sizes.mean()) for one in found if one.curve.start >= 0)
    assert [abs(len(one.negatives) - sizes.mean()) for one in shown] == pytest.approx(nearest[:2])
    hard_negatives.save(found, tmp_path / "kept.json")
    for one, record in zip(found, hard_negatives.load(tmp_path / "kept.json"), strict=True):
        assert record["size"] == len(one.negatives)
        assert len(record["negatives"]) == min(20, record["size"])
        assert record["negatives"][0]["rank"] == record["first"]
        assert record["negatives"][-1]["rank"] == record["last"]


def test_the_stage_leaves_them(evaluated: Any) -> None:
    folder = evaluated.folder / "evaluation" / "plots"
    records = hard_negatives.load(folder / hard_negatives.FILE)
    assert len(records) == 2
    assert all(one["query_id"].startswith("dress/") and one["negatives"] for one in records)

"""CIRCO against a straightforward computation from the files."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qure.benchmarks.circo import files as files
from qure.benchmarks.circo import protocol as circo
from qure.config import EvaluationSettings
from qure.datasets.types import Gallery
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.statistics.results import Evaluation


def plain_average_precision(ranking: list[int], answers: list[int], depth: int) -> float:
    """Precision at every right answer within the first k, summed, over min(number of answers, k)."""
    total, hits = 0.0, 0
    for place, image in enumerate(ranking[:depth], start=1):
        if image in answers:
            hits += 1
            total += hits / place
    return total / min(len(answers), depth)


def plain_rankings(root: Path, split: str, queries: Embeddings, gallery: Embeddings) -> dict[int, list[int]]:
    stacked = gallery.vectors.astype(np.float64)
    numbers = [int(name) for name in gallery.ids]
    asked = dict(zip(queries.ids, queries.vectors[:, 0].astype(np.float64), strict=True))
    return {
        row["id"]: [numbers[place] for place in np.argsort(-(stacked @ asked[str(row["id"])]).max(axis=1))]
        for row in json.loads((root / "annotations" / f"{split}.json").read_text())
    }


def agree(evaluation: Evaluation, root: Path, rankings: dict[int, list[int]]) -> None:
    rows = json.loads((root / "annotations" / "val.json").read_text())
    for depth in (5, 10, 25, 50):
        values = [plain_average_precision(rankings[row["id"]], row["gt_img_ids"], depth) for row in rows]
        assert evaluation.metrics[f"map_at_{depth}"] == pytest.approx(100 * np.mean(values), abs=1e-9)


@pytest.mark.parametrize("tokens", [1, 4])
def test_agrees_with_a_plain_computation(
    circo_root: Path, tokens: int, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    gallery = files.read_gallery(circo_root)
    queries = unit_embeddings([str(number) for number in range(25)], 1)
    candidates = unit_embeddings(gallery.ids, 2, tokens)
    triplets = files.read_triplets(circo_root, "val")
    evaluation = circo.evaluate(triplets, gallery, queries, candidates, settings=settings)
    rankings = plain_rankings(circo_root, "val", queries, candidates)
    agree(evaluation, circo_root, rankings)
    for triplet, row in zip(triplets, evaluation.per_query.to_dict("records"), strict=True):
        order = rankings[int(triplet.query_id)]
        assert row["rank"] == order.index(int(str(triplet.target))) + 1
        assert row["best_rank"] == min(order.index(int(answer)) + 1 for answer in triplet.answers)
        assert [int(image) for image, _ in evaluation.top[triplet.query_id]] == order[:50]
    found = circo.predict(files.read_triplets(circo_root, "test"), gallery, queries, candidates)
    assert {int(query): [int(image) for image in images] for query, images in found.items()} == {
        query: order[:50] for query, order in plain_rankings(circo_root, "test", queries, candidates).items()
    }


def test_agrees_on_the_public_annotations(
    annotations: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    root = annotations / "circo"
    triplets = files.read_triplets(root, "val")
    named = dict.fromkeys(image for one in triplets for image in (*one.answers, one.reference))
    others = [str(600_000 + number) for number in range(3000)]
    gallery = Gallery("circo", (*named, *others))
    queries = unit_embeddings([one.query_id for one in triplets], 1, dimension=8)
    candidates = unit_embeddings(gallery.ids, 2, 2, dimension=8)
    evaluation = circo.evaluate(triplets, gallery, queries, candidates, settings=settings, partial_gallery=True)
    assert evaluation.metrics["queries"] == 220
    assert evaluation.details["partial_gallery"] is True
    agree(evaluation, root, plain_rankings(root, "val", queries, candidates))


def test_average_precision_on_the_published_example(annotations: Path) -> None:
    root = annotations / "circo"
    ranking = json.loads((root / "submission_example" / "submission_val.json").read_text())
    for row in json.loads((root / "annotations" / "val.json").read_text()):
        order = ranking[str(row["id"])]
        # An answer that is not among the 50 published ones ranks somewhere behind them.
        ranks = sorted(order.index(image) + 1 if image in order else 51 for image in row["gt_img_ids"])
        for depth in (5, 10, 25, 50):
            expected = plain_average_precision(order, row["gt_img_ids"], depth)
            assert circo.average_precision(np.array(ranks), depth) == pytest.approx(expected, abs=1e-12)


def test_the_reference_stays_in_the_gallery(circo_root: Path, settings: EvaluationSettings) -> None:
    triplets, gallery = files.read_triplets(circo_root, "val"), files.read_gallery(circo_root)
    vectors = dict(zip(gallery.ids, np.eye(80, dtype=np.float32), strict=True))
    queries = Embeddings([one.query_id for one in triplets], np.stack([vectors[one.reference] for one in triplets]))
    candidates = Embeddings(gallery.ids, np.eye(80, dtype=np.float32))
    evaluation = circo.evaluate(triplets, gallery, queries, candidates, settings=settings)
    assert all(evaluation.top[one.query_id][0][0] == one.reference for one in triplets)


def test_right_answers_outside_the_gallery_are_named(
    circo_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    triplets, gallery = files.read_triplets(circo_root, "val"), files.read_gallery(circo_root)
    answer = triplets[0].answers[0]
    partial = Gallery("circo/partial", tuple(image for image in gallery.ids if image != answer))
    queries = unit_embeddings([one.query_id for one in triplets], 1)
    with pytest.raises(BadInput, match=f"right answers are not in the gallery of 79 images: '{answer}'"):
        circo.evaluate(triplets, partial, queries, unit_embeddings(partial.ids, 2), settings=settings)

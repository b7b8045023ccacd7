"""CIRR against a straightforward computation from the files."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from qure.benchmarks.cirr import files as files
from qure.benchmarks.cirr import protocol as cirr
from qure.config import EvaluationSettings
from qure.datasets.split import Split
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.statistics.results import Evaluation

#: How deep a ranking is looked at.
DEPTH = 50


def plain_rankings(root: Path, split: str, queries: Embeddings, gallery: Embeddings) -> tuple[dict, dict]:
    """pair id -> the best names of the whole split, and all of the image set, ranked; both without the reference."""
    rows = json.loads((root / "captions" / f"cap.rc2.{split}.json").read_text())
    names = list(json.loads((root / "image_splits" / f"split.rc2.{split}.json").read_text()))
    vectors = dict(zip(gallery.ids, gallery.vectors.astype(np.float64), strict=True))
    flat = np.concatenate([vectors[name] for name in names])  # of several vectors each, one below the other
    asked = dict(zip(queries.ids, queries.vectors[:, 0].astype(np.float64), strict=True))
    place_of = {name: place for place, name in enumerate(names)}
    whole, subset = {}, {}
    for row in rows:
        relevance = (flat @ asked[str(row["pairid"])]).reshape(len(names), -1).max(axis=1)
        best = [names[place] for place in np.argsort(-relevance)[: DEPTH + 1]]
        whole[str(row["pairid"])] = [name for name in best if name != row["reference"]]
        others = set(row["img_set"]["members"]) - {row["reference"]}
        subset[str(row["pairid"])] = sorted(others, key=lambda name: -relevance[place_of[name]])
    return whole, subset


def agree(evaluation: Evaluation, root: Path, queries: Embeddings, gallery: Embeddings) -> None:
    rows = json.loads((root / "captions" / "cap.rc2.val.json").read_text())
    whole, subset = plain_rankings(root, "val", queries, gallery)

    def recall(rankings: dict, depth: int) -> float:
        hits = [row["target_hard"] in rankings[str(row["pairid"])][:depth] for row in rows]
        return 100 * float(np.mean(hits))

    for depth in (1, 5, 10, DEPTH):
        assert evaluation.metrics[f"recall_at_{depth}"] == pytest.approx(recall(whole, depth), abs=1e-9)
    for depth in (1, 2, 3):
        assert evaluation.metrics[f"recall_subset_at_{depth}"] == pytest.approx(recall(subset, depth), abs=1e-9)
    expected = (recall(whole, 5) + recall(subset, 1)) / 2
    assert evaluation.metrics["average"] == pytest.approx(expected, abs=1e-9)
    assert [image for image, _ in evaluation.top[str(rows[0]["pairid"])]] == whole[str(rows[0]["pairid"])][:DEPTH]


def run(root: Path, queries: Embeddings, gallery: Embeddings, settings: EvaluationSettings) -> Evaluation:
    return cirr.evaluate(
        files.read_triplets(root, "val"), files.read_gallery(root, "val"), queries, gallery, settings=settings
    )


@pytest.mark.parametrize("tokens", [1, 4])
def test_agrees_with_a_plain_computation(
    cirr_root: Path, tokens: int, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    queries = unit_embeddings([str(100 + number) for number in range(30)], 1)
    gallery = unit_embeddings(files.read_gallery(cirr_root, "val").ids[::-1], 2, tokens)
    agree(run(cirr_root, queries, gallery, settings), cirr_root, queries, gallery)


def test_agrees_on_the_public_annotations(
    annotations: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    root = annotations / "cirr"
    triplets, gallery = files.read_triplets(root, "val"), files.read_gallery(root, "val")
    queries = unit_embeddings([triplet.query_id for triplet in triplets], 1, dimension=8)
    candidates = unit_embeddings(gallery.ids, 2, 2, dimension=8)
    evaluation = run(root, queries, candidates, settings)
    assert (evaluation.metrics["queries"], evaluation.metrics["gallery_size"]) == (4181, 2297)
    agree(evaluation, root, queries, candidates)
    assert evaluation.metrics["recall_subset_at_1"] == pytest.approx(20.0, abs=2.5), "chance is one of five"
    low, high = evaluation.intervals["average"]
    assert low < evaluation.metrics["average"] < high


def test_the_reference_is_no_candidate(cirr_root: Path, settings: EvaluationSettings) -> None:
    """A model that finds the reference first and the target second is right."""
    triplets, gallery = files.read_triplets(cirr_root, "val"), files.read_gallery(cirr_root, "val")
    vectors = dict(zip(gallery.ids, np.eye(60, dtype=np.float32), strict=True))
    queries = Embeddings(
        [one.query_id for one in triplets],
        np.stack([vectors[one.reference] + 0.5 * vectors[str(one.target)] for one in triplets]),
    )
    evaluation = run(cirr_root, queries, Embeddings(gallery.ids, np.eye(60, dtype=np.float32)), settings)
    assert evaluation.metrics["recall_at_1"] == evaluation.metrics["recall_subset_at_1"] == 100.0
    assert all(one.reference not in dict(evaluation.top[one.query_id]) for one in triplets)


def test_ties_go_to_the_gallerys_order(cirr_root: Path, settings: EvaluationSettings) -> None:
    triplets, gallery = files.read_triplets(cirr_root, "val"), files.read_gallery(cirr_root, "val")
    same = np.ones((60, 4), dtype=np.float32) / 2
    queries = Embeddings([one.query_id for one in triplets], same[:30])
    evaluation = run(cirr_root, queries, Embeddings(sorted(gallery.ids), same), settings)
    for row, one in zip(evaluation.per_query.to_dict("records"), triplets, strict=True):
        candidates = [name for name in gallery.ids if name != one.reference]
        assert row["rank"] == candidates.index(str(one.target)) + 1
        others = [name for name in candidates if name in one.members]
        assert row["subset_rank"] == others.index(str(one.target)) + 1


def test_predictions_are_the_plain_rankings(cirr_root: Path, unit_embeddings: Callable[..., Embeddings]) -> None:
    triplets, gallery = files.read_triplets(cirr_root, "test1"), files.read_gallery(cirr_root, "test1")
    queries = unit_embeddings([one.query_id for one in triplets], 1)
    candidates = unit_embeddings(gallery.ids, 2, 3)
    recall, subset = cirr.predict(triplets, gallery, queries, candidates)
    whole, members = plain_rankings(cirr_root, "test1", queries, candidates)
    assert recall == {query: names[:50] for query, names in whole.items()}
    assert subset == {query: names[:3] for query, names in members.items()}


def test_test1_has_no_answers(
    cirr_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    some = unit_embeddings(["a"], 1)
    triplets, gallery = files.read_triplets(cirr_root, "test1"), files.read_gallery(cirr_root, "test1")
    with pytest.raises(BadInput, match="split 'test1' of 'cirr' has no answers"):
        cirr.evaluate(triplets, gallery, some, some, settings=settings, split="test1")


@pytest.mark.parametrize("size", [6, 49, 50, 51, 52])
def test_the_reference_is_never_submitted_nor_shown(
    size: int, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    """Also where the gallery has no more images than names are asked for, and the reference scores highest."""
    gallery = Gallery("small", tuple(f"image{number}" for number in range(size)))
    candidates = unit_embeddings(gallery.ids, 4)
    triplets = [
        Triplet(f"{place}", gallery.ids[place], "", gallery.ids[place + 1], members=gallery.ids[:6])
        for place in range(5)
    ]
    queries = Embeddings([one.query_id for one in triplets], candidates.vectors[:5])
    recall, subset = cirr.predict(triplets, gallery, queries, candidates)
    evaluation = cirr.evaluate(triplets, gallery, queries, candidates, settings=settings)
    for one in triplets:
        for names in (recall[one.query_id], [image for image, _ in evaluation.top[one.query_id]]):
            assert one.reference not in names
            assert len(names) == len(set(names)) == min(50, size - 1)
        assert len(subset[one.query_id]) == 3
        assert set(subset[one.query_id]) <= set(one.members) - {one.reference}


def test_chance_is_what_random_orders_score(cirr_root: Path) -> None:
    triplets, gallery = files.read_triplets(cirr_root, "val"), files.read_gallery(cirr_root, "val")
    found = cirr.chance(Split("val", triplets, {"": gallery}))
    draw, rounds = np.random.default_rng(0), 300
    ranks, subset_ranks = [], []
    for one in triplets:
        others = [name for name in gallery.ids if name != one.reference]
        for _ in range(rounds):
            order = draw.permutation(others).tolist()
            ranks.append(order.index(one.target))
            subset_ranks.append([name for name in order if name in one.members].index(str(one.target)))
    for depth in (1, 5, 10, 50):
        assert found[f"recall_at_{depth}"] == pytest.approx(100 * np.mean(np.array(ranks) < depth), abs=1.5)
    for depth in (1, 2, 3):
        share = 100 * np.mean(np.array(subset_ranks) < depth)
        assert found[f"recall_subset_at_{depth}"] == pytest.approx(share, abs=2.0)
    assert found["average"] == pytest.approx((found["recall_at_5"] + found["recall_subset_at_1"]) / 2)
    assert found.keys() == {measure.name for measure in cirr.measures(judged=False)}


def test_the_last_names_submitted_are_in_the_exact_order_too() -> None:
    """Pairs of images that single precision cannot tell apart, down to the names behind the reference's place."""
    draw = np.random.default_rng(3)
    base = draw.standard_normal((300, 256))
    vectors = np.repeat(base, 2, axis=0) + 1e-6 * draw.standard_normal((600, 256))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    gallery = Gallery("pairs", tuple(f"image{number}" for number in range(600)))
    triplets = [
        Triplet(f"{n}", gallery.ids[n], "", gallery.ids[n + 1], members=gallery.ids[n : n + 6]) for n in range(90)
    ]
    queries = Embeddings([one.query_id for one in triplets], vectors[:90])
    recall, _ = cirr.predict(triplets, gallery, queries, Embeddings(gallery.ids, vectors))
    for number, one in enumerate(triplets):
        exact = (vectors.astype(np.float64) @ vectors[number].astype(np.float64)).astype(np.float32)
        order = sorted((place for place in range(600) if place != number), key=lambda place: (-exact[place], place))
        assert recall[one.query_id] == [gallery.ids[place] for place in order[:50]]


def test_what_is_missing_is_named_before_anything_is_ranked(
    cirr_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    triplets, gallery = files.read_triplets(cirr_root, "val"), files.read_gallery(cirr_root, "val")
    ids = [one.query_id for one in triplets]
    with pytest.raises(BadInput, match=ids[7]):
        run(cirr_root, unit_embeddings(ids[:7] + ids[8:], 1), unit_embeddings(gallery.ids, 2), settings)
    with pytest.raises(BadInput, match=gallery.ids[3]):
        run(cirr_root, unit_embeddings(ids, 1), unit_embeddings([*gallery.ids[:3], *gallery.ids[4:]], 2), settings)
    with pytest.raises(BadInput, match="there is no query"):
        cirr.evaluate([], gallery, unit_embeddings(ids, 1), unit_embeddings(gallery.ids, 2), settings=settings)
    alone = replace(triplets[0], target=triplets[0].reference)
    with pytest.raises(BadInput, match=f"{alone.target!r} is not one of the image set's other members") as caught:
        cirr.evaluate([alone], gallery, unit_embeddings(ids, 1), unit_embeddings(gallery.ids, 2), settings=settings)
    assert caught.value.file == triplets[0].source
    alone = replace(triplets[0], target="elsewhere")
    with pytest.raises(BadInput, match="target 'elsewhere' is not in the gallery of 60 images"):
        cirr.evaluate([alone], gallery, unit_embeddings(ids, 1), unit_embeddings(gallery.ids, 2), settings=settings)
    strange = replace(triplets[0], members=(*triplets[0].members[:5], "elsewhere"))
    with pytest.raises(BadInput, match="'elsewhere' is not in the gallery"):
        cirr.predict([strange], gallery, unit_embeddings(ids, 1), unit_embeddings(gallery.ids, 2))

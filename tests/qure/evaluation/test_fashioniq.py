"""FashionIQ against a straightforward computation from the files, and what is refused."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from qure.benchmarks.fashioniq import BENCHMARK
from qure.benchmarks.fashioniq import files as files
from qure.benchmarks.fashioniq import protocol as fashioniq
from qure.config import EvaluationSettings
from qure.datasets.split import Split
from qure.datasets.types import Gallery
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.statistics.results import Evaluation

CATEGORIES = ("dress", "shirt", "toptee")


def plain_ranks(root: Path, category: str, protocol: str, queries: Embeddings, gallery: Embeddings) -> list[int]:
    """Ranks of the targets, from the public files alone: one more than there are images before it."""
    rows = json.loads((root / "captions" / f"cap.{category}.val.json").read_text())
    candidates = json.loads((root / "image_splits" / f"split.{category}.val.json").read_text())
    if protocol == "val":
        candidates = sorted({row["candidate"] for row in rows} | {row["target"] for row in rows})
    vectors = dict(zip(gallery.ids, gallery.vectors.astype(np.float64), strict=True))
    asked = dict(zip(queries.ids, queries.vectors[:, 0].astype(np.float64), strict=True))
    flat = np.concatenate([vectors[name] for name in candidates])  # of several vectors each, one below the other
    place = {name: number for number, name in enumerate(candidates)}
    ranks = []
    for number, row in enumerate(rows):
        relevance = (flat @ asked[f"{category}/{number}"]).reshape(len(candidates), -1).max(axis=1)
        ranks.append(1 + int(np.count_nonzero(relevance > relevance[place[row["target"]]])))
    return ranks


def run(
    root: Path, protocol: str, queries: Embeddings, gallery: Embeddings, settings: EvaluationSettings
) -> Evaluation:
    settings = settings.model_copy(update={"gallery_protocol": protocol})
    galleries = {category: files.read_gallery(root, "val", category, protocol) for category in CATEGORIES}
    return fashioniq.evaluate(files.read_triplets(root, "val"), galleries, queries, gallery, settings=settings)


def agree(evaluation: Evaluation, ranks: dict[str, list[int]]) -> None:
    recall = {
        depth: {category: 100 * np.mean([rank <= depth for rank in own]) for category, own in ranks.items()}
        for depth in (1, 5, 10, 50)
    }
    for depth, by_category in recall.items():
        for category, value in by_category.items():
            assert evaluation.metrics[f"{category}_recall_at_{depth}"] == pytest.approx(value, abs=1e-9)
        mean = np.mean(list(by_category.values()))
        assert evaluation.metrics[f"recall_at_{depth}"] == pytest.approx(mean, abs=1e-9)
    average = np.mean([np.mean(list(recall[10].values())), np.mean(list(recall[50].values()))])
    assert evaluation.metrics["average"] == pytest.approx(average, abs=1e-9)
    assert evaluation.per_query["rank"].tolist() == [rank for category in CATEGORIES for rank in ranks[category]]


@pytest.mark.parametrize("protocol", ["original", "val"])
@pytest.mark.parametrize("tokens", [1, 4])
def test_agrees_with_a_plain_computation(
    fashioniq_root: Path,
    protocol: str,
    tokens: int,
    unit_embeddings: Callable[..., Embeddings],
    settings: EvaluationSettings,
) -> None:
    queries = unit_embeddings([f"{category}/{row}" for category in CATEGORIES for row in range(20)], seed=1)
    gallery = unit_embeddings([f"{category}{number:02d}" for category in CATEGORIES for number in range(30)], 2, tokens)
    evaluation = run(fashioniq_root, protocol, queries, gallery, settings)
    agree(evaluation, {one: plain_ranks(fashioniq_root, one, protocol, queries, gallery) for one in CATEGORIES})
    sizes = [len(files.read_gallery(fashioniq_root, "val", one, protocol).ids) for one in CATEGORIES]
    assert evaluation.metrics["gallery_size"] == sum(sizes)
    assert evaluation.metrics["shirt_gallery_size"] == sizes[1]
    assert (sizes[1] == 30) is (protocol == "original")
    assert evaluation.details["gallery_protocol"] == protocol


def test_agrees_on_the_public_annotations(
    annotations: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    root = annotations / "fashioniq"
    triplets = files.read_triplets(root, "val")
    images = dict.fromkeys(image for category in CATEGORIES for image in files.read_gallery(root, "val", category).ids)
    queries = unit_embeddings([triplet.query_id for triplet in triplets], 3, dimension=8)
    gallery = unit_embeddings(list(images), 4, 2, dimension=8)
    evaluation = run(root, "original", queries, gallery, settings)
    assert evaluation.metrics["queries"] == 6016
    sizes = [evaluation.metrics[f"{category}_gallery_size"] for category in CATEGORIES]
    assert sizes == [3817, 6346, 5373]
    agree(evaluation, {one: plain_ranks(root, one, "original", queries, gallery) for one in CATEGORIES})
    low, high = evaluation.intervals["recall_at_50"]
    chance = np.mean([100 * 50 / size for size in sizes])
    assert low < evaluation.metrics["recall_at_50"] < high
    assert evaluation.metrics["recall_at_50"] == pytest.approx(chance, abs=0.6), "random vectors retrieve by chance"


def test_the_reference_stays_in_the_gallery(fashioniq_root: Path, settings: EvaluationSettings) -> None:
    """A model that returns the reference itself never has the target first."""
    triplets = files.read_triplets(fashioniq_root, "val")
    images = [f"{category}{number:02d}" for category in CATEGORIES for number in range(30)]
    vectors = dict(zip(images, np.eye(90, dtype=np.float32), strict=True))
    gallery = Embeddings(images, np.eye(90, dtype=np.float32))
    queries = Embeddings(
        [triplet.query_id for triplet in triplets],
        np.stack([vectors[one.reference] + 0.5 * vectors[str(one.target)] for one in triplets]),
    )
    evaluation = run(fashioniq_root, "original", queries, gallery, settings)
    assert evaluation.metrics["recall_at_1"] == 0.0
    assert evaluation.per_query["rank"].eq(2).all()
    first = evaluation.top["dress/0"]
    assert [image for image, _ in first[:2]] == [triplets[0].reference, triplets[0].target]


def test_ties_go_to_the_gallerys_order(fashioniq_root: Path, settings: EvaluationSettings) -> None:
    triplets = files.read_triplets(fashioniq_root, "val")
    images = sorted(f"{category}{number:02d}" for category in CATEGORIES for number in range(30))
    gallery = Embeddings(images, np.ones((90, 4), dtype=np.float32) / 2)
    queries = Embeddings([one.query_id for one in triplets], np.ones((60, 4), dtype=np.float32) / 2)
    evaluation = run(fashioniq_root, "original", queries, gallery, settings)
    order = {one: list(files.read_gallery(fashioniq_root, "val", one).ids) for one in CATEGORIES}
    expected = [order[str(one.category)].index(str(one.target)) + 1 for one in triplets]
    assert evaluation.per_query["rank"].tolist() == expected
    assert [image for image, _ in evaluation.top["toptee/7"]] == order["toptee"]


def test_missing_embeddings_are_named_before_anything_is_ranked(
    fashioniq_root: Path,
    unit_embeddings: Callable[..., Embeddings],
    settings: EvaluationSettings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("qure.evaluation.ranking.queries.score_rows", lambda *_, **__: pytest.fail("ranked"))
    asked = [f"{category}/{row}" for category in CATEGORIES for row in range(20)]
    images = [f"{category}{number:02d}" for category in CATEGORIES for number in range(30)]
    full_queries, full_gallery = unit_embeddings(asked, 1), unit_embeddings(images, 2)
    left = [one for one in asked if one not in ("dress/3", "toptee/19")]
    with pytest.raises(BadInput, match=r"2 of 60 needed ids .*'dress/3', 'toptee/19'"):
        run(fashioniq_root, "original", unit_embeddings(left, 1), full_gallery, settings)
    with pytest.raises(BadInput, match=r"1 of 90 needed ids .*'toptee29'"):
        run(fashioniq_root, "original", full_queries, unit_embeddings(images[:-1], 2), settings)
    (fashioniq_root / "captions" / "cap.shirt.val.json").write_text("[]")
    with pytest.raises(BadInput, match="there is no query of category 'shirt'"):
        run(fashioniq_root, "original", full_queries, full_gallery, settings)
    with pytest.raises(BadInput, match="dimension 8, but the queries' have dimension 16"):
        run(fashioniq_root, "original", full_queries, unit_embeddings(images, 2, dimension=8), settings)


def test_withheld_answers_are_refused(
    fashioniq_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    for category in CATEGORIES:
        for kind in ("captions/cap", "image_splits/split"):
            source = fashioniq_root / f"{kind}.{category}.val.json"
            rows = json.loads(source.read_text())
            if kind == "captions/cap":
                rows = [{key: value for key, value in row.items() if key != "target"} for row in rows]
            (fashioniq_root / f"{kind}.{category}.test.json").write_text(json.dumps(rows))
    triplets = files.read_triplets(fashioniq_root, "test")
    galleries = {category: files.read_gallery(fashioniq_root, "test", category) for category in CATEGORIES}
    some = unit_embeddings(["a"], 1)
    with pytest.raises(BadInput, match=r"split 'test' of 'fashioniq' has no answers.*Choose split 'val'"):
        fashioniq.evaluate(triplets, galleries, some, some, settings=settings, split="test")


def test_every_number_stands_beside_the_one_without_leaked_queries(
    fashioniq_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    queries = unit_embeddings([f"{category}/{row}" for category in CATEGORIES for row in range(20)], seed=1)
    gallery = unit_embeddings([f"{category}{number:02d}" for category in CATEGORIES for number in range(30)], 2, 4)
    galleries = {category: files.read_gallery(fashioniq_root, "val", category) for category in CATEGORIES}
    triplets = files.read_triplets(fashioniq_root, "val")
    leaked = {"shirt/0", "shirt/7", "toptee/3"}

    def evaluated(asked: list, **known: object) -> Evaluation:
        return fashioniq.evaluate(asked, galleries, queries, gallery, settings=settings, **known)

    whole, plain = evaluated(triplets, leaked=leaked), evaluated(triplets)
    rest = evaluated([one for one in triplets if one.query_id not in leaked])
    names = [measure.name for measure in plain.measures]
    assert names
    for name in names:
        assert whole.metrics[name] == plain.metrics[name], "what was measured stays"
        assert whole.intervals[name] == plain.intervals[name]
        assert whole.metrics[f"{name}_without_leaked"] == pytest.approx(rest.metrics[name], abs=1e-9)
        low, high = whole.intervals[f"{name}_without_leaked"]
        assert low <= whole.metrics[f"{name}_without_leaked"] <= high
    counts = ["queries", "dress_queries", "shirt_queries", "toptee_queries"]
    assert [whole.metrics[f"{count}_without_leaked"] for count in counts] == [57, 20, 18, 19]
    assert "queries_without_leaked" not in plain.metrics
    assert "Of 3 of 60 queries the train triplets name the target" in " ".join(BENCHMARK.notes(whole))
    clean = evaluated(triplets, leaked=())
    assert clean.metrics == plain.metrics
    assert "The train triplets name no query's target." in BENCHMARK.notes(clean)
    assert len(BENCHMARK.notes(plain)) == 1, "nothing is said of what is not known"


def test_chance_is_what_random_orders_score(fashioniq_root: Path) -> None:
    """The mean over the categories, whose galleries differ in size; the reference is a candidate."""
    triplets = files.read_triplets(fashioniq_root, "val")
    galleries = {category: files.read_gallery(fashioniq_root, "val", category, "original") for category in CATEGORIES}
    galleries["shirt"] = Gallery("shirt", galleries["shirt"].ids + tuple(f"further {n}" for n in range(200)))
    found = fashioniq.chance(Split("val", triplets, galleries))
    draw = np.random.default_rng(0)
    for depth in (1, 5, 10, 50):
        hits = [
            np.mean([draw.permutation(len(gallery.ids))[0] < depth for _ in range(4000)])
            for gallery in galleries.values()
        ]
        assert found[f"recall_at_{depth}"] == pytest.approx(100 * np.mean(hits), abs=2.0)
    assert found["average"] == pytest.approx((found["recall_at_10"] + found["recall_at_50"]) / 2)

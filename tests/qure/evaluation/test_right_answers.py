"""Labels of further right answers in an evaluation: recall and mAP over all of them, beside the labelled target's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qure.benchmarks import get_benchmark
from qure.benchmarks.circo.protocol import average_precision
from qure.config import EvaluationSettings
from qure.datasets.labels import labels_path
from qure.evaluation.ranking.embeddings import Embeddings


@pytest.mark.parametrize("name", ["fashioniq", "cirr"])
def test_all_right_answers_count(
    name: str, request: pytest.FixtureRequest, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    root: Path = request.getfixturevalue(f"{name}_root")
    benchmark = get_benchmark(name)
    before = benchmark.read(root, "val")
    embeddings = {
        "queries": unit_embeddings([one.query_id for one in before.triplets], 1),
        "candidates": unit_embeddings(list(before.images), 2, tokens=3),
    }
    plain = benchmark.judge(before, **embeddings, settings=settings)
    rows = [_labelled(before, one, number) for number, one in enumerate(before.triplets) if number % 3 == 0]
    labels_path(root, "val").write_text(json.dumps(rows))
    after = benchmark.read(root, "val")
    found = benchmark.judge(after, **embeddings, settings=settings)
    assert {key: found.metrics[key] for key in plain.metrics} == plain.metrics, "the target's own metrics stay"
    assert found.data_fingerprint != plain.data_fingerprint
    assert found.metrics["corrected_queries"] == len(rows)
    recall, precision = [], []
    for one in after.triplets:
        gallery = list(after.galleries[one.category or ""].ids)
        scores = _scores(embeddings, one, gallery)
        if name == "cirr":
            scores[gallery.index(one.reference)] = -np.inf
        order = [gallery[place] for place in np.argsort(-scores, kind="stable")]
        ranks = np.sort([order.index(image) + 1 for image in (one.answers or (one.target,))])
        recall.append((one.category, (ranks <= 10).mean()))
        precision.append((one.category, average_precision(ranks, 10)))
    for metric, values in (("right_recall_at_10", recall), ("right_map_at_10", precision)):
        groups: dict[Any, list[float]] = {}
        for category, value in values:
            groups.setdefault(category, []).append(float(value))
        expected = 100 * np.mean([np.mean(own) for own in groups.values()])
        assert found.metrics[metric] == pytest.approx(expected)
        low, high = found.intervals[metric]
        assert low <= found.metrics[metric] <= high
    again = type(found).load(_saved(found, root))
    assert [list(one) for one in again.per_query["answers"]] == [
        list(one.answers or (one.target,)) for one in after.triplets
    ]


def _labelled(split: Any, query: Any, number: int) -> dict[str, Any]:
    gallery = split.galleries[query.category or ""].ids
    further = [image for image in gallery if image not in (query.target, query.reference)][: 1 + number % 4]
    return {
        "id": query.query_id,
        "reference_img_id": query.reference,
        "target_img_id": query.target,
        "relative_caption": query.text,
        "gt_img_ids": [query.target, *further],
    }


def _scores(embeddings: dict[str, Embeddings], query: Any, gallery: list[str]) -> Any:
    vector = embeddings["queries"].take([query.query_id])[0].reshape(-1)
    return (embeddings["candidates"].take(gallery) @ vector).max(axis=1)


def _saved(evaluation: Any, root: Path) -> Path:
    evaluation.save(root.parent / "saved")
    return root.parent / "saved"

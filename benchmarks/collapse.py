"""What healthy and collapsed models measure: the numbers that the limits of `qure.evaluation.findings` rest on.

    make demo
    python -m benchmarks.collapse [--artifacts artifacts] [--data data]

Takes the demo's fashioniq model and its backbone, and embeddings damaged in known ways: moved together until little of
their differences is left, or replaced by one vector. Writes results/collapse.json; docs/evaluation.md reads it.
"""

import argparse
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.common import write_result
from qure.config import EvaluationSettings
from qure.datasets.validated import ValidatedData
from qure.evaluation.findings import LEAST_SPREAD, MOST_SHARED, collapses, measured
from qure.evaluation.judging import ImageDigests
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.encoding import Encoder
from qure.evaluation.tasks import Source, Task, task_for
from qure.features.store import FeatureStore
from qure.models.model import QureModel

Vectors = NDArray[np.float32]
SETTINGS = EvaluationSettings(bootstrap_samples=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    options = parser.parse_args()
    features = {"fashioniq": options.artifacts / "fashioniq" / "features" / "fashioniq"}
    stores = {name: FeatureStore.open(path) for name, path in features.items()}
    task = task_for("fashioniq", Source(ValidatedData(options.data), SETTINGS, "cpu", ImageDigests(stores)))
    found = {}
    queries, candidates = _encoded(task, features, options.artifacts / "backbone")
    found["the backbone before training"] = _row(task, queries, candidates)
    queries, candidates = _encoded(task, features, options.artifacts / "fashioniq" / "model")
    for name, damaged_queries, damaged_candidates in _damaged(queries, candidates):
        found[name] = _row(task, damaged_queries, damaged_candidates)
        print(name, found[name], flush=True)
    limits = {"spread": LEAST_SPREAD, "shared": MOST_SHARED}
    print(write_result("collapse", {"judged_on": "fashioniq val", "limits": limits, "models": found}))


def _encoded(task: Task, features: dict[str, Path], folder: Path) -> tuple[Vectors, Vectors]:
    """Queries (Q, D) and candidates (N, T, D)."""
    model = QureModel.load(folder, "cpu", vision=False)
    stores = {name: FeatureStore.open(path, model.vision_fingerprint) for name, path in features.items()}
    with tempfile.TemporaryDirectory() as scratch:
        encoder = Encoder(model, stores, SETTINGS.batch_size, Path(scratch))
        candidates = encoder.gallery(task.image_set, task.images, "candidates").take(list(task.images))
        asked = encoder.queries(task.image_set, task.questions, "queries")
        queries = asked.take([one.query_id for one in task.questions])
    return queries[:, 0, :], candidates


def _damaged(queries: Vectors, candidates: Vectors) -> Iterator[tuple[str, Vectors, Vectors]]:
    draw = np.random.default_rng(0)
    middle = _unit(candidates.reshape(-1, candidates.shape[-1]).mean(axis=0))
    asked = _unit(queries.mean(axis=0))
    yield "as trained", queries, candidates
    for share in (0.3, 0.1, 0.03, 0.01):
        yield (
            f"candidates moved together, {share:.0%} of their differences left",
            queries,
            _unit(middle + share * candidates),
        )
    for noise in (0.1, 0.01, 0.0):
        drawn = draw.standard_normal(candidates.shape) / np.sqrt(candidates.shape[-1])
        yield f"one vector for all candidates, noise of {noise:.0%}", queries, _unit(middle + noise * drawn)
    for share in (0.3, 0.1, 0.03, 0.0):
        yield (
            f"queries moved together, {share:.0%} of their differences left",
            _unit(asked + share * queries),
            candidates,
        )


def _row(task: Task, queries: Vectors, candidates: Vectors) -> dict[str, Any]:
    found = task.judge(
        Embeddings([one.query_id for one in task.questions], queries), Embeddings(list(task.images), candidates)
    )
    findings = [one.kind for one in collapses([found])]
    return {**measured(found), "recall_at_10": found.metrics["recall_at_10"], "findings": findings}


def _unit(vectors: NDArray[Any]) -> Vectors:
    return (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()

"""What corrected labels buy: some of the training queries are corrected by a simulated person, and a model is trained.

    python -m benchmarks.labels [--seeds 3] [--epochs 6]

Reads a finished demo (data/, artifacts/). The person sees, for the queries that `qure studio` would propose first, the
ten best images of the last mining of a training without labels, and marks those that truly meet every wish. Trainings
with 0, 1, 2, 5 and 10 % of the training queries corrected differ in nothing else. Writes results/labels.json: metrics
of each share, and their paired differences from no correction, with 95 % intervals over the validation queries, each
query's values being means over the seeds. Every training takes one to two minutes of a core.
"""

import argparse
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from benchmarks.common import write_result
from qure.benchmarks import get_benchmark
from qure.config import Settings
from qure.datasets.labels import labels_path
from qure.datasets.truth import read_truth
from qure.datasets.types import Triplet
from qure.errors import BadInput
from qure.evaluation.stage import evaluate_benchmark
from qure.evaluation.statistics.bootstrap import interval
from qure.evaluation.statistics.results import load_results
from qure.files import write_json
from qure.layout import Layout, SetLayout
from qure.negatives.record import load
from qure.studio.labels import SHOWN, proposals
from qure.training.stage import train

SET = "fashioniq"
SHARES = (0.0, 0.01, 0.02, 0.05, 0.10)
METRICS = ("recall_at_10", "relevant_at_10", "wanted_share_at_10", "ndcg_at_10")

Rankings = list[tuple[Triplet, list[tuple[str, float]]]]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--params", type=Path, default=Path("params.yaml"))
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--artifacts", type=Path, default=Path("artifacts"))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=None, help="the recipe's when left out")
    asked = parser.parse_args()
    layout = Layout(asked.data, asked.artifacts).of(SET)
    print(write_result("labels", measure(Settings.load(asked.params), layout, range(asked.seeds), asked.epochs)))


def measure(settings: Settings, layout: SetLayout, seeds: Sequence[int], epochs: int | None = None) -> dict[str, Any]:
    """Trains and judges a model for every share and seed.

    Args:
        settings: of the demo.
        layout: holds data, backbone and features.
        seeds: of the trainings.
        epochs: instead of the recipe's.

    Raises:
        BadInput: the data is real: nobody knows its truth.
    """
    values: dict[float, list[pd.DataFrame]] = {share: [] for share in SHARES}
    labelled: dict[float, list[dict[str, int]]] = {share: [] for share in SHARES}
    with tempfile.TemporaryDirectory(prefix="qure-labels-") as scratch:
        for seed in seeds:
            work = Path(scratch) / f"{seed}"
            rankings: Rankings = []
            for share in SHARES:
                place = work / f"{share}"
                data = _data(layout.data, place / "data")
                labelled[share].append(_correct(data, rankings, share))
                values[share].append(_trained(_with(settings, seed, epochs), layout, data, place))
                if share == 0.0:
                    rankings = _seen(data, place)
                shutil.rmtree(place)
    return {
        "seeds": list(seeds),
        "epochs": epochs or settings.training_for(SET).epochs,
        "queries": len(values[0.0][0]),
        "shares": [_summary(share, values, labelled[share]) for share in SHARES],
    }


def _with(settings: Settings, seed: int, epochs: int | None) -> Settings:
    """The same settings with that seed, and without MLflow."""
    chosen = settings.training[SET]
    changes = {"seed": seed} | ({} if epochs is None else {"epochs": epochs})
    changed = chosen.model_copy(update={"overrides": {**chosen.overrides, **changes}})
    quiet = settings.tracking.model_copy(update={"uri": None})
    return settings.model_copy(update={"training": {**settings.training, SET: changed}, "tracking": quiet})


def _data(source: Path, target: Path) -> Path:
    """A copy of the training set's data, so that labels can lie in it; linked images would be refused."""
    shutil.copytree(source / SET, target / SET, ignore=shutil.ignore_patterns("labels.*"))
    return target


def _correct(data: Path, rankings: Rankings, share: float) -> dict[str, int]:
    """Lets the simulated person correct that share of the training queries; returns what she did."""
    root = get_benchmark(SET).root(data)
    truth = read_truth(root, "train")
    if truth is None:
        raise BadInput("this data has no known truth to simulate a person by", file=root)
    of = {query.query_id: (query, [image for image, _ in ranked]) for query, ranked in rankings}
    chosen = proposals(rankings, {})[: round(share * len(rankings))]
    rows = []
    for one in chosen:
        query, ranked = of[one.query_id]
        shown = [image for image in ranked if image not in (query.reference, query.target)][:SHOWN]
        right = [image for image, met in zip(shown, truth.relevance(query.query_id, shown), strict=True) if met == 1.0]
        rows.append(
            {
                "id": query.query_id,
                "reference_img_id": query.reference,
                "target_img_id": query.target,
                "relative_caption": query.text,
                "gt_img_ids": [query.target, *right],
            }
        )
    if rows:
        write_json(labels_path(root, "train"), rows)
    return {"corrected": len(rows), "further_right": sum(len(row["gt_img_ids"]) - 1 for row in rows)}


def _trained(settings: Settings, layout: SetLayout, data: Path, place: Path) -> pd.DataFrame:
    """Trains and judges; returns the evaluation's row per query."""
    train(
        settings,
        SET,
        data=data,
        features=layout.training_features,
        backbone=layout.backbone,
        validation=None,
        output=place / "trained",
        work=place / "work",
        device="cpu",
    )
    evaluate_benchmark(
        settings,
        SET,
        SET,
        data=data,
        features=layout.feature_stores,
        model=place / "trained" / "model",
        output=place / "judged",
        device="cpu",
    )
    return load_results(place / "judged" / "results")[SET].per_query


def _seen(data: Path, place: Path) -> Rankings:
    """What the last mining of a training saw of each training query."""
    records = sorted((place / "trained" / "training" / "minings").glob("*.safetensors"), key=lambda one: int(one.stem))
    kept = load(records[-1])
    benchmark = get_benchmark(SET)
    queries = {one.query_id: one for one in benchmark.read_training(benchmark.root(data))[0]}
    return [
        (queries[name], list(zip(kept.named(columns), scores.tolist(), strict=False)))
        for name, columns, scores in zip(kept.queries, kept.record.best, kept.record.scores, strict=True)
    ]


def _summary(share: float, values: dict[float, list[pd.DataFrame]], labelled: list[dict[str, int]]) -> dict[str, Any]:
    result: dict[str, Any] = {"share": share, "labelled": labelled}
    categories = values[share][0]["category"].tolist()
    for metric in METRICS:
        own, before = (np.mean([one[metric].to_numpy() for one in values[of]], axis=0) for of in (share, 0.0))
        result[metric] = _told(own, categories)
        result[f"{metric}_difference"] = _told(own - before, categories)
    return result


def _told(numbers: np.ndarray, categories: list[str]) -> dict[str, float]:
    """Mean over categories in percent, with its interval."""
    low, high = interval(100 * numbers, strata=categories)
    value = pd.Series(100 * numbers).groupby(categories).mean().mean()
    return {"value": float(value), "low": low, "high": high}


if __name__ == "__main__":
    main()

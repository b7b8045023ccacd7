"""What an evaluation leaves: metrics with intervals, a row per query, and each query's best candidates."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from qure.benchmarks import benchmarks, get_benchmark
from qure.config import EvaluationSettings
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.statistics.bootstrap import Measure, summarise
from qure.files import atomic_folder, fingerprint, read_json, read_parquet, write_json

#: How many of each query's best candidates are kept.
TOP = 50
FORMAT = 1

_AGAIN = "Evaluate the model again"

Top = dict[str, list[tuple[str, float]]]


@dataclass(frozen=True)
class Evaluation:
    """One model on one benchmark.

    Attributes:
        benchmark: its name.
        split: for example "val".
        metrics: flat, percent, for example {"recall_at_10": 52.6}; and counts (`queries`, `gallery_size`).
        intervals: name -> (low, high) of every metric that is made of queries.
        per_query: one row per query: `query_id`, `reference`, `text`, `target`, ranks, and per-query values 0..1.
        top: query id -> its best candidates as (image id, score), best first.
        measures: how the metrics are made of `per_query`, for paired comparison.
        strata, cluster: columns of `per_query` that resampling respects.
        data_fingerprint: of queries, answers and galleries (and the images' bytes where they are known): two
            evaluations with the same one were asked exactly the same.
        details: what else is worth knowing, for example {"gallery_protocol": "original"}.
    """

    benchmark: str
    split: str
    metrics: dict[str, float]
    intervals: dict[str, tuple[float, float]]
    per_query: pd.DataFrame
    top: Top
    measures: tuple[Measure, ...]
    strata: str | None = None
    cluster: str | None = None
    data_fingerprint: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    def measure(self, metric: str) -> Measure:
        """How a metric is made.

        Raises:
            BadInput: it is not a metric of this evaluation, or a count.
        """
        for measure in self.measures:
            if measure.name == metric and metric in self.metrics:
                return measure
        known = ", ".join(measure.name for measure in self.measures if measure.name in self.metrics)
        raise BadInput(f"{self.benchmark!r} has no metric {metric!r} that is made of queries; it has {known}")

    def save(self, folder: Path) -> None:
        """Writes evaluation.json, per_query.parquet and top.parquet, whole or not at all."""
        with atomic_folder(Path(folder)) as temporary:
            write_json(temporary / "evaluation.json", self._summary())
            self.per_query.to_parquet(temporary / "per_query.parquet", index=False)
            _top_table(self.top).to_parquet(temporary / "top.parquet", index=False)

    @classmethod
    def load(cls, folder: Path | str) -> "Evaluation":
        """Reads what `save` has written.

        Raises:
            BadInput: a file is missing, damaged or of another version.
        """
        folder = Path(folder)
        file = folder / "evaluation.json"
        summary = read_json(file)
        if not isinstance(summary, dict) or summary.get("format") != FORMAT:
            raise BadInput(f"not an evaluation of format {FORMAT}", file=file, remedy=_AGAIN)
        try:
            return cls(
                benchmark=summary["benchmark"],
                split=summary["split"],
                metrics=summary["metrics"],
                intervals={name: (low, high) for name, (low, high) in summary["intervals"].items()},
                per_query=read_parquet(folder / "per_query.parquet", remedy=_AGAIN),
                top=_top_of(read_parquet(folder / "top.parquet", remedy=_AGAIN)),
                measures=tuple(_measure(entry) for entry in summary["measures"]),
                strata=summary["strata"],
                cluster=summary["cluster"],
                data_fingerprint=summary["data_fingerprint"],
                details=summary["details"],
            )
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            raise BadInput(f"not a whole evaluation: {error!r}", file=file, remedy=_AGAIN) from None

    def _summary(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "benchmark": self.benchmark,
            "split": self.split,
            "metrics": self.metrics,
            "intervals": {name: list(bounds) for name, bounds in self.intervals.items()},
            "strata": self.strata,
            "cluster": self.cluster,
            "data_fingerprint": self.data_fingerprint,
            "details": self.details,
            "measures": [asdict(measure) for measure in self.measures],
        }


def save_results(folder: Path, evaluations: Sequence[Evaluation]) -> None:
    """Saves evaluations below `folder`, one folder per benchmark."""
    for evaluation in evaluations:
        evaluation.save(Path(folder) / get_benchmark(evaluation.benchmark).folder)


def load_results(folder: Path) -> dict[str, Evaluation]:
    """Benchmark -> evaluation, of what `save_results` has written.

    Raises:
        BadInput: there is none, or one is damaged.
    """
    folders = {one.name: Path(folder) / one.folder for one in benchmarks()}
    found = {benchmark: Evaluation.load(path) for benchmark, path in folders.items() if path.is_dir()}
    if not found:
        raise BadInput("no evaluation is there", file=folder, remedy="Evaluate the model first")
    return found


def summarised(
    benchmark: str,
    split: str,
    table: pd.DataFrame,
    measures: Sequence[Measure],
    *,
    settings: EvaluationSettings,
    counts: Mapping[str, int],
    top: Top,
    data_fingerprint: str,
    strata: str | None = None,
    cluster: str | None = None,
    details: Mapping[str, Any] | None = None,
) -> Evaluation:
    """An evaluation from its per-query table: computes the measures and their intervals.

    Raises:
        BadInput: the table is empty.
    """
    if table.empty:
        raise BadInput(f"no query is left to evaluate {benchmark!r} on")
    metrics, intervals = summarise(
        table,
        measures,
        strata=strata,
        cluster=cluster,
        samples=settings.bootstrap_samples,
        confidence=settings.confidence,
        seed=settings.seed,
    )
    return Evaluation(
        benchmark=benchmark,
        split=split,
        metrics={**metrics, **counts},
        intervals=intervals,
        per_query=table,
        top=top,
        measures=tuple(measures),
        strata=strata,
        cluster=cluster,
        data_fingerprint=data_fingerprint,
        details={
            "bootstrap_samples": settings.bootstrap_samples,
            "confidence": settings.confidence,
            "seed": settings.seed,
            **(details or {}),
        },
    )


def questions_fingerprint(triplets: Sequence[Triplet], galleries: Sequence[Gallery], **more: Any) -> str:
    """Fingerprint of what is asked: the queries with their answers, the galleries in order, and `more`."""
    return fingerprint(
        {
            "queries": [
                [one.query_id, one.reference, one.text, one.target, list(one.members), list(one.answers)]
                for one in triplets
            ],
            "galleries": [[gallery.name, list(gallery.ids)] for gallery in galleries],
            **more,
        }
    )


def _measure(entry: Mapping[str, Any]) -> Measure:
    where = entry["where"]
    return Measure(**{**entry, "where": (where[0], where[1]) if where else None})


def _top_table(top: Top) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "query_id": list(top),
            "ids": [[identifier for identifier, _ in best] for best in top.values()],
            "scores": [[score for _, score in best] for best in top.values()],
        }
    )


def _top_of(table: pd.DataFrame) -> Top:
    return {
        query: [(str(identifier), float(score)) for identifier, score in zip(ids, scores, strict=True)]
        for query, ids, scores in zip(table["query_id"], table["ids"], table["scores"], strict=True)
    }

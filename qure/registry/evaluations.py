"""Evaluations of registered versions, kept with the version's MLflow run: what two versions are compared by.

A version can be evaluated several times, on data of different days. Each evaluation is a folder of the run's artifacts,
named by what was asked (`key_of`); a tag of the version names the folder and is set when all of it has arrived.
"""

import logging
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.benchmarks import get_benchmark
from qure.errors import BadInput
from qure.evaluation.statistics.results import Evaluation, load_results
from qure.files import fingerprint, folder_digest

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

TAG = "qure.evaluation."
#: Id of MLflow's logged model; a version's own field `model_id` is empty on a database without a server.
LOGGED_MODEL = "qure.logged_model"
RESULTS = "results"
_FOLDER = "evaluations"
_SUMMARY = ("metrics.json", "intervals.json", "summary.md", "report.html")


def read_evaluations(folder: Path, training_set: str, model_fingerprint: str) -> dict[str, Evaluation]:
    """Benchmark -> evaluation, of an evaluate stage's folder.

    Raises:
        BadInput: files are missing or damaged, the training set's own benchmark is not among them, or it is another
            model that was evaluated.
    """
    found = load_results(Path(folder) / RESULTS)
    if training_set not in found:
        raise BadInput(
            f"no evaluation on {training_set!r}", file=folder, remedy="Evaluate the model again: qure evaluate"
        )
    for benchmark, evaluation in found.items():
        judged = evaluation.details.get("model")
        if judged != model_fingerprint:
            raise BadInput(
                f"its {benchmark} results are of the model {judged}, not of {model_fingerprint}",
                file=folder,
                remedy="Evaluate the model again: qure evaluate",
            )
    return found


def key_of(evaluations: Mapping[str, Evaluation], training_set: str) -> str:
    """What was asked on the training set's own benchmark: equal for two models only if they can be compared."""
    return fingerprint(evaluations[training_set].data_fingerprint)[:16]


def attach(
    client: "MlflowClient", version: "ModelVersion", folder: Path, evaluations: Mapping[str, Evaluation], key: str
) -> None:
    """Keeps an evaluate stage's folder with a version; does nothing when it is there already."""
    digest = folder_digest(folder)
    place = f"{_FOLDER}/{key}-{digest[:8]}"
    if version.tags.get(f"{TAG}{key}") == place:
        return
    client.log_artifacts(version.run_id, str(Path(folder) / RESULTS), f"{place}/{RESULTS}")
    for name in _SUMMARY:
        if (Path(folder) / name).is_file():
            client.log_artifact(version.run_id, str(Path(folder) / name), place)
    _log_metrics(client, version, evaluations)
    client.set_model_version_tag(version.name, str(version.version), f"{TAG}{key}", place)


def attached(client: "MlflowClient", version: "ModelVersion", benchmark: str, key: str) -> Evaluation | None:
    """A version's evaluation on a benchmark with that key; None when it has none."""
    place = version.tags.get(f"{TAG}{key}")
    if place is None:
        return None
    with tempfile.TemporaryDirectory() as folder:
        inside = f"{place}/{RESULTS}/{get_benchmark(benchmark).folder}"
        return Evaluation.load(Path(client.download_artifacts(version.run_id, inside, folder)))


def download(client: "MlflowClient", version: "ModelVersion", key: str, folder: Path) -> Path | None:
    """Brings all of a version's results with that key: a folder that holds `results/`; None when it has none."""
    place = version.tags.get(f"{TAG}{key}")
    if place is None:
        return None
    return Path(client.download_artifacts(version.run_id, f"{place}/{RESULTS}", str(folder))).parent


def headline(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """Every metric as "<benchmark>/<metric>"."""
    return {
        f"{get_benchmark(benchmark).folder}/{metric}": float(value)
        for benchmark, evaluation in evaluations.items()
        for metric, value in evaluation.metrics.items()
    }


def _log_metrics(client: "MlflowClient", version: "ModelVersion", evaluations: Mapping[str, Evaluation]) -> None:
    """The metrics on MLflow's logged model, each tied to the data it was measured on."""
    import time

    from mlflow.entities import Metric

    from qure.tracking.runs import metric_name

    now = int(time.time() * 1000)
    for benchmark, evaluation in evaluations.items():
        data: dict[str, Any] = {"dataset_name": benchmark, "dataset_digest": evaluation.data_fingerprint[:36]}
        metrics = [
            Metric(metric_name(name), value, now, 0, version.tags.get(LOGGED_MODEL), **data)
            for name, value in headline({benchmark: evaluation}).items()
        ]
        for start in range(0, len(metrics), 100):
            client.log_batch(version.run_id, metrics=metrics[start : start + 100])

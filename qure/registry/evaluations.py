"""Evaluations of registered versions, kept with the version's MLflow run: what two versions are compared by.

A version can be evaluated several times, on data of different days. Each evaluation is a folder of the run's artifacts,
named by what was asked (`key_of`); a tag of the version names the folder and is set when all of it has arrived.
"""

import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.benchmarks import get_benchmark
from qure.errors import BadInput, StageFailed
from qure.evaluation.provenance import Provenance, stamped_copies
from qure.evaluation.statistics.results import Evaluation, load_results
from qure.files import fingerprint, folder_digest
from qure.scratch import temporary_folder
from qure.tracking.connection import every
from qure.tracking.remedies import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion

logger = logging.getLogger(__name__)

TAG = "qure.evaluation."
#: Id of MLflow's logged model; a version's own field `model_id` is empty on a database without a server.
LOGGED_MODEL = "qure.logged_model"
RESULTS = "results"
_FOLDER = "evaluations"
_SUMMARY = ("metrics.json", "intervals.json", "findings.json")


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
    """Keeps an evaluate stage's folder with a version; does nothing when it is there already, and whole.

    The kept report names the version, its run and the day.
    """
    digest = folder_digest(folder)
    place = f"{_FOLDER}/{key}-{digest[:8]}"
    if version.tags.get(f"{TAG}{key}") == place and _is_whole(client, version, evaluations, key):
        return
    client.log_artifacts(version.run_id, str(Path(folder) / RESULTS), f"{place}/{RESULTS}")
    for name in _SUMMARY:
        if (Path(folder) / name).is_file():
            client.log_artifact(version.run_id, str(Path(folder) / name), place)
    with stamped_copies(folder, _provenance(client, version)) as copies:
        for copy in copies:
            client.log_artifact(version.run_id, str(copy), place)
    _log_metrics(client, version, evaluations)
    client.set_model_version_tag(version.name, str(version.version), f"{TAG}{key}", place)


class EvaluationLost(StageFailed):
    """A version's evaluation is recorded, and the artifact store does not give it back whole."""


def download_evaluation(client: "MlflowClient", version: "ModelVersion", benchmark: str, key: str) -> Evaluation | None:
    """A version's evaluation on a benchmark with that key; None when it has none.

    Raises:
        EvaluationLost: it has one, whose files are gone or damaged; names version, run and folder.
    """
    with temporary_folder() as folder:
        found = _download_results(client, version, key, f"/{get_benchmark(benchmark).folder}", folder)
        try:
            return Evaluation.load(found) if found is not None else None
        except BadInput as error:
            raise _lost(version, version.tags[f"{TAG}{key}"], error) from None


def download(client: "MlflowClient", version: "ModelVersion", key: str, folder: Path) -> Path | None:
    """Brings all of a version's results with that key: a folder that holds `results/`; None when it has none.

    Raises:
        EvaluationLost: it has some, whose files are gone.
    """
    found = _download_results(client, version, key, "", folder)
    return found.parent if found is not None else None


def _download_results(
    client: "MlflowClient", version: "ModelVersion", key: str, inside: str, folder: Path
) -> Path | None:
    from mlflow.exceptions import MlflowException

    place = version.tags.get(f"{TAG}{key}")
    if place is None:
        return None
    try:
        return Path(client.download_artifacts(version.run_id, f"{place}/{RESULTS}{inside}", str(folder)))
    except (MlflowException, OSError) as error:
        raise _lost(version, place, error) from None


def _lost(version: "ModelVersion", place: str, error: Exception) -> EvaluationLost:
    return EvaluationLost(
        f"the evaluation of {version.name} version {version.version} is gone or damaged, artifact {place} of run "
        f"{version.run_id}: {first_line(error)}"
    )


def count_judged(client: "MlflowClient", name: str, key: str) -> int:
    """How many versions of a registered model have an evaluation with that key."""
    return sum(f"{TAG}{key}" in version.tags for version in every(client.search_model_versions, f"name = '{name}'"))


def _is_whole(client: "MlflowClient", version: "ModelVersion", evaluations: Mapping[str, Evaluation], key: str) -> bool:
    try:
        return all(download_evaluation(client, version, benchmark, key) is not None for benchmark in evaluations)
    except EvaluationLost as error:
        logger.warning("%s; keeping it again", error)
        return False


def headline(evaluations: Mapping[str, Evaluation]) -> dict[str, float]:
    """Every metric as "<benchmark>/<metric>"."""
    return {
        f"{get_benchmark(benchmark).folder}/{metric}": float(value)
        for benchmark, evaluation in evaluations.items()
        for metric, value in evaluation.metrics.items()
    }


def _provenance(client: "MlflowClient", version: "ModelVersion") -> Provenance:
    experiment = client.get_run(version.run_id).info.experiment_id
    today = datetime.now(UTC).date()
    return Provenance(today, client.tracking_uri, experiment, version.run_id, version.name, int(version.version))


def _log_metrics(client: "MlflowClient", version: "ModelVersion", evaluations: Mapping[str, Evaluation]) -> None:
    """The metrics on MLflow's logged model, each tied to the data it was measured on."""
    import time

    from mlflow.entities import Metric

    from qure.tracking.entries import metric_name

    now = int(time.time() * 1000)
    for benchmark, evaluation in evaluations.items():
        data: dict[str, Any] = {"dataset_name": benchmark, "dataset_digest": evaluation.data_fingerprint[:36]}
        metrics = [
            Metric(metric_name(name), value, now, 0, version.tags.get(LOGGED_MODEL), **data)
            for name, value in headline({benchmark: evaluation}).items()
        ]
        for start in range(0, len(metrics), 100):
            client.log_batch(version.run_id, metrics=metrics[start : start + 100])

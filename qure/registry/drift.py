"""Statistics of training data, kept with every version and compared with the champion's: shifted data is said.

What data is like is known in two steps: captions, categories and image sizes from the validate stage, and where the
images lie on average (`qure.features.centroids`) once they have features. What is compared is what both sides have.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.config import Settings
from qure.errors import BadInput, QureError
from qure.files import read_json, write_json
from qure.registry.champions import Champions
from qure.registry.monitoring import STATISTICS, STATISTICS_FOLDER, compare_data, download_statistics
from qure.registry.names import registered_name
from qure.scratch import temporary_folder
from qure.tracking import SilentRun, connect, tracking_uri
from qure.tracking.connection import translated

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

_EFFECTS = ("psi", "ks", "cosine_distance")


def compare_with_champion(
    settings: Settings,
    training_set: str,
    *,
    data: Path,
    validation: Path,
    features: Mapping[str, Path] | None = None,
    output: Path | None = None,
) -> dict[str, Any] | None:
    """Whether validated data is like the data that the present champion was trained on: said, and never decided here.

    Args:
        settings: `tracking` and `validation` are read.
        training_set: "fashioniq" or "cirr".
        data: data root.
        validation: validation folder of that data.
        features: image set -> feature store; where one is there, the mean of its images is compared too.
        output: JSON file to write.

    Returns:
        what the output file holds (`compare_data`); None without tracking, or without a champion.

    Raises:
        BadInput: the validation folder or the champion's statistics cannot be read.
        StageFailed: MLflow cannot be reached.
    """
    if tracking_uri(settings.tracking) is None:
        return None
    client, name = connect(settings.tracking), registered_name(training_set)
    with translated(tracking_uri(settings.tracking)), temporary_folder() as scratch:
        known = bool(client.search_registered_models(f"name = '{name}'"))  # asking must not make one
        number = Champions(client, name).current() if known else None
        if number is None:
            logger.info("%s has no champion yet: there is nothing to compare the data with", name)
            return None
        now = write_statistics(scratch / "now", data=data, validation=validation, features=features or {})
        return _compare(client, settings, name, number, now, scratch, output)


def say_drift(settings: Settings, training_set: str, *, data: Path, validation: Path) -> None:
    """The same for data that has just passed: what has shifted is logged; a registry that is away fails nothing."""
    try:
        compare_with_champion(settings, training_set, data=data, validation=validation)
    except QureError as error:
        logger.warning("drift cannot be told: %s", error)


def keep_statistics(
    client: "MlflowClient",
    settings: Settings,
    run: SilentRun,
    version: Any,
    *,
    data: Path,
    validation: Path,
    features: Mapping[str, Path],
) -> list[str]:
    """Keeps the statistics of a new version's training data with its run, and compares them with the champion's.

    Statistics that cannot be compared (of another version of `qure`) are told in a warning.

    Args:
        client: of the registry.
        settings: `validation` is read.
        run: of the register stage: receives effect sizes, sentences and drift.json.
        version: the registered version.
        data, validation, features: what the version was trained on.

    Returns:
        what has shifted, in sentences.
    """
    with temporary_folder() as scratch:
        now = write_statistics(scratch / "now", data=data, validation=validation, features=features)
        client.log_artifact(version.run_id, str(now / STATISTICS), STATISTICS_FOLDER)
        champion = Champions(client, version.name).current()
        if champion is None or champion == int(version.version):
            return []
        output = scratch / "drift.json"
        try:
            found = _compare(client, settings, version.name, champion, now, scratch, output)
        except BadInput as error:
            logger.warning("drift cannot be told: %s", error)
            return []
        run.log_artifact(output, STATISTICS_FOLDER)
    run.log_metrics(_effects(found["measures"]))
    run.set_tags({"qure.drift": "; ".join(found["shifted"]) or "none"})
    return list(found["shifted"])


def write_statistics(folder: Path, *, data: Path, validation: Path, features: Mapping[str, Path]) -> Path:
    """Writes statistics.json: the validation's, with the mean of every split's images where they have features.

    Raises:
        BadInput: the statistics, a feature store or an annotation file cannot be read.
    """
    from qure.features.centroids import split_centroids
    from qure.features.store import FeatureStore

    statistics = read_json(Path(validation) / STATISTICS, remedy="Run 'qure validate' again")
    splits = statistics.get("splits", {}) if isinstance(statistics, dict) else {}
    for image_set, store in features.items():
        for split, centroid in split_centroids(FeatureStore.open(store), data, image_set).items():
            if split in splits:
                splits[split]["embedding_centroid"] = centroid
    write_json(folder / STATISTICS, statistics)
    return folder


def _compare(
    client: "MlflowClient", settings: Settings, name: str, number: int, now: Path, scratch: Path, output: Path | None
) -> dict[str, Any]:
    facts = scratch / "champion"
    facts.mkdir()
    there = download_statistics(client, client.get_model_version(name, str(number)).run_id, facts)
    write_json(facts / "champion.json", {"name": name, "version": number, "statistics": there})
    return compare_data(settings, validation=now, champion=facts, output=output)


def _effects(measures: list[dict[str, Any]]) -> dict[str, float]:
    return {
        f"drift/{one['split']}/{one['measure']}/{effect}": float(one[effect])
        for one in measures
        for effect in _EFFECTS
        if effect in one
    }

"""The champion at work: brought from the registry, judged again on present data, its training data compared with it."""

import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.files import atomic_folder, read_json, write_json
from qure.models.manifest import read_manifest
from qure.registry.champions import Champions
from qure.registry.comparison import missed_thresholds
from qure.registry.evaluations import headline, read_evaluations
from qure.registry.names import registered_name
from qure.registry.packaging import MODEL
from qure.registry.registration import DATA, FINGERPRINT, ensure_registered
from qure.scratch import scratch_folder
from qure.tracking import connect, tracking_uri
from qure.tracking.connection import NONE, URI_VARIABLE, translated
from qure.tracking.remedies import first_line
from qure.tracking.retrying import download

logger = logging.getLogger(__name__)

#: Where a version's run keeps the statistics of the data that it was trained on.
STATISTICS_FOLDER, STATISTICS = "validation", "statistics.json"


def find_champion(settings: Settings, training_set: str) -> dict[str, Any]:
    """Which version is champion now, if any; nothing is downloaded.

    Args:
        settings: `tracking` is read.
        training_set: "fashioniq" or "cirr".

    Returns:
        name, version, model_fingerprint and data_fingerprint (None without a champion).

    Raises:
        StageFailed: MLflow cannot be reached.
    """
    name = registered_name(training_set)
    client = connect(settings.tracking)
    with translated(tracking_uri(settings.tracking)):
        ensure_registered(client, name)
        number = Champions(client, name).current()
        tags = client.get_model_version(name, str(number)).tags if number is not None else {}
    return {
        "name": name,
        "version": number,
        "model_fingerprint": tags.get(FINGERPRINT),
        "data_fingerprint": tags.get(DATA),
    }


def fetch_champion(
    settings: Settings,
    training_set: str,
    *,
    model: Path | None,
    facts: Path,
    version: int | None = None,
    required: bool = True,
) -> dict[str, Any]:
    """Downloads the champion, and what is known of it.

    Args:
        settings: `tracking` is read.
        training_set: "fashioniq" or "cirr".
        model: model folder to write, empty where there is no champion; None: it is not wanted.
        facts: folder to write: champion.json, and statistics.json of its training data where they are known.
        version: which, from `find_champion`, 0 for none; the present champion when left out.
        required: whether there must be a champion.

    Returns:
        what champion.json holds: name, version (None without a champion), fingerprints, whether statistics are there.

    Raises:
        BadInput: there is no champion and one is required.
        StageFailed: MLflow cannot be reached, or the model cannot be downloaded.
    """
    name = registered_name(training_set)
    client = connect(settings.tracking)
    with translated(tracking_uri(settings.tracking)), atomic_folder(facts) as folder, ExitStack() as stack:
        whole = stack.enter_context(atomic_folder(model)) if model is not None else None
        ensure_registered(client, name)
        number = Champions(client, name).current() if version is None else version or None
        found: dict[str, Any] = {"name": name, "version": number, "statistics": False}
        if number is None and required:
            raise BadInput(f"{name} has no champion", remedy="Train and promote a model first (the training pipeline)")
        if number is not None:
            registered = client.get_model_version(name, str(number))
            if whole is not None:
                _download_model(f"models:/{name}/{number}/{MODEL}", whole)
            # A person can edit or delete a version's tag on its page: the model's own word counts more.
            held = read_manifest(whole)["fingerprint"] if whole is not None else registered.tags.get(FINGERPRINT)
            found |= {"model_fingerprint": held, "data_fingerprint": registered.tags.get(DATA)}
            found["statistics"] = download_statistics(client, registered.run_id, folder)
        write_json(folder / "champion.json", found)
    return found


def reevaluation(
    settings: Settings, training_set: str, *, data: Path, features: Mapping[str, Path], validation: Path | None
) -> Callable[[Path, Path], None]:
    """What `promote` calls to evaluate the champion on the present data.

    Features that another image tower has computed are computed again for the champion's. The run of the challenger's
    own evaluation stays as it is: this evaluation is kept with the champion's version.
    """

    def evaluate_again(model: Path, output: Path) -> None:
        from qure.evaluation.stage import evaluate

        with _untracked(), scratch_folder(output.parent) as scratch:
            evaluate(
                settings,
                training_set,
                data=data,
                features=_features_for(settings, model, features, data=data, validation=validation, scratch=scratch),
                model=model,
                validation=validation,
                output=output,
            )

    return evaluate_again


def _features_for(
    settings: Settings,
    model: Path,
    features: Mapping[str, Path],
    *,
    data: Path,
    validation: Path | None,
    scratch: Path,
) -> Mapping[str, Path]:
    """`features` where they come from the model's own image tower, else fresh ones in `scratch`."""
    from qure.features.stage import precompute
    from qure.features.store import read_manifest as read_store

    tower = read_manifest(model)["vision_fingerprint"]
    if all(read_store(store)["vision_fingerprint"] == tower for store in features.values()):
        return features
    logger.info("the champion has another image tower: computing its features of the present images")
    fresh = {image_set: scratch / image_set for image_set in features}
    for image_set, output in fresh.items():
        precompute(settings, image_set, data=data, backbone=model, output=output, validation=validation)
    return fresh


def compare_data(settings: Settings, *, validation: Path, champion: Path, output: Path | None = None) -> dict[str, Any]:
    """Whether data is like the data that the champion was trained on: said, and never decided here.

    Args:
        settings: `validation` has the thresholds.
        validation: validation folder of the data at hand.
        champion: `facts` folder of `fetch_champion`.
        output: JSON file to write.

    Returns:
        what the output file holds: the verdict, whether there is anything to compare with, what has shifted, every
        measure.

    Raises:
        BadInput: a file is missing, damaged or of another version.
    """
    from qure.validation.drift import compare, read_statistics

    facts = read_json(champion / "champion.json")
    measures: list[dict[str, Any]] = []
    if facts["statistics"]:
        now, before = (read_statistics(folder / STATISTICS) for folder in (validation, champion))
        measures = compare(now, before, settings.validation)
    else:
        logger.warning("no champion has left statistics of its training data: drift cannot be told")
    shifted = [measure["says"] for measure in measures if measure["shifted"]]
    for sentence in shifted:
        logger.warning("drift: %s", sentence)
    found = {
        "verdict": _drift_verdict(facts, shifted, len(measures)),
        "known": bool(facts["statistics"]),
        "champion": facts["version"],
        "shifted": shifted,
        "measures": measures,
    }
    if output is not None:
        write_json(output, found)
    return found


def _drift_verdict(facts: Mapping[str, Any], shifted: Sequence[str], measures: int) -> str:
    if facts["version"] is None:
        return "There is no champion to compare with."
    if not facts["statistics"]:
        return "Unknown: the champion has left no statistics of its training data."
    return f"{len(shifted)} of {measures} measures have shifted." if shifted else f"Alike in all {measures} measures."


def check_champion(
    settings: Settings, training_set: str, *, champion: Path, evaluation: Path, drift: Path, output: Path
) -> dict[str, Any]:
    """Whether the champion still does on fresh data what it must.

    Args:
        settings: `promotion.thresholds` is read.
        training_set: "fashioniq" or "cirr".
        champion: `facts` folder of `fetch_champion`.
        evaluation: evaluate stage's folder of the champion on the fresh data.
        drift: what `compare_data` has written.
        output: JSON file to write.

    Returns:
        what the output file holds: the verdict, version, metrics, missed thresholds, drift.

    Raises:
        BadInput: a folder is missing or damaged, or is of another model.
        StageFailed: a threshold is missed (the output file is there then).
    """
    facts, drifted = read_json(champion / "champion.json"), read_json(drift)
    evaluations = read_evaluations(evaluation, training_set, facts["model_fingerprint"])
    missed, thresholds = missed_thresholds(settings, training_set, evaluations)
    whole = f"{facts['name']} version {facts['version']}"
    found = {
        "verdict": f"{whole} no longer holds: {'; '.join(missed)}." if missed else f"{whole} still holds.",
        "name": facts["name"],
        "version": facts["version"],
        "metrics": headline(evaluations),
        "thresholds": thresholds,
        "missed": missed,
        "drift": drifted["shifted"],
        "drift_known": drifted["known"],
    }
    write_json(output, found)
    if missed:
        raise StageFailed(f"{whole} no longer holds: {'; '.join(missed)}")
    return found


def _download_model(uri: str, folder: Path) -> None:
    with scratch_folder(folder.parent) as scratch:
        try:
            place = download(uri, scratch)
        except Exception as error:
            raise StageFailed(f"{uri} cannot be downloaded: {first_line(error)}") from error
        for file in place.iterdir():
            file.rename(folder / file.name)


def download_statistics(client: Any, run_id: str, folder: Path) -> bool:
    """Brings statistics.json of a version's training data into a folder; whether there is one.

    Raises:
        StageFailed: it is there and cannot be downloaded.
    """
    from mlflow.exceptions import MlflowException

    inside = f"{STATISTICS_FOLDER}/{STATISTICS}"
    try:
        if not any(file.path == inside for file in client.list_artifacts(run_id, STATISTICS_FOLDER)):
            return False
        Path(client.download_artifacts(run_id, inside, str(folder))).rename(folder / STATISTICS)
    except MlflowException as error:
        raise StageFailed(f"the champion's statistics cannot be downloaded: {first_line(error)}") from error
    return True


@contextmanager
def _untracked() -> Iterator[None]:
    before = os.environ.get(URI_VARIABLE)
    os.environ[URI_VARIABLE] = NONE
    try:
        yield
    finally:
        if before is None:
            del os.environ[URI_VARIABLE]
        else:
            os.environ[URI_VARIABLE] = before

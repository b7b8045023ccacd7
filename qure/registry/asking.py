"""Asking the champion by hand: a picture plus words; and whether there is one to ask."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from qure.config import Settings
from qure.environment import without_collecting
from qure.errors import BadInput, StageFailed
from qure.registry.champions import Champions
from qure.registry.journal import CHAMPION
from qure.registry.names import how_to_promote, registered_name
from qure.registry.packaging import GALLERY, MODEL
from qure.tracking import connect, tracking_uri
from qure.tracking.connection import sqlite_file, translated
from qure.tracking.database import opened
from qure.tracking.place import lead_artifacts_here
from qure.tracking.remedies import first_line
from qure.tracking.retrying import passes_in_mlflow, retry

if TYPE_CHECKING:
    from mlflow import MlflowClient


def ask_champion(
    settings: Settings, training_set: str, image: Path, text: str, top_k: int, group: str | None
) -> list[tuple[str, float]]:
    """The champion's best gallery images for one composed query, best first, with their relevance.

    An embedded registry (SQLite) is looked into directly, and the model's files are read where they lie: importing
    MLflow takes as long as everything else. What is not as expected there MLflow is asked about, and names it.

    Raises:
        BadInput: there is no champion, its files are gone, or the image cannot be decoded.
        StageFailed: MLflow cannot be reached.
    """
    folder = _champion_folder(settings, registered_name(training_set))
    if folder is not None:
        with without_collecting():
            from qure.models.precision import default_device
            from qure.serving.retriever import Retriever

        retriever = Retriever.load(folder / MODEL, folder / GALLERY, default_device())
        return retriever.retrieve([image.read_bytes()], [text], top_k=[top_k], groups=[group], exclude=[None])[0]
    return _ask_mlflow(settings, training_set, image, text, top_k, group)


def is_champion_gone(settings: Settings, training_set: str) -> bool:
    """Whether an embedded registry (SQLite) knows no champion; False for a server, which is not asked.

    Looks into the file itself: importing MLflow takes seconds, and connecting would make a database that is missing.
    """
    file = sqlite_file(tracking_uri(settings.tracking) or "")
    if file is None:
        return False
    query = "SELECT count(*) FROM registered_model_aliases WHERE name = ? AND alias = ?"
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as database:
            (found,) = database.execute(query, (registered_name(training_set), CHAMPION)).fetchone()
    except sqlite3.OperationalError:  # no such file, or no such table: nothing was ever registered there
        return True
    return int(found) == 0


def _champion_folder(settings: Settings, name: str) -> Path | None:
    """Where an embedded registry keeps the champion's files; None where MLflow must be asked."""
    file = sqlite_file(tracking_uri(settings.tracking) or "")
    if file is None or not file.is_file():
        return None
    query = (
        "SELECT v.storage_location FROM registered_model_aliases AS a JOIN model_versions AS v "
        "ON v.name = a.name AND v.version = a.version WHERE a.name = ? AND a.alias = ?"
    )
    try:
        lead_artifacts_here(file, settings.tracking.artifacts)
        with opened(file) as database:
            found = database.execute(query, (name, CHAMPION)).fetchall()
    except (sqlite3.Error, BadInput, StageFailed):
        return None
    if len(found) != 1 or not found[0][0]:
        return None
    place = urlsplit(found[0][0])
    folder = Path(unquote(place.path)) if place.scheme == "file" else Path(found[0][0])
    whole = (folder / MODEL).is_dir() and (folder / GALLERY).is_dir()
    return folder if whole else None


def _ask_mlflow(
    settings: Settings, training_set: str, image: Path, text: str, top_k: int, group: str | None
) -> list[tuple[str, float]]:
    client = connect(settings.tracking)
    import mlflow
    import pandas as pd
    from mlflow.exceptions import MlflowException

    name = registered_name(training_set)
    uri = f"models:/{name}@{CHAMPION}"
    with translated(tracking_uri(settings.tracking)):
        number = _champion(client, name)
    if number is None:
        raise BadInput(f"{name} has no champion", remedy=how_to_promote(training_set))
    try:
        champion = retry(lambda: mlflow.pyfunc.load_model(uri), passes=passes_in_mlflow, what=f"MLflow ({uri})")
    except (MlflowException, OSError) as error:
        raise BadInput(
            f"{uri}, version {number}, does not load: {first_line(error)}",
            remedy=f"Bring its files back, where artifacts/ still holds this model: "
            f"dvc repro --single-item --force register@{training_set}; or make another version champion: "
            f"qure rollback --training-set {training_set} --to-version N",
        ) from None
    query = {"reference": [image.read_bytes()], "text": [text], "top_k": [top_k]}
    if group is not None:
        query["group"] = [group]
    answer = champion.predict(pd.DataFrame(query)).iloc[0]
    return list(zip(answer["ids"], (float(score) for score in answer["scores"]), strict=True))


def _champion(client: "MlflowClient", name: str) -> int | None:
    from mlflow.exceptions import MlflowException

    try:
        return Champions(client, name).current()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None

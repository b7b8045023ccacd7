"""Asking the champion by hand: a picture plus words; and whether there is one to ask."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from qure.config import Settings
from qure.errors import BadInput
from qure.registry.champions import CHAMPION, Champions
from qure.registry.registration import how_to_promote, registered_name
from qure.tracking import connect, tracking_uri
from qure.tracking.connection import first_line, sqlite_file, translated

if TYPE_CHECKING:
    from mlflow import MlflowClient


def ask_champion(
    settings: Settings, training_set: str, image: Path, text: str, top_k: int, group: str | None
) -> list[tuple[str, float]]:
    """The champion's best gallery images for one composed query, best first, with their relevance.

    Raises:
        BadInput: there is no champion, its files are gone, or the image cannot be decoded.
        StageFailed: MLflow cannot be reached.
    """
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
        champion = mlflow.pyfunc.load_model(uri)
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


def _champion(client: "MlflowClient", name: str) -> int | None:
    from mlflow.exceptions import MlflowException

    try:
        return Champions(client, name).current()
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None

"""Asking the champion by hand: a picture plus words."""

from pathlib import Path

from qure.config import Settings
from qure.errors import BadInput
from qure.registry.registration import registered_name
from qure.tracking import connect


def ask_champion(
    settings: Settings, training_set: str, image: Path, text: str, top_k: int, group: str | None
) -> list[tuple[str, float]]:
    """The champion's best gallery images for one composed query, best first, with their relevance.

    Raises:
        BadInput: there is no champion, or the image cannot be decoded.
        StageFailed: MLflow cannot be reached.
    """
    connect(settings.tracking)
    import mlflow
    import pandas as pd
    from mlflow.exceptions import MlflowException

    uri = f"models:/{registered_name(training_set)}@champion"
    try:
        champion = mlflow.pyfunc.load_model(uri)
    except MlflowException as error:
        raise BadInput(f"{uri} does not load: {error.message}", remedy="Run the pipeline first") from None
    query = {"reference": [image.read_bytes()], "text": [text], "top_k": [top_k]}
    if group is not None:
        query["group"] = [group]
    answer = champion.predict(pd.DataFrame(query)).iloc[0]
    return list(zip(answer["ids"], (float(score) for score in answer["scores"]), strict=True))

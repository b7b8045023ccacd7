"""The challenger's report beside the champion that it was decided against: kept with the promotion's MLflow run."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING

from qure.config import Settings
from qure.errors import QureError
from qure.registry.evaluations import download
from qure.registry.names import registered_name
from qure.scratch import temporary_folder

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from qure.tracking import SilentRun

logger = logging.getLogger(__name__)

FOLDER = "report"


def report_beside(
    client: "MlflowClient",
    settings: Settings,
    training_set: str,
    *,
    version: int,
    champion: int,
    key: str,
    evaluation: Path,
    data: Path,
    run: "SilentRun",
) -> None:
    """Draws the report of an evaluation with another version's results in it, and logs it under `report/`.

    The decision has fallen when this is called: what goes wrong here is said and changes nothing.

    Args:
        client: of the registry.
        settings: `evaluation` is read.
        training_set: "fashioniq" or "cirr".
        version: the challenger.
        champion: version that was champion when the promotion was decided.
        key: of the evaluations that were compared (`evaluations.key_of`).
        evaluation: evaluate stage's folder of the challenger.
        data: data root; the pictures come from it.
        run: the promotion's.
    """
    from qure.evaluation.provenance import provenance_of, stamped_copies
    from qure.evaluation.stage import write_again

    with temporary_folder() as folder:
        try:
            rival = client.get_model_version(registered_name(training_set), str(champion))
            other = download(client, rival, key, folder / "champion")
            if other is None:
                return
            write_again(
                settings, training_set, data=data, evaluation=evaluation, champion=other, output=folder / FOLDER
            )
        except QureError as error:
            logger.warning("no report beside the champion: %s", error)
            return
        provenance = provenance_of(run, settings.tracking, name=registered_name(training_set), version=version)
        with stamped_copies(folder / FOLDER, provenance) as copies:
            for copy in copies:
                run.log_artifact(copy, FOLDER)

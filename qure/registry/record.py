"""The history a second time, where MLflow's pages show nothing: what a person edits or deletes there comes back.

Tags of a registered model can be changed by everybody on its page. So each change that was made is also written as an
experiment of its own, `qure-history/<model>/<when the model was created>/<the entry's number and writer>`, whose tag
holds the entry, and which is deleted at once: pages list no deleted experiments, and MLflow lets nobody write to them.
An entry is final once its change was made, so the record only grows, and whoever restores from it, in whatever order,
does the same. `mlflow gc` clears it away; the next change writes it again, from the tags.

A registered model that is deleted and made again is another one, whose version numbers begin at 1 again: it has a
history of its own.
"""

import logging
from typing import TYPE_CHECKING

from qure.registry.history import ENTRY, Entry, entry_of, tag_of
from qure.tracking.connection import every
from qure.tracking.remedies import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import RegisteredModel

logger = logging.getLogger(__name__)

CONTENT = "qure.history.entry"
_DESCRIPTION = "Not an experiment: a change of champion, kept here for the case that its tag is lost."


class HistoryRecord:
    """The record of one registered model.

    Args:
        client: of the registry and of the experiments beside it.
    """

    def __init__(self, client: "MlflowClient") -> None:
        self._client = client

    def entries(self, model: "RegisteredModel") -> dict[str, Entry]:
        """Every change that was recorded: the tag's name -> the entry."""
        from mlflow.entities import ViewType

        prefix = _prefix(model)
        found = {}
        for one in every(
            self._client.search_experiments, view_type=ViewType.ALL, filter_string=f"name LIKE '{prefix}%'"
        ):
            key = ENTRY + one.name.removeprefix(prefix)
            entry = entry_of(key, one.tags.get(CONTENT, ""))
            if not one.name.startswith(prefix) or entry is None:
                continue
            found[key] = entry
            if one.lifecycle_stage == "active":  # whoever wrote it was killed before it was put out of sight
                self._hide(one.experiment_id)
        return found

    def keep(self, model: "RegisteredModel", entry: Entry) -> None:
        """Records a change that was made; that this cannot be done changes nothing: the next change does it."""
        from mlflow.exceptions import MlflowException

        from qure.tracking.pages import KIND, MODEL_DEVELOPMENT, NOTE

        name = _prefix(model) + entry.key.removeprefix(ENTRY)
        tags = {CONTENT: tag_of(entry), KIND: MODEL_DEVELOPMENT, NOTE: _DESCRIPTION}
        try:
            self._hide(self._client.create_experiment(name, tags=tags))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                logger.warning("%s: a change of champion is kept in one place only: %s", model.name, first_line(error))

    def _hide(self, experiment: str) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.delete_experiment(experiment)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":  # another process has been faster
                raise


def _prefix(model: "RegisteredModel") -> str:
    return f"qure-history/{model.name}/{model.creation_timestamp}/"

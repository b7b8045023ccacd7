"""Beside Kubeflow's own MLflow plugin: its runs and ours of one pipeline task name each other.

The plugin (Kubeflow Pipelines 2.17) keeps a run for each pipeline run and, nested in it, one for each task, and gives
the task variables that lead to the latter. `components.runtime` puts these aside under names of their own, so that
MLflow does not take Kubeflow's run for ours.
"""

import logging
import os
from typing import TYPE_CHECKING

from qure.tracking.redaction import redacted
from qure.tracking.retrying import impatient

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

#: Kubeflow's MLflow run of the present task, and the server that it is on.
RUN_VARIABLE, URI_VARIABLE = "QURE_KUBEFLOW_MLFLOW_RUN", "QURE_KUBEFLOW_MLFLOW_URI"
#: "true": our run of the pipeline is nested in Kubeflow's. MLflow shows that within one experiment.
NEST_VARIABLE = "QURE_NEST_IN_KUBEFLOW"

THEIRS, OURS = "qure.kubeflow_mlflow_run", "qure.mlflow_run"
_PARENT = "mlflow.parentRunId"


def tags() -> dict[str, str]:
    """Tags of our run that name Kubeflow's; none without the plugin."""
    run, uri = os.environ.get(RUN_VARIABLE, ""), os.environ.get(URI_VARIABLE, "")
    return {THEIRS: run} | ({f"{THEIRS}_uri": redacted(uri)} if uri else {}) if run else {}


def tie(client: "MlflowClient", run: str, parent: str, uri: str) -> None:
    """Names our runs in Kubeflow's, where both are on one server; nests ours in it where that is configured.

    For people: that it cannot be done is said and stops nothing.

    Args:
        client: of our server.
        run: our run of the stage.
        parent: our run of the pipeline run.
        uri: of our server.
    """
    theirs = os.environ.get(RUN_VARIABLE, "")
    if not theirs or os.environ.get(URI_VARIABLE, uri).rstrip("/") != uri.rstrip("/"):
        return
    client = impatient(client)
    try:
        client.set_tag(theirs, OURS, run)
        above = client.get_run(theirs).data.tags.get(_PARENT, theirs)
        client.set_tag(above, OURS, parent)
        if os.environ.get(NEST_VARIABLE, "").lower() == "true":
            client.set_tag(parent, _PARENT, above)
    except Exception as error:
        logger.warning("Kubeflow's MLflow run %s does not name this one: %s", theirs, redacted(str(error)))

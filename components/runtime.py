"""What every component does around its one library call: settings from the argument, errors as exit codes."""

import logging
import os
import sys
import time
import traceback
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager

from components.settings import parse
from qure.config import Settings
from qure.errors import QureError
from qure.tracking import kubeflow

logger = logging.getLogger(__name__)

#: Off before any library can look: nothing here reports usage to anyone.
QUIET = {
    "DVC_NO_ANALYTICS": "1",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_CONFIGURE_LOGGING": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}

#: Who speaks from INFO on.
OURS = ("qure", "components", "infra")
#: Loggers that MLflow, once imported, gives a handler of its own that speaks from INFO on, past the stage's log.
TAKEN_BY_MLFLOW = ("mlflow", "sqlalchemy.engine", "alembic", "huey")
UNEXPECTED = "Nobody expected this: start the run again, and report it with the lines above when it comes back"


#: How variables from our secrets are called until a task puts them in place: pipelines.placement gives them so.
#: Kubernetes refuses a pod that is told one variable twice, as by us and by Kubeflow's MLflow plugin; and Kubeflow's
#: launcher, in the same container, would take AWS_* for its own.
SECRET_PREFIX = "QURE_SECRET_"
_URI, _RUN = "MLFLOW_TRACKING_URI", "MLFLOW_RUN_ID"
#: What belongs to a tracking server. Those of another server are never sent to ours.
_OF_THE_SERVER = (
    _URI,
    "MLFLOW_TRACKING_USERNAME",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_AUTH",
    "MLFLOW_WORKSPACE",
)


@contextmanager
def stage(params: str) -> Iterator[Settings]:
    """Runs a stage: yields the settings; an error ends the process with one message and the right exit code.

    Args:
        params: the text of params.yaml.

    Exit codes: 2 for bad input (a retry cannot help), 1 for every other failure. What is printed holds no secret
    that the environment knows of, tracebacks included. The log has lines of ours from INFO on, of others from WARNING
    on; its last line says how long the stage took, or what went wrong and what to do.
    """
    with guarded():
        yield parse(params)


@contextmanager
def guarded() -> Iterator[None]:
    """What `stage` does, for a task that reads no settings."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    from qure.tracking import redacted

    put_secrets_in_place(os.environ)
    logging.basicConfig(
        level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s", stream=sys.stdout, force=True
    )
    for name in OURS:
        logging.getLogger(name).setLevel(logging.INFO)
    for name in TAKEN_BY_MLFLOW:
        taken = logging.getLogger(name)
        taken.handlers, taken.propagate = [], True
        taken.setLevel(logging.NOTSET)
    begun = time.monotonic()
    try:
        yield
        logger.info("done in %.0f s", time.monotonic() - begun)
    except QureError as error:
        print(f"error: {redacted(str(error))}", file=sys.stderr, flush=True)
        raise SystemExit(error.exit_code) from None
    except Exception as error:
        print(redacted(traceback.format_exc()), file=sys.stderr, flush=True)
        told = traceback.format_exception_only(error)[-1].strip()
        print(f"error: {redacted(told)}. {UNEXPECTED}", file=sys.stderr, flush=True)
        raise SystemExit(1) from None


def put_secrets_in_place(environment: MutableMapping[str, str]) -> None:
    """Gives the variables from our secrets the names that MLflow and S3 look for; ours win where they are set.

    Where Kubeflow's MLflow plugin has led the task to a server and ours leads to another, the plugin's credentials
    go, so that they are not sent to ours. Its run is kept under names of ours (`qure.tracking.kubeflow`): under its own
    MLflow would write into it.

    >>> variables = {"QURE_SECRET_MLFLOW_TRACKING_URI": "https://ours", "MLFLOW_TRACKING_TOKEN": "theirs"}
    >>> put_secrets_in_place(variables)
    >>> variables
    {'MLFLOW_TRACKING_URI': 'https://ours'}
    """
    ours = {
        name.removeprefix(SECRET_PREFIX): environment.pop(name)
        for name in list(environment)
        if name.startswith(SECRET_PREFIX)
    }
    ours = {name: value for name, value in ours.items() if value.strip()}
    if run := environment.pop(_RUN, ""):
        environment[kubeflow.RUN_VARIABLE] = run
        environment[kubeflow.URI_VARIABLE] = environment.get(_URI, "")
    if _URI in ours and ours[_URI] != environment.get(_URI):
        for name in _OF_THE_SERVER:
            environment.pop(name, None)
    environment.update(ours)

"""The one way to MLflow: where it is, that it answers, and errors a person can act on."""

import contextlib
import importlib.util
import logging
import os
import socket
import sqlite3
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.config import TrackingSettings
from qure.environment import without_collecting
from qure.errors import BadInput, QureError, StageFailed
from qure.tracking.database import ensure_database
from qure.tracking.place import FOLDER, lead_artifacts_here
from qure.tracking.redaction import redacted
from qure.tracking.remedies import explained, services_hint
from qure.tracking.retrying import patient, retry

if TYPE_CHECKING:
    from mlflow import MlflowClient

logger = logging.getLogger(__name__)

URI_VARIABLE = "MLFLOW_TRACKING_URI"
#: As a URI (setting or variable): do not track.
NONE = "none"

_HTTP = {"http": 80, "https": 443}
_DATABASES = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_FILE = "sqlite"
_OTHER = ("databricks", "uc")
#: Seconds of one attempt to reach a server.
_ATTEMPT_SECONDS = 5.0

#: What MLflow reads when it is imported or called. None reports usage, prints banners or unpickles.
_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_LOGGING_LEVEL": "WARNING",
    # A server that restarts is back within this (about 30 s); MLflow's own 7 retries take minutes per call.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "GIT_PYTHON_REFRESH": "quiet",
}


def tracking_uri(settings: TrackingSettings) -> str | None:
    """Where MLflow is: the variable MLFLOW_TRACKING_URI, else the setting.

    None when tracking is switched off: the setting is null, or the variable or the setting is "none". A SQLite file
    that the setting gives as a relative path lies beside params.yaml; one that the variable gives, in this folder.
    """
    if settings.uri is None:
        return None
    stated = os.environ.get(URI_VARIABLE, "").strip()
    uri = stated or settings.uri
    if uri.lower() == NONE:
        return None
    file = sqlite_file(uri)
    if not stated and file is not None and settings.folder is not None and not file.is_absolute():
        return uri.replace(f":///{file}", f":///{settings.folder / file}", 1)
    # SQLAlchemy takes "postgresql" for psycopg2; what qure[postgres] installs is its successor.
    if uri.startswith("postgresql://") and importlib.util.find_spec("psycopg2") is None:
        return uri.replace("postgresql://", "postgresql+psycopg://", 1)
    return uri


def connect(settings: TrackingSettings) -> "MlflowClient":
    """A client of the tracking server and registry, which answers; what passes by nature it tries again.

    MLflow resolves `models:/...` by a process-wide URI, so this sets it too.

    Raises:
        BadInput: tracking is switched off, the URI is of a kind MLflow does not take, MLflow is not installed.
        StageFailed: nothing answers at the URI.
    """
    uri = tracking_uri(settings)
    if uri is None:
        raise BadInput(
            "tracking is switched off, and this stage needs MLflow's registry",
            field="tracking.uri",
            remedy="Set tracking.uri in params.yaml or the variable MLFLOW_TRACKING_URI",
        )
    _require_reachable(uri)
    with without_collecting(), translated(uri):
        client_class = _import()
        prepare_database(uri, settings)
        _lead_mlflow_to(uri)
        client = patient(client_class(tracking_uri=uri, registry_uri=uri))
        client.search_experiments(max_results=1)
    return client


def prepare_database(uri: str, settings: TrackingSettings) -> None:
    """Makes or upgrades the database of a sqlite:/// URI, and lets its artifact locations lead to where it is.

    Raises:
        BadInput: the file is no database.
        StageFailed: it cannot be made, upgraded or written to; says what to do.
    """
    file = sqlite_file(uri)
    if file is None:
        return
    quiet_environment()
    try:
        ensure_database(file)
        lead_artifacts_here(file, settings.artifacts)
    except sqlite3.Error as error:
        raise StageFailed(f"MLflow's database {str(file)!r}: {error}. Stop what uses it and start again") from None


def experiment_id(client: "MlflowClient", settings: TrackingSettings) -> str:
    """The experiment's id; it is made when it does not exist, by whoever comes first."""
    from mlflow.exceptions import MlflowException

    from qure.tracking.pages import EXPERIMENT_NOTE, KIND, MODEL_DEVELOPMENT, NOTE

    name, tags = settings.experiment, {KIND: MODEL_DEVELOPMENT, NOTE: EXPERIMENT_NOTE}
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            return str(client.create_experiment(name, _artifact_location(settings), tags))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            found = client.get_experiment_by_name(name)
    if found is None or found.lifecycle_stage != "active":
        raise BadInput(
            f"the MLflow experiment {name!r} has been deleted",
            field="tracking.experiment",
            remedy="Restore it (mlflow experiments restore), or choose another name",
        )
    for key in tags.keys() - found.tags.keys():  # what a person has written stays
        client.set_experiment_tag(found.experiment_id, key, tags[key])
    return str(found.experiment_id)


def every(search: Callable[..., Any], *arguments: Any, **named: Any) -> list[Any]:
    """What a search of MLflow's client finds, all its pages: one page alone ends silently at `max_results`."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(*arguments, **named, page_token=token)
        found.extend(page)
        token = page.token
        if not token:
            return found


@contextlib.contextmanager
def translated(uri: str | None = None) -> Iterator[None]:
    """Turns what MLflow and its transports raise into one `StageFailed` without credentials."""
    try:
        yield
    except (QureError, KeyboardInterrupt, SystemExit):
        raise
    except Exception as error:
        if not _from_mlflow(error):
            raise
        place = f"MLflow at {redacted(uri)}" if uri else "MLflow"
        raise StageFailed(f"{place}: {explained(error)}") from None


def quiet_environment() -> None:
    """Sets what MLflow reads from the environment, where it is not set already; before MLflow is imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


def _import() -> "type[MlflowClient]":
    quiet_environment()
    try:
        from mlflow import MlflowClient
    except ImportError as error:
        raise BadInput(
            f"MLflow cannot be imported: {error}",
            remedy="Install it with: pip install 'qure[tracking]'. To do without, set tracking.uri: null",
        ) from None
    logging.getLogger("alembic").setLevel(logging.WARNING)
    return MlflowClient


def _lead_mlflow_to(uri: str) -> None:
    import mlflow

    # They also set variables, which would win over any settings from now on and be handed to every child process.
    before = {name: os.environ.get(name) for name in (URI_VARIABLE, "MLFLOW_REGISTRY_URI")}
    mlflow.set_tracking_uri(uri)
    mlflow.set_registry_uri(uri)
    for name, value in before.items():
        os.environ.pop(name, None)
        if value is not None:
            os.environ[name] = value


def _require_reachable(uri: str) -> None:
    try:
        parts = urllib.parse.urlsplit(uri)
    except ValueError as error:
        raise BadInput(f"not a URI: {redacted(uri)!r}: {error}", field="tracking.uri") from None
    dialect = parts.scheme.split("+")[0]
    if dialect in _OTHER or uri in _OTHER:
        return
    if dialect == _FILE:
        _require_folder(uri)
        return
    if dialect not in _HTTP | _DATABASES:
        raise BadInput(
            f"MLflow does not take the tracking URI {redacted(uri)!r}",
            field="tracking.uri",
            remedy="Use sqlite:///mlflow.db, postgresql://..., https://..., or null for no tracking",
        )
    try:
        host, port = parts.hostname, parts.port or (_HTTP | _DATABASES)[dialect]
    except ValueError as error:
        raise BadInput(f"not a URI: {redacted(uri)!r}: {error}", field="tracking.uri") from None
    if host is None:
        raise BadInput(f"the tracking URI {redacted(uri)!r} names no host", field="tracking.uri")
    if dialect in _HTTP and dialect in urllib.request.getproxies() and not urllib.request.proxy_bypass(host):
        return  # only the proxy can tell
    _require_answer(host, port, uri)


def _require_folder(uri: str) -> None:
    file = sqlite_file(uri)
    if file is None:
        raise BadInput(
            f"the tracking URI {redacted(uri)!r} names no file, and a database in memory is gone with its process",
            field="tracking.uri",
            remedy="Use sqlite:///mlflow.db",
        )
    if not file.parent.is_dir():
        raise BadInput(
            f"the folder of MLflow's database does not exist: {str(file.parent)!r}",
            field="tracking.uri",
            remedy="Make it, or set tracking.uri",
        )


def _require_answer(host: str, port: int, uri: str) -> None:
    def reach() -> None:
        with socket.create_connection((host, port), timeout=_ATTEMPT_SECONDS):
            return

    # MLflow's own retries would take minutes to say the same.
    try:
        retry(reach, passes=lambda error: isinstance(error, OSError), what=f"MLflow at {redacted(uri)}")
    except OSError as error:
        raise StageFailed(
            f"MLflow at {redacted(uri)} cannot be reached: {error.strerror or error}. Start it{services_hint()}, "
            f"correct tracking.uri in params.yaml or the variable {URI_VARIABLE}, or set it to {NONE!r} to run "
            "without tracking"
        ) from None


def sqlite_file(uri: str) -> Path | None:
    """The database file of a sqlite:/// URI; None for another kind of URI or a database in memory."""
    prefix, _, rest = uri.partition(":///")
    path = rest.split("?")[0]
    return Path(path) if prefix.split("+")[0] == _FILE and path and path != ":memory:" else None


def _artifact_location(settings: TrackingSettings) -> str | None:
    if settings.artifacts is not None:
        return settings.artifacts
    file = sqlite_file(tracking_uri(settings) or "")
    # Beside the database, not below whatever folder the first command happened to be started in.
    return str(file.resolve().parent / FOLDER / settings.experiment) if file else None


def _from_mlflow(error: Exception) -> bool:
    roots = {type_.__module__.split(".")[0] for type_ in type(error).__mro__}
    return bool(roots & {"mlflow", "requests", "urllib3", "sqlalchemy", "psycopg", "botocore"})

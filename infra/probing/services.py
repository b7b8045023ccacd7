"""The services around a run, with the credentials that its tasks get: secrets, MLflow, S3, the notification."""

import json
import os
from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from typing import Any

from infra.probing.findings import Finding, State, found
from qure.webhook import post

EXPERIMENT = "qure-check"
PATIENCE_SECONDS = 10.0


def probe_services(
    secrets: Sequence[Mapping[str, Any]],
    *,
    storage_needed: bool,
    prefix: str,
    put_in_place: Callable[[MutableMapping[str, str]], None],
) -> Iterator[Finding]:
    """Looks at the secrets, then at what they lead to.

    Args:
        secrets: name, `optional`, and `keys`: key -> [variable, variable that the probe's task has it under]. The task
            has all of them as optional, because a container waits for ever for a key that is not there.
        storage_needed: whether data comes from a DVC remote.
        prefix, put_in_place: how every task gets a variable, and takes it over (`components.runtime`).
    """
    for secret in secrets:
        yield _secret(secret, prefix)
    put_in_place(os.environ)
    yield found(
        "MLflow", "Check `uri`, `username`, `password` of qure-tracking, and the network policy's ports", _mlflow
    )
    if os.environ.get("AWS_ACCESS_KEY_ID"):
        yield found("S3", "Check the keys and `endpoint` of qure-storage, and the network policy's ports", _s3)
    else:
        state: State = "failed" if storage_needed else "skipped"
        remedy = "Make the secret qure-storage: data.repository names a DVC remote" if storage_needed else ""
        yield Finding("S3", state, "no credentials", remedy)
    if os.environ.get("QURE_NOTIFICATION_URL"):
        yield found(
            "notification",
            "Check `url` and `secret` of qure-notification, and the network policy's ports",
            _notification,
        )
    else:
        yield Finding("notification", "skipped", "no address")


def _secret(secret: Mapping[str, Any], prefix: str) -> Finding:
    """Names the values as every task gets them, too: what follows uses them."""
    subject = f"secret {secret['name']}"
    missing = []
    for key, (variable, given) in secret["keys"].items():
        value = os.environ.pop(given, None)
        if value is None:
            missing.append(key)
        elif value.strip():
            os.environ[f"{prefix}{variable}"] = value.strip()
    if not missing:
        return Finding(subject, "ok", f"has {', '.join(secret['keys'])}")
    if secret["optional"] and len(missing) == len(secret["keys"]):
        return Finding(subject, "skipped", "not there, and optional")
    unset = ", ".join(variable for key, (variable, _) in secret["keys"].items() if key in missing)
    consequence = (
        f"{unset} would not be set: add the key, or take it out of `secrets` in the configuration"
        if secret["optional"]
        else "Tasks that name it would wait for ever: make it with all its keys"
    )
    return Finding(subject, "failed", f"lacks {', '.join(missing)}", f"{consequence} (docs/runbook.md, Secrets)")


def _mlflow() -> str:
    os.environ |= {"MLFLOW_HTTP_REQUEST_TIMEOUT": str(int(PATIENCE_SECONDS)), "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
    uri = os.environ.get("MLFLOW_TRACKING_URI")
    if not uri:
        raise ValueError("no address")
    import mlflow

    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name(EXPERIMENT)
    identity = experiment.experiment_id if experiment is not None else client.create_experiment(EXPERIMENT)
    run = client.create_run(identity).info.run_id
    try:
        client.log_param(run, "probe", "written")
        client.log_text(run, "written", "probe.txt")
        if client.get_run(run).data.params["probe"] != "written":
            raise ValueError("what was written is not what is read")
        if [one.path for one in client.list_artifacts(run)] != ["probe.txt"]:
            raise ValueError("the artifact store does not list what was written")
    finally:
        client.delete_run(run)
    return "wrote, read and deleted a run with an artifact"


def _s3() -> str:
    import boto3
    from botocore.config import Config
    from botocore.exceptions import ClientError

    limits = Config(connect_timeout=PATIENCE_SECONDS, read_timeout=PATIENCE_SECONDS, retries={"total_max_attempts": 2})
    client = boto3.client("s3", config=limits, region_name=os.environ.get("AWS_REGION") or "us-east-1")
    try:
        count = len(client.list_buckets()["Buckets"])
    except ClientError as error:
        if error.response["Error"]["Code"] != "AccessDenied":
            raise
        return "knows the key, which may not list buckets"
    return f"lists {count} buckets"


def _notification() -> str:
    """Signed as every message is, so that a receiver that asks for that takes it."""
    body = json.dumps({"text": "qure: this is a check of the installation"})
    post(os.environ["QURE_NOTIFICATION_URL"], body, total=PATIENCE_SECONDS)
    return "was taken"

"""The services around a run, with the credentials that its tasks get: secrets, MLflow, S3, the notification."""

import json
import os
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from infra.probing.findings import Finding, State, found

EXPERIMENT = "qure-check"
PATIENCE_SECONDS = 10.0


def probe_services(secrets: Sequence[Mapping[str, Any]], *, storage_needed: bool) -> Iterator[Finding]:
    """Looks at the secrets, then at what they lead to.

    Args:
        secrets: name, `optional`, and `keys`: key -> [variable, variable that the probe's task has it under]. The task
            has all of them as optional, because a container waits for ever for a key that is not there.
        storage_needed: whether data comes from a DVC remote.
    """
    for secret in secrets:
        yield _secret(secret)
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
        yield found("notification", "Check `url` of qure-notification, and the network policy's ports", _notification)
    else:
        yield Finding("notification", "skipped", "no address")


def _secret(secret: Mapping[str, Any]) -> Finding:
    """Puts the values in place as well: what follows uses them as every task does."""
    subject = f"secret {secret['name']}"
    missing = []
    for key, (variable, given) in secret["keys"].items():
        value = os.environ.pop(given, None)
        if value is None:
            missing.append(key)
        elif value.strip():
            os.environ[variable] = value.strip()
    if not missing:
        return Finding(subject, "ok", f"has {', '.join(secret['keys'])}")
    if secret["optional"] and len(missing) == len(secret["keys"]):
        return Finding(subject, "skipped", "not there, and optional")
    return Finding(
        subject,
        "failed",
        f"lacks {', '.join(missing)}",
        "Tasks that name it would wait for ever: make it with all its keys (docs/runbook.md, Secrets)",
    )


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
    body = json.dumps({"text": "qure: this is a check of the installation"}).encode()
    request = urllib.request.Request(
        os.environ["QURE_NOTIFICATION_URL"], data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=PATIENCE_SECONDS) as answer:
            return f"was taken with {answer.status}"
    except urllib.error.HTTPError as error:
        raise ValueError(f"refused with {error.code} {error.reason}") from None

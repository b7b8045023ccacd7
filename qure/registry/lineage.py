"""Where a registered model comes from: data, code, settings, environment, runs, and who made it champion when and why.

Everything is read from the registry and its runs; the revision of `data.dvc` from the git repository at hand. What a
version lacks, because an older qure did not record it or because it was deleted, is said under `missing`.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qure.config import Settings
from qure.errors import BadInput
from qure.registry.champions import Champions
from qure.registry.evaluations import TAG
from qure.registry.registration import (
    BACKBONE,
    COMMIT,
    DATA,
    FINGERPRINT,
    LINEAGE,
    MADE_WITH,
    REPOSITORY,
    VISION,
    search_facts,
)
from qure.scratch import temporary_folder
from qure.tracking import connect, tracking_uri
from qure.tracking.connection import every, translated
from qure.tracking.remedies import first_line

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run
    from mlflow.entities.model_registry import ModelVersion

_ADDRESS = re.compile(r"(?:models:/)?(?P<name>[^/@]+)(?:@(?P<alias>[\w-]+)|/(?P<version>\d+))")
_GIT_COMMIT = re.compile(r"[0-9a-f]{40}")


def lineage(settings: Settings, address: str, *, project: Path = Path()) -> dict[str, Any]:
    """All that is known of a version.

    Args:
        settings: `tracking` is read.
        address: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        project: folder whose git repository knows the revisions of `data.dvc`.

    Returns:
        name, version, aliases, model, data, code, search, environment, settings, runs, reports, champion (the changes
        that it was part of), metrics; and `missing`: sentences.

    Raises:
        BadInput: not such an address, or nothing is there.
        StageFailed: MLflow cannot be reached.
    """
    client = connect(settings.tracking)
    with translated(tracking_uri(settings.tracking)):
        version = find(client, address)
        return _Told(client, version, project).record()


def find(client: "MlflowClient", address: str) -> "ModelVersion":
    """The version that an address names.

    Raises:
        BadInput: not such an address, or nothing is there.
    """
    from mlflow.exceptions import MlflowException

    match = _ADDRESS.fullmatch(address)
    if match is None:
        raise BadInput(
            f"{address!r} names no version", remedy="For example models:/qure-fashioniq@champion or models:/qure-cirr/3"
        )
    try:
        if match["alias"]:
            return client.get_model_version_by_alias(match["name"], match["alias"])
        return client.get_model_version(match["name"], match["version"])
    except MlflowException as error:
        if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
            raise
        raise BadInput(f"{address} is not there: {first_line(error)}", remedy="`make mlflow` shows what is") from None


def is_rebuildable(code: str) -> bool:
    """Whether a commit as qure records it is one of git, and the whole truth.

    >>> is_rebuildable("0" * 40), is_rebuildable("0" * 40 + "+1a2b3c4d"), is_rebuildable("v0.1.0")
    (True, False, False)
    """
    return _GIT_COMMIT.fullmatch(code) is not None


class _Told:
    """Collects, and takes down what is missing."""

    def __init__(self, client: "MlflowClient", version: "ModelVersion", project: Path) -> None:
        self._client, self._version, self._project = client, version, project
        self._missing: list[str] = []

    def record(self) -> dict[str, Any]:
        version, tags = self._version, dict(self._version.tags)
        run = self._run(version.run_id, "register")
        made_with = self._made_with()
        data = tags.get(DATA, "")
        environment = made_with.get("environment") or (_environment(run.data.tags) if run else {})
        if not environment.get("image"):
            self._missing.append(
                "no image: it was made outside of one, or the image was not told its digest (QURE_IMAGE)"
            )
        return {
            "name": version.name,
            "version": int(version.version),
            "aliases": sorted(self._client.get_model_version(version.name, str(version.version)).aliases),
            "created": int(version.creation_timestamp),
            "model": {
                "fingerprint": self._tag(FINGERPRINT, "the model's fingerprint"),
                "backbone": self._tag(BACKBONE, "the backbone's fingerprint"),
                "vision": self._tag(VISION, "the image tower's fingerprint"),
            },
            "data": {"fingerprint": self._tag(DATA, "the data's fingerprint"), "revision": self._data_revision(data)},
            "code": {
                "commit": self._tag(COMMIT, "the code's commit"),
                "repository": self._tag(REPOSITORY, "the repository's address"),
            },
            "search": search_facts(tags),
            "environment": environment,
            "settings": made_with.get("settings"),
            "metrics": {
                key.removeprefix("qure.metric."): value for key, value in tags.items() if "qure.metric." in key
            },
            "runs": self._runs(run),
            "reports": [
                f"runs:/{version.run_id}/{place}" for key, place in sorted(tags.items()) if key.startswith(TAG)
            ],
            "champion": self._changes(),
            "missing": self._missing,
        }

    def _tag(self, key: str, what: str) -> str | None:
        value = self._version.tags.get(key)
        if not value:
            self._missing.append(f"{what} was not recorded")
        return value or None

    def _run(self, run_id: str, stage: str) -> "Run | None":
        from mlflow.exceptions import MlflowException

        try:
            return self._client.get_run(run_id)
        except MlflowException as error:
            self._missing.append(f"its {stage} run is gone: {first_line(error)}")
            return None

    def _made_with(self) -> dict[str, Any]:
        from mlflow.exceptions import MlflowException

        try:
            with temporary_folder() as scratch:
                file = self._client.download_artifacts(self._version.run_id, f"{LINEAGE}/{MADE_WITH}", str(scratch))
                return dict(json.loads(Path(file).read_text(encoding="utf-8")))
        except (MlflowException, OSError, ValueError):
            self._missing.append("the settings: they were not recorded, or the artifact store has lost them")
            return {}

    def _runs(self, register: "Run | None") -> dict[str, Any]:
        if register is None:
            return {}
        from qure.tracking.tags import PARENT

        fingerprint = self._version.tags.get(FINGERPRINT, "")
        experiment = register.info.experiment_id
        parent = register.data.tags.get(PARENT)
        pipeline = self._run(parent, "pipeline") if parent else None
        trained = every(
            self._client.search_runs,
            [experiment],
            f"tags.`qure.stage` = 'train' and tags.`{FINGERPRINT}` = '{fingerprint}'",
        )
        judged = every(
            self._client.search_runs,
            [experiment],
            f"tags.`qure.stage` = 'evaluate' and datasets.name = 'model' and datasets.digest = '{fingerprint[:36]}'",
        )
        for found, what in ((trained, "training"), (judged, "evaluation")):
            if not found:
                self._missing.append(f"its {what} run was not recorded, or is deleted")
        return {
            "pipeline": _run_facts(pipeline) if pipeline else None,
            "train": [_run_facts(run) for run in trained],
            "evaluate": [_run_facts(run) for run in judged],
            "register": _run_facts(register),
        }

    def _changes(self) -> list[dict[str, Any]]:
        number = int(self._version.version)
        fields = ("version", "previous", "reason", "at", "why", "by", "command", "run")
        return [
            {field: getattr(entry, field) for field in fields}
            for entry in Champions(self._client, self._version.name).history()
            if number in (entry.version, entry.bars)
        ]

    def _data_revision(self, data: str) -> str | None:
        """The newest commit here whose data.dvc names this data."""
        digest = data.partition(":")[2].partition("+")[0]
        if not data.startswith("md5:"):
            self._missing.append("the data was not tracked with DVC, so no revision brings it back")
            return None
        if "+changed:" in data:
            self._missing.append("the data differed from what DVC tracks: its revision is the nearest there is")
        command = ["git", "-C", str(self._project), "log", "--all", "--format=%H", f"-S{digest}", "--", "data.dvc"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        for commit in done.stdout.split():
            shown = ["git", "-C", str(self._project), "show", f"{commit}:./data.dvc"]
            if digest in subprocess.run(shown, capture_output=True, text=True, check=False).stdout:
                return commit
        self._missing.append(f"no commit of the repository at {self._project.resolve()} has a data.dvc with this data")
        return None


def _environment(tags: Mapping[str, str]) -> dict[str, str]:
    prefix = "environment."
    return {key.removeprefix(prefix): value for key, value in tags.items() if key.startswith(prefix)}


def _run_facts(run: "Run") -> dict[str, Any]:
    return {"id": run.info.run_id, "name": run.info.run_name, "status": run.info.status}

"""A pipeline run's own MLflow run, in which its stages' runs lie: made once, named, and closed with its last one."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from qure.tracking.connection import every
from qure.tracking.identity import commit, environment
from qure.tracking.lock import LockLost, RegistryLock, registry_lock
from qure.tracking.pages import NOTE, pipeline_name, pipeline_note
from qure.tracking.redaction import redacted
from qure.tracking.tags import (
    COMMIT,
    DATA,
    GIT_COMMIT,
    GIVEN_NAME,
    PARENT,
    PIPELINE,
    ROLE,
    RUN_NAME,
    TRAINING_SETS,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def find_or_create(client: "MlflowClient", experiment: str, pipeline: str, data: str) -> str:
    """Id of the pipeline run's own run.

    Stages may start at the same moment on two machines, and MLflow gives every new run a new id: it is made under a
    lock, after a second look.
    """
    tags = {PIPELINE: pipeline, ROLE: "pipeline"}
    found = find_runs(client, experiment, tags)
    if found:
        return str(found[0].info.run_id)
    with registry_lock(client, f"pipeline-runs.{experiment}", wait=300.0) as lock:
        found = find_runs(client, experiment, tags)
        if found:
            return str(found[0].info.run_id)
        lock.check()
        facts = tags | facts_of(pipeline, data)
        name = pipeline_name([], datetime.now(UTC), facts[COMMIT])
        facts |= {RUN_NAME: name, GIVEN_NAME: name, NOTE: pipeline_note(facts[DATA], facts[COMMIT])}
        own = client.create_run(experiment, tags=facts, run_name=name)
        return _agreed(client, experiment, tags, own.info.run_id, lock)


def name_after(client: "MlflowClient", parent: str, training_set: str | None) -> None:
    """Adds a training set to the pipeline run's name, unless a person has named it otherwise."""
    if not training_set:
        return
    run = client.get_run(parent)
    tags = run.data.tags
    if tags.get(RUN_NAME) != tags.get(GIVEN_NAME):
        return
    begun = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    sets = [*tags.get(TRAINING_SETS, "").split(), training_set]
    name = pipeline_name(sets, begun, tags.get(COMMIT, ""))
    if name != tags.get(GIVEN_NAME):
        client.set_tag(parent, TRAINING_SETS, " ".join(sorted(set(sets))))
        client.set_tag(parent, GIVEN_NAME, name)
        client.update_run(parent, name=name)


def settle(client: "MlflowClient", run: "Run") -> None:
    """The pipeline run's status follows from its stages': failed if one has failed, running while one runs.

    Stages that end together ask and write in any order, and one of them may write what another has overtaken. So each
    asks again after it has written: whoever writes last has seen all.
    """
    parent = run.data.tags[PARENT]
    written = None
    while (status := _joint_status(client, run.info.experiment_id, parent)) != written:
        if status == "RUNNING":
            client.update_run(parent, status=status)
        else:
            client.set_terminated(parent, status)
        written = status


def _joint_status(client: "MlflowClient", experiment: str, parent: str) -> str:
    condition = f"tags.`{PARENT}` = '{parent}' and tags.`{ROLE}` = 'stage'"
    for status in ("RUNNING", "FAILED", "KILLED"):
        if client.search_runs([experiment], f"{condition} and attributes.status = '{status}'", max_results=1):
            return status
    return "FINISHED"


def find_runs(client: "MlflowClient", experiment: str, tags: Mapping[str, str]) -> "list[Run]":
    """Active runs with these tags, oldest first."""
    condition = " and ".join(f"tags.`{key}` = '{value}'" for key, value in tags.items() if value)
    found = every(client.search_runs, [experiment], condition, order_by=["attributes.start_time ASC"], max_results=1000)
    # MLflow cannot search for the absence of a tag.
    same = [run for run in found if all(run.data.tags.get(key, "") == value for key, value in tags.items())]
    return sorted(same, key=lambda run: (run.info.start_time, run.info.run_id))


def facts_of(pipeline: str, data: str) -> dict[str, str]:
    """Tags of every run: which pipeline run, code, data and environment."""
    code = commit()
    facts = {PIPELINE: pipeline, COMMIT: code, DATA: redacted(data)}
    facts |= {f"environment.{name}": value for name, value in environment().items()}
    if re.match(r"[0-9a-f]{40}\b", code):
        facts[GIT_COMMIT] = code[:40]
    return facts


def _agreed(client: "MlflowClient", experiment: str, tags: dict[str, str], own: str, lock: RegistryLock) -> str:
    """The parent that a process has made, unless it had lost the lock before and another one has made one too."""
    try:
        lock.check()
    except LockLost:
        others = [run.info.run_id for run in find_runs(client, experiment, tags) if run.info.run_id != own]
        if others:
            client.delete_run(own)
            return str(others[0])
    return own

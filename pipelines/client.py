"""Submits and schedules pipelines; the same name always means one thing, however often a command is given.

Works against the Kubeflow Pipelines API, version 2.17. The address and the token come from the environment:
KF_PIPELINES_ENDPOINT, KF_PIPELINES_TOKEN.
"""

import contextlib
import io
import json
import logging
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.config import Schedule, Service
from pipelines.versions import Upload, upload_of
from qure.errors import BadInput, StageFailed

logger = logging.getLogger(__name__)

ENDPOINT_VARIABLE = "KF_PIPELINES_ENDPOINT"
TOKEN_VARIABLE = "KF_PIPELINES_TOKEN"
PAGE = 100

#: States of a run that is over and did not do what it was for.
UNSUCCESSFUL = {"FAILED", "CANCELED", "SKIPPED"}
ACTIVE = {"PENDING", "RUNNING", "PAUSED", "CANCELING", "RUNTIME_STATE_UNSPECIFIED", None}


@dataclass(frozen=True)
class Done:
    """What a command found or did.

    Attributes:
        what: "created", "updated", "unchanged" or "deleted".
        id: of the run or schedule; empty when nothing is there.
    """

    what: str
    id: str = ""


@dataclass(frozen=True)
class Version:
    """An uploaded pipeline version.

    Attributes:
        pipeline_id, version_id: Kubeflow's.
        digest: of the compiled file; the version's name ends with it.
    """

    pipeline_id: str
    version_id: str
    digest: str


class PipelinesService:
    """One Kubeflow Pipelines installation.

    Args:
        service: namespace, experiment and service account.

    Raises:
        BadInput: no address is set.
        StageFailed: nothing answers there.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._client = _connect(service)

    def upload(self, package: Path) -> Version:
        """Makes a compiled pipeline known; the same file is uploaded once.

        A version's name ends with the file's digest, so it tells whether it is there (`pipelines.versions`).
        """
        told = upload_of(package)
        with _translated():
            pipeline_id = self._client.get_pipeline_id(told.pipeline) or self._new_pipeline(told)
            found = [one for one in self._versions(pipeline_id) if told.is_version(one.display_name or one.name)]
            if not found:
                found = [
                    self._quietly(
                        self._client.upload_pipeline_version,
                        str(package),
                        pipeline_version_name=told.version,
                        pipeline_id=pipeline_id,
                        description=told.change,
                    )
                ]
        return Version(pipeline_id, found[0].pipeline_version_id, told.digest)

    def _new_pipeline(self, told: Upload) -> str:
        """A pipeline without a version: an upload would make one of its own, named like the pipeline."""
        import kfp_server_api

        wanted = kfp_server_api.V2beta1Pipeline(
            display_name=told.pipeline, description=told.about, namespace=self._service.namespace
        )
        return str(self._client._pipelines_api.pipeline_service_create_pipeline(wanted).pipeline_id)

    def submit(self, name: str, version: Version, parameters: dict[str, Any], *, replace: bool = False) -> Done:
        """Starts a run of this name, unless one is under way or has succeeded.

        Args:
            name: the run's name.
            version: from `upload`.
            parameters: the pipeline's arguments.
            replace: stop a run of this name that does something else, and start this one in its place.

        Returns:
            "unchanged" when a run of this name with the same version and parameters is active or has succeeded;
            "updated" when one that failed, or that `replace` allows to stop, was archived in favour of a new one.

        Raises:
            BadInput: a run of this name that is active or has succeeded does something else, and `replace` is off.
        """
        with _translated():
            experiment = self._experiment()
            wanted = {"version": version.version_id, "parameters": parameters}
            existing = self._runs(experiment, name)
            same = [run for run in existing if run.state not in UNSUCCESSFUL and _as_run(run) == wanted]
            if same:
                return Done("unchanged", same[0].run_id)
            self._make_room(existing, name, replace=replace)
            run = self._quietly(
                self._client.run_pipeline,
                experiment_id=experiment,
                job_name=name,
                params=parameters,
                pipeline_id=version.pipeline_id,
                version_id=version.version_id,
                service_account=self._service.service_account,
            )
        return Done("updated" if existing else "created", run.run_id)

    def schedule(self, name: str, schedule: Schedule, version: Version, parameters: dict[str, Any]) -> Done:
        """Makes a recurring run of this name be as described: one, whether there was none, one, or several.

        The API can't change a recurring run. The new one is created before the old ones are deleted, so that a
        failure in between leaves a schedule too many (the next call removes it) and never none.
        """
        with _translated():
            experiment = self._experiment()
            wanted = {
                "version": version.version_id,
                "parameters": parameters,
                "cron": schedule.cron,
                "enabled": schedule.enabled,
                "max_concurrency": schedule.max_concurrency,
                "no_catchup": not schedule.catch_up,
                "service_account": self._service.service_account or "",
            }
            existing = self._recurring_runs(experiment, name)
            same = [run for run in existing if _as_schedule(run) == wanted]
            keep = same[0] if same else self._create_recurring_run(experiment, name, schedule, version, parameters)
            for run in existing:
                if run.recurring_run_id != keep.recurring_run_id:
                    self._client.delete_recurring_run(run.recurring_run_id)
        if same and len(existing) == 1:
            return Done("unchanged", keep.recurring_run_id)
        return Done("updated" if existing else "created", keep.recurring_run_id)

    def unschedule(self, name: str) -> list[Done]:
        """Deletes every recurring run of this name; none is fine."""
        with _translated():
            found = self._recurring_runs(self._experiment(), name)
            for run in found:
                self._client.delete_recurring_run(run.recurring_run_id)
        return [Done("deleted", run.recurring_run_id) for run in found]

    def stop(self, name: str) -> list[Done]:
        """Stops active runs of this name and archives all of them; none is fine."""
        with _translated():
            found = self._runs(self._experiment(), name)
            for run in found:
                self._retire(run)
        return [Done("deleted", run.run_id) for run in found]

    def status(self, name: str | None = None, *, runs: int = 10) -> dict[str, list[dict[str, Any]]]:
        """Schedules and the latest runs, of one name or of the whole experiment."""
        with _translated():
            experiment = self._experiment()
            schedules = [_schedule_row(run) for run in self._recurring_runs(experiment, name)]
            latest = self._runs(experiment, name, sort_by="created_at desc", most=runs)
            return {"schedules": schedules, "runs": [_run_row(run) for run in latest]}

    def _experiment(self) -> str:
        created = self._quietly(
            self._client.create_experiment, self._service.experiment, namespace=self._service.namespace
        )
        return str(created.experiment_id)

    def _create_recurring_run(
        self, experiment: str, name: str, schedule: Schedule, version: Version, parameters: dict[str, Any]
    ) -> Any:
        return self._client.create_recurring_run(
            experiment_id=experiment,
            job_name=name,
            cron_expression=schedule.cron,
            max_concurrency=schedule.max_concurrency,
            no_catchup=not schedule.catch_up,
            params=parameters,
            pipeline_id=version.pipeline_id,
            version_id=version.version_id,
            enabled=schedule.enabled,
            service_account=self._service.service_account,
        )

    def _make_room(self, existing: list[Any], name: str, *, replace: bool) -> None:
        occupied = [run for run in existing if run.state not in UNSUCCESSFUL]
        if occupied and not replace:
            raise BadInput(
                f"a run {name!r} is {str(occupied[0].state).lower()} with another version or other parameters",
                remedy="Give this one another --name, or --replace the other",
            )
        for run in existing:
            self._retire(run)

    def _retire(self, run: Any) -> None:
        if run.state in ACTIVE:
            self._client.terminate_run(run.run_id)
        self._client.archive_run(run.run_id)

    def _versions(self, pipeline_id: str) -> list[Any]:
        return _all_pages(
            lambda token: self._client.list_pipeline_versions(pipeline_id, page_token=token, page_size=PAGE),
            "pipeline_versions",
        )

    def _runs(self, experiment: str, name: str | None, *, sort_by: str = "", most: int | None = None) -> list[Any]:
        found = _all_pages(
            lambda token: self._client.list_runs(
                page_token=token, page_size=PAGE, sort_by=sort_by, experiment_id=experiment, filter=_named(name)
            ),
            "runs",
            most=most,
        )
        return [run for run in found if run.storage_state != "ARCHIVED"]

    def _recurring_runs(self, experiment: str, name: str | None) -> list[Any]:
        return _all_pages(
            lambda token: self._client.list_recurring_runs(
                page_token=token, page_size=PAGE, experiment_id=experiment, filter=_named(name)
            ),
            "recurring_runs",
        )

    @staticmethod
    def _quietly(call: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        """kfp's client prints links; what this project prints is its own."""
        with contextlib.redirect_stdout(io.StringIO()):
            return call(*arguments, **options)


def _connect(service: Service) -> Any:
    import warnings

    host = os.environ.get(ENDPOINT_VARIABLE, "").strip()
    if not host:
        raise BadInput(
            "the address of Kubeflow Pipelines is not set",
            field=ENDPOINT_VARIABLE,
            remedy=f"export {ENDPOINT_VARIABLE}=https://... (docs/runbook.md, Install)",
        )
    token = os.environ.get(TOKEN_VARIABLE) or None
    _require_answer(host, token)
    import kfp

    with warnings.catch_warnings(), _translated():
        warnings.simplefilter("ignore")
        return kfp.Client(host=host, existing_token=token, namespace=service.namespace or "kubeflow")


def _require_answer(host: str, token: str | None) -> None:
    """kfp's own check takes half a minute to say less."""
    address = host if host.startswith("http") else f"https://{host}"
    request = urllib.request.Request(f"{address.rstrip('/')}/apis/v2beta1/healthz")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10):
            return
    except urllib.error.HTTPError as error:
        problem = f"{error.code} {error.reason}"
    except (OSError, ValueError) as error:
        problem = str(getattr(error, "reason", error))
    raise StageFailed(
        f"Kubeflow Pipelines at {address} does not answer: {problem}. Check {ENDPOINT_VARIABLE} and {TOKEN_VARIABLE}"
    )


@contextlib.contextmanager
def _translated() -> Iterator[None]:
    """Turns the client's errors into one message each."""
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise StageFailed(f"Kubeflow Pipelines answered {error.status} {error.reason}: {_message(error)}") from None
    except HTTPError as error:
        raise StageFailed(f"Kubeflow Pipelines does not answer: {error}") from None


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (TypeError, ValueError, KeyError):
        return "no further details"


def _all_pages(list_page: Callable[[str], Any], field: str, *, most: int | None = None) -> list[Any]:
    found: list[Any] = []
    token = ""
    while True:
        page = list_page(token)
        found += getattr(page, field) or []
        token = page.next_page_token or ""
        if not token or (most is not None and len(found) >= most):
            return found[:most]


def _named(name: str | None) -> str | None:
    if name is None:
        return None
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": name}]})


def _as_run(run: Any) -> dict[str, Any]:
    reference, config = run.pipeline_version_reference, run.runtime_config
    return {
        "version": reference.pipeline_version_id if reference else None,
        "parameters": dict(config.parameters or {}) if config else {},
    }


def _as_schedule(run: Any) -> dict[str, Any]:
    return _as_run(run) | {
        "cron": run.trigger.cron_schedule.cron if run.trigger and run.trigger.cron_schedule else None,
        "enabled": run.mode == "ENABLE",
        "max_concurrency": int(run.max_concurrency or 0),  # int64: a string in JSON
        "no_catchup": bool(run.no_catchup),
        "service_account": run.service_account or "",
    }


def _schedule_row(run: Any) -> dict[str, Any]:
    stated = _as_schedule(run)
    return {
        "name": run.display_name,
        "id": run.recurring_run_id,
        "cron": stated["cron"],
        "enabled": stated["enabled"],
        "status": run.status,
    }


def _run_row(run: Any) -> dict[str, Any]:
    return {
        "name": run.display_name,
        "id": run.run_id,
        "state": run.state,
        "created": str(run.created_at or ""),
        "finished": str(run.finished_at or ""),
    }

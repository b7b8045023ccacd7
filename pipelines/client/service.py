"""One installation of Kubeflow Pipelines: upload, submit, resume, schedule, stop, show."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipelines.client import ending, uploads
from pipelines.client.connection import all_pages, connect, equals, only, translated
from pipelines.client.runs import (
    ACTIVE,
    DEFAULT_ACCOUNTS,
    UNSUCCESSFUL,
    as_run,
    as_schedule,
    was_made_by,
)
from pipelines.client.status import run_row, schedule_row, task_rows, workflow_of
from pipelines.client.uploads import Version
from pipelines.config import Schedule, Service
from qure.errors import BadInput


@dataclass(frozen=True)
class Done:
    """What a command found or did.

    Attributes:
        what: "created", "updated", "resumed", "unchanged" or "deleted".
        id: of the run or schedule; empty when nothing is there.
    """

    what: str
    id: str = ""


class PipelinesService:
    """One Kubeflow Pipelines installation.

    Args:
        service: namespace, experiment and service account.

    Raises:
        BadInput: no address is set, or no namespace where there are namespaces.
        StageFailed: nothing answers there.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._api = connect(service)

    @property
    def namespace(self) -> str | None:
        """Where everything lies; None on an installation for one user, whatever is configured."""
        return self._api.namespace

    def upload(self, package: Path) -> Version:
        """Makes a compiled pipeline known; the same file is uploaded once.

        A version's name ends with the file's digest, so it tells whether it is there (`pipelines.versions`). Where
        there are namespaces it is looked for in the configured one, then among the pipelines that all share, and
        uploaded to the former.
        """
        with translated():
            return uploads.upload(self._api, package)

    def submit(self, name: str, version: Version, parameters: dict[str, Any], *, replace: bool = False) -> Done:
        """Starts a run of this name, unless one is under way or has succeeded; goes on with one that failed.

        Args:
            name: the run's name.
            version: from `upload`.
            parameters: the pipeline's arguments.
            replace: stop a run of this name that does something else, and start this one in its place.

        Returns:
            "unchanged" when a run of this name with the same version and parameters is active or has succeeded;
            "resumed" when it had failed and goes on with what had not succeeded;
            "updated" when others of this name were archived in favour of a new one.

        Raises:
            BadInput: a run of this name that is active or has succeeded does something else, and `replace` is off.
        """
        import kfp_server_api

        with translated():
            experiment = uploads.experiment_id(self._api, self._service.experiment)
            wanted = {"version": version.version_id, "parameters": parameters}
            existing = self._runs(experiment, filter=equals("display_name", name), sort_by="created_at desc")
            same = [run for run in existing if as_run(run) == wanted]
            done = [run for run in same if run.state in ACTIVE or run.state == "SUCCEEDED"]
            if done:
                return Done("unchanged", done[0].run_id)
            self._refuse_occupied(existing, name, replace=replace)
            failed = next((run for run in same if run.state in UNSUCCESSFUL), None)
            resumed = failed is not None and ending.retried(self._api, failed)
            for run in existing:
                if not (resumed and run is failed):
                    ending.retire(self._api, run)
            if failed is not None and resumed:
                return Done("resumed", failed.run_id)
            run = self._api.runs.run_service_create_run(
                kfp_server_api.V2beta1Run(
                    display_name=name, experiment_id=experiment, **self._work(version, parameters)
                )
            )
        return Done("updated" if existing else "created", run.run_id)

    def resume(self, name: str) -> Done:
        """Goes on with a failed run: what had succeeded is kept, the rest runs again.

        Args:
            name: a run's name or id, or a schedule's, when one run of it has failed.

        Raises:
            BadInput: there is no run of this name, or none that failed, or several.
            StageFailed: the installation does not take it up, for example because it is still being stopped.
        """
        with translated():
            found = self._runs_of(uploads.experiment_id(self._api, self._service.experiment), name)
            if not found:
                raise BadInput(f"there is no run {name!r}", remedy="qure-pipelines status shows those that there are")
            active = [run for run in found if run.state in ACTIVE]
            failed = [run for run in found if run.state in UNSUCCESSFUL]
            if not failed and active:
                return Done("unchanged", active[0].run_id)
            if not failed:
                raise BadInput(f"no run {name!r} has failed: it is {str(found[0].state).lower()}")
            run = only(failed, f"failed runs of {name!r}", "run_id", "Name one by its id: qure-pipelines resume ID")
            self._api.runs.run_service_retry_run(run.run_id)
        return Done("resumed", run.run_id)

    def schedule(
        self, name: str, schedule: Schedule, version: Version, parameters: dict[str, Any], *, stop: bool = False
    ) -> Done:
        """Makes a recurring run of this name be as described: one, whether there was none, one, or several.

        The API can't change a recurring run. The new one is created before the old ones are deleted, so that a
        failure in between leaves a schedule too many (the next call removes it) and never none. A run of the old one
        that is under way goes on to its end.

        Args:
            name: the recurring run's.
            schedule: when.
            version: what.
            parameters: the pipeline's arguments.
            stop: end the old one's runs that are under way.
        """
        with translated():
            experiment = uploads.experiment_id(self._api, self._service.experiment)
            wanted = as_run_of(version, parameters) | {
                "cron": schedule.cron,
                "enabled": schedule.enabled,
                "max_concurrency": schedule.max_concurrency,
                "no_catchup": not schedule.catch_up,
            }
            existing = self._recurring_runs(experiment, name)
            alike = [run for run in existing if as_schedule(run) == wanted]
            keep = next((run for run in alike if self._has_account(run)), None)
            created = None
            if keep is None:
                created = keep = self._create_recurring_run(experiment, name, schedule, version, parameters)
                # Where none is configured, only the server knows what it gives: one that has it already may stay.
                given = keep.service_account
                twin = next((run for run in alike if run.service_account == given), None)
                if self._service.service_account is None and twin is not None:
                    self._delete_recurring_run(created, stop=False)
                    created, keep = None, twin
            for run in existing:
                if run.recurring_run_id != keep.recurring_run_id:
                    self._delete_recurring_run(run, stop=stop)
        if created is None and len(existing) == 1:
            return Done("unchanged", keep.recurring_run_id)
        return Done("updated" if existing else "created", keep.recurring_run_id)

    def unschedule(self, name: str, *, stop: bool = False) -> list[Done]:
        """Deletes every recurring run of this name; none is fine. Its runs go on unless `stop`."""
        with translated():
            found = self._recurring_runs(uploads.experiment_id(self._api, self._service.experiment), name)
            for run in found:
                self._delete_recurring_run(run, stop=stop)
        return [Done("deleted", run.recurring_run_id) for run in found]

    def stop(self, name: str) -> list[Done]:
        """Stops active runs of this name, or of the schedule of this name, and archives all of them; none is fine."""
        with translated():
            found = self._runs_of(uploads.experiment_id(self._api, self._service.experiment), name)
            for run in found:
                ending.retire(self._api, run)
        return [Done("deleted", run.run_id) for run in found]

    def status(self, name: str | None = None, *, runs: int = 10) -> dict[str, list[dict[str, Any]]]:
        """Schedules and the latest runs, of one name or of the whole experiment; one name's runs with their tasks."""
        with translated():
            experiment = uploads.experiment_id(self._api, self._service.experiment)
            schedules = [schedule_row(run) for run in self._recurring_runs(experiment, name)]
            if name is None:
                found = self._runs(experiment, sort_by="created_at desc", most=runs)
                return {"schedules": schedules, "runs": [run_row(run) for run in found]}
            rows = []
            for run in self._runs_of(experiment, name)[:runs]:
                whole = self._api.runs.run_service_get_run(run.run_id)
                rows.append(run_row(whole) | {"workflow": workflow_of(whole), "tasks": task_rows(whole)})
            return {"schedules": schedules, "runs": rows}

    def _work(self, version: Version, parameters: dict[str, Any]) -> dict[str, Any]:
        import kfp_server_api

        return {
            "pipeline_version_reference": kfp_server_api.V2beta1PipelineVersionReference(
                pipeline_id=version.pipeline_id, pipeline_version_id=version.version_id
            ),
            "runtime_config": kfp_server_api.V2beta1RuntimeConfig(parameters=parameters),
            "service_account": self._service.service_account,
        }

    def _create_recurring_run(
        self, experiment: str, name: str, schedule: Schedule, version: Version, parameters: dict[str, Any]
    ) -> Any:
        import kfp_server_api

        cron = kfp_server_api.V2beta1CronSchedule(cron=schedule.cron)
        return self._api.recurring_runs.recurring_run_service_create_recurring_run(
            kfp_server_api.V2beta1RecurringRun(
                display_name=name,
                experiment_id=experiment,
                trigger=kfp_server_api.V2beta1Trigger(cron_schedule=cron),
                mode="ENABLE" if schedule.enabled else "DISABLE",
                max_concurrency=str(schedule.max_concurrency),
                no_catchup=not schedule.catch_up,
                **self._work(version, parameters),
            )
        )

    def _has_account(self, run: Any) -> bool:
        configured = self._service.service_account
        given = run.service_account or ""
        return given == configured if configured is not None else given in DEFAULT_ACCOUNTS

    def _delete_recurring_run(self, run: Any, *, stop: bool) -> None:
        """Deletes a recurring run; its Workflows stay, because a run whose Workflow is gone never ends."""
        if stop:
            self._stop_runs_of(run)
        self._api.recurring_runs.recurring_run_service_delete_recurring_run(
            run.recurring_run_id, propagation_policy="ORPHAN"
        )

    def _stop_runs_of(self, recurring: Any) -> None:
        for run in self._runs(recurring.experiment_id, filter=equals("recurring_run_id", recurring.recurring_run_id)):
            if run.state in ACTIVE:
                ending.terminate(self._api, run.run_id)

    @staticmethod
    def _refuse_occupied(existing: list[Any], name: str, *, replace: bool) -> None:
        occupied = [run for run in existing if run.state in ACTIVE or run.state == "SUCCEEDED"]
        if occupied and not replace:
            raise BadInput(
                f"a run {name!r} is {str(occupied[0].state).lower()} with another version or other parameters",
                remedy="Give this one another --name, or --replace the other",
            )

    def _runs(self, experiment: str, *, most: int | None = None, **query: Any) -> list[Any]:
        """Runs of the experiment that are not archived."""
        return all_pages(
            self._api.runs.run_service_list_runs,
            "runs",
            wanted=lambda run: run.storage_state != "ARCHIVED",
            most=most,
            experiment_id=experiment,
            **query,
        )

    def _runs_of(self, experiment: str, name: str) -> list[Any]:
        """Runs of this name or id, and those of schedules of this name, also of deleted ones; the latest first."""
        schedules = {run.recurring_run_id: run.display_name for run in self._recurring_runs(experiment, None)}

        def belongs(run: Any) -> bool:
            if name in (run.display_name, run.run_id):
                return True
            if run.recurring_run_id in schedules:
                return bool(schedules[run.recurring_run_id] == name)
            return was_made_by(run, name)

        return [run for run in self._runs(experiment, sort_by="created_at desc") if belongs(run)]

    def _recurring_runs(self, experiment: str, name: str | None) -> list[Any]:
        return all_pages(
            self._api.recurring_runs.recurring_run_service_list_recurring_runs,
            "recurring_runs",
            experiment_id=experiment,
            filter=None if name is None else equals("display_name", name),
        )


def as_run_of(version: Version, parameters: dict[str, Any]) -> dict[str, Any]:
    """What a run of a version does, in the form of `as_run`."""
    return {"version": version.version_id, "parameters": parameters}

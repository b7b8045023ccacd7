"""The operations of the stand-in for the Kubeflow Pipelines API: what each answers and refuses, and what it changes."""

import datetime
import uuid
from typing import Any

from qure_tests_kfp_checks import Refused, check_arguments, check_listing, matches, unknown

from pipelines.cron import check_cron

#: What the server gives as the time of something that has not happened.
NEVER = "1970-01-01T00:00:00Z"
_DENIED = (
    "PermissionDenied: User '{user}' is not authorized with reason:  (request: &ResourceAttributes{{Namespace:{space},"
    "Verb:{verb},Group:pipelines.kubeflow.org,Version:v1beta1,Resource:{kind},Subresource:,Name:,FieldSelector:nil,"
    "LabelSelector:nil,}})"
)


class Operations:
    """The state and the operations, each called as its route names it.

    Args:
        page_size: most entries of a page, whatever is asked for.
        multi_user: everything lies in namespaces.
        members: namespace -> users who may use it.
        account: service account of runs that name none.
    """

    def __init__(self, page_size: int, *, multi_user: bool, members: dict[str, set[str]], account: str) -> None:
        self.experiments: dict[str, dict[str, Any]] = {}
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring_runs: dict[str, dict[str, Any]] = {}
        #: Runs whose Workflow object is in the cluster.
        self.workflows: set[str] = set()
        self.page_size, self.multi_user, self.members, self.account = page_size, multi_user, members, account
        self._user: str | None = "owner"

    def healthz(self) -> Any:
        told = {"commit_sha": "unknown", "tag_name": "unknown", "pipeline_store": "database"}
        return told | {"multi_user": self.multi_user}

    def create_experiment(self, body: dict[str, Any]) -> Any:
        name, space = body.get("display_name", ""), body.get("namespace") or ""
        self._authorize(
            "create",
            "experiments",
            space,
            "An experiment cannot",
            "Failed to create a experiment: Failed to authorize the request",
        )
        if any(one["display_name"] == name and one.get("namespace", "") == space for one in self.experiments.values()):
            cause = f"Failed to create a new experiment. The name {name} already exists. Please specify a new name"
            raise Refused(409, f"Failed to create a experiment: Already exist error: {cause}", cause=cause)
        content = {"display_name": name} | ({"namespace": space} if space else {})
        return _store(self.experiments, "experiment_id", content, storage_state="AVAILABLE", last_run_created_at=NEVER)

    def list_experiments(self, **query: Any) -> Any:
        doing = "List experiments failed: Failed to authorize with API"
        self._authorize("list", "experiments", query.get("namespace", ""), "An experiment cannot", doing)
        return self._page("experiments", list(self.experiments.values()), query)

    def get_experiment(self, experiment_id: str) -> Any:
        return _get(self.experiments, experiment_id, "Failed to get an experiment", "Experiment")

    def list_pipelines(self, **query: Any) -> Any:
        # Shared pipelines are in no namespace: both are found only where they are.
        found = [one for one in self.pipelines.values() if one.get("namespace", "") == query.get("namespace", "")]
        return self._page("pipelines", found, query)

    def create_pipeline(self, body: dict[str, Any]) -> Any:
        name, space = body["display_name"], body.get("namespace") or ""
        if space:
            doing = "Failed to create a pipeline: Failed to authorize with API"
            self._authorize("create", "pipelines", space, "A pipeline cannot", doing)
        if any(one["name"] == name and one.get("namespace", "") == space for one in self.pipelines.values()):
            raise Refused(409, "Failed to create a pipeline")
        return _store(self.pipelines, "pipeline_id", body | {"name": name})

    def get_pipeline(self, pipeline_id: str) -> Any:
        return _get(self.pipelines, pipeline_id, "Failed to get a pipeline", "Pipeline")

    def delete_pipeline(self, pipeline_id: str, cascade: bool = False) -> Any:
        versions = [one for one in self.versions.values() if one["pipeline_id"] == pipeline_id]
        if versions and not cascade:
            first = min(versions, key=lambda one: (one["created_at"], len(one["name"])))["pipeline_version_id"]
            cause = (
                f"Failed to delete pipeline with id {pipeline_id} as it has existing pipeline versions (e.g. {first}). "
                "Set cascade=true to delete all versions"
            )
            doing = f"Failed to delete pipeline {pipeline_id}. Check error stack"
            raise Refused(400, f"{doing}: Invalid input error: {cause}", cause=cause)
        del self.pipelines[pipeline_id]
        return {}

    def upload_pipeline(
        self, package: dict[str, Any], name: str = "", display_name: str = "", namespace: str = "", **other: Any
    ) -> Any:
        name = name or display_name
        if self.multi_user and namespace and self._user not in self.members.get(namespace, set()):
            raise Refused(400, "Failed to create a pipeline")
        if any(one["name"] == name and one.get("namespace", "") == namespace for one in self.pipelines.values()):
            raise Refused(409, "Failed to create a pipeline and a pipeline version")
        content = {"display_name": name, "name": name} | ({"namespace": namespace} if namespace else {})
        pipeline = _store(self.pipelines, "pipeline_id", content)
        self._add_version(pipeline["pipeline_id"], name, package)
        return pipeline

    def upload_version(
        self, package: dict[str, Any], pipelineid: str = "", name: str = "", description: str = "", **other: Any
    ) -> Any:
        if pipelineid not in self.pipelines:
            raise Refused(400, "Failed to create a pipeline version")
        return self._add_version(pipelineid, name, package, description)

    def _add_version(self, pipeline_id: str, name: str, package: dict[str, Any], description: str = "") -> Any:
        if any(one["pipeline_id"] == pipeline_id and one["name"] == name for one in self.versions.values()):
            raise Refused(409, "Failed to create a pipeline version")
        content = {"pipeline_id": pipeline_id, "display_name": name, "name": name, "pipeline_spec": package}
        content |= {"description": description} if description else {}
        return _store(self.versions, "pipeline_version_id", content)

    def list_versions(self, pipeline_id: str, **query: Any) -> Any:
        found = [one for one in self.versions.values() if one["pipeline_id"] == pipeline_id]
        return self._page("pipeline_versions", found, query)

    def create_run(self, body: dict[str, Any], experiment_id: str = "") -> Any:
        doing = "Failed to create a new run"
        if not body.get("display_name"):
            convert = "CreateJob(job.ToV2())Failed to create a run due to conversion error: InternalServerError"
            what = "Failed to convert a API run detail to its internal representation"
            raise Refused(500, f"{convert}: {what}: Invalid input error: Run name cannot be empty")
        if self.multi_user and not body.get("experiment_id"):
            cause = "Experiment id can not be empty in multi-user mode"
            what = "Failed to create a run due to invalid experimentId and namespace combination"
            raise Refused(400, f"{doing}: {what}: Invalid input error: {cause}", cause=cause)
        spec = self._spec(body, doing)
        given = (body.get("runtime_config") or {}).get("parameters") or {}
        check_arguments(spec, given, f"{doing}: Failed to generate the ExecutionSpec", whole=True)
        now = time_now()
        run = _store(
            self.runs,
            "run_id",
            {"service_account": self.account} | {key: value for key, value in body.items() if value is not None},
            storage_state="AVAILABLE",
            scheduled_at=now,
            finished_at=NEVER,
            state="PENDING",
            state_history=[{"update_time": now, "state": "PENDING"}],
        )
        self.workflows.add(run["run_id"])
        return run

    def list_runs(self, **query: Any) -> Any:
        space, experiment = query.get("namespace", ""), query.get("experiment_id", "")
        if experiment:
            space = self.experiments.get(experiment, {}).get("namespace", "")
        where = f"Check if you have permission to access namespace {space}"
        doing = f"Failed to list runs: Failed to list runs due to authorization error. {where}"
        self._authorize("list", "runs", space, "A run cannot", doing, access="run")
        found = [run for run in self.runs.values() if not self.multi_user or self._space_of(run) == space]
        return self._page("runs", found, query)

    def get_run(self, run_id: str, experiment_id: str = "") -> Any:
        return _get(self.runs, run_id, "Failed to get a run: Failed to fetch run {}", "Run")

    def delete_run(self, run_id: str, experiment_id: str = "") -> Any:
        self.get_run(run_id)
        del self.runs[run_id]
        self.workflows.discard(run_id)
        return {}

    def terminate_run(self, run_id: str, experiment_id: str = "") -> Any:
        doing = f"Failed to terminate a run: Failed to terminate run {run_id}"
        fetching = f"{doing} due to error fetching the run: Failed to fetch run {{}}"
        run = _get(self.runs, run_id, fetching, "Run")
        if run["state"] not in ("PENDING", "RUNNING"):
            cause = f"Failed to terminate a run {run_id}. Row not found"
            raise Refused(400, f"{doing}: Invalid input error: {cause}", cause=cause)
        if run_id in self.workflows:
            self.move(run_id, "CANCELING")
            return {}
        # The state is written before the Workflow is looked for, and not into the history.
        run["state"] = "CANCELING"
        raise Refused(500, f"{doing}: InternalServerError: the workflow was not found")

    def archive_run(self, run_id: str, experiment_id: str = "") -> Any:
        _get(self.runs, run_id, "Failed to archive a run: Failed to fetch run {}", "Run")["storage_state"] = "ARCHIVED"
        return {}

    def retry_run(self, run_id: str, experiment_id: str = "") -> Any:
        doing = f"Failed to retry a run: Failed to retry run {run_id}"
        fetching = f"{doing} due to error fetching the run: Failed to fetch run {{}}"
        run = _get(self.runs, run_id, fetching, "Run")
        if run["state"] != "FAILED":
            cause = "Workflow must be Failed/Error to retry"
            raise Refused(409, f"{doing}: BadRequestError: {cause}: workflow cannot be retried", cause=cause, code=10)
        self.move(run_id, "RUNNING")
        run["finished_at"] = NEVER
        self.workflows.add(run_id)  # made again under its old name where it had been collected
        return {}

    def create_recurring_run(self, body: dict[str, Any]) -> Any:
        converting = "Failed to create a recurring run due to conversion error: Invalid input error"
        most = int(body.get("max_concurrency") or 0)
        if not 1 <= most <= 10:
            cause = f"Max concurrency of a recurring run must be at least 1 and at most 10. Received {most}"
            raise Refused(400, f"{converting}: {cause}", cause=cause)
        cron = (body["trigger"].get("cron_schedule") or {}).get("cron")
        try:
            if cron is not None:
                check_cron(cron)
        except ValueError as error:
            form = "Schedule cron is not a supported format(https://godoc.org/github.com/robfig/cron)"
            cause = f"{form}. Error: {error}"
            raise Refused(400, f"{converting}: {cause}", cause=cause) from None
        doing = "Failed to create a recurring run"
        given = (body.get("runtime_config") or {}).get("parameters") or {}
        doing_it = f"{doing}: Failed to create a recurring run during scheduled workflow creation"
        check_arguments(self._spec(body, doing), given, doing_it, whole=False)
        content = {"service_account": self.account} | {key: value for key, value in body.items() if value is not None}
        # int64 travels as a string
        content |= {"max_concurrency": str(most), "status": f"{body['mode']}D", "updated_at": time_now()}
        content["namespace"] = self._space_of(body) or "kubeflow"
        if not given:
            content.pop("runtime_config", None)
        return _store(self.recurring_runs, "recurring_run_id", content)

    def list_recurring_runs(self, **query: Any) -> Any:
        found = list(self.recurring_runs.values())
        if self.multi_user:
            space = query.get("namespace") or self._space_of(query)
            self._authorize("list", "jobs", space, "A recurring run cannot", "Failed to list jobs")
            found = [one for one in found if one["namespace"] == space]
        return self._page("recurringRuns", found, query)

    def get_recurring_run(self, recurring_run_id: str) -> Any:
        return _get(self.recurring_runs, recurring_run_id, "Failed to get a recurring run", "Job")

    def disable_recurring_run(self, recurring_run_id: str) -> Any:
        self.get_recurring_run(recurring_run_id).update({"mode": "DISABLE", "status": "DISABLED"})
        return {}

    def delete_recurring_run(self, recurring_run_id: str, propagation_policy: str = "") -> Any:
        doing = "Failed to delete a recurring run: Failed to delete recurring run {}. Check if exists"
        _get(self.recurring_runs, recurring_run_id, doing, "Job")
        del self.recurring_runs[recurring_run_id]
        if propagation_policy not in ("", "ORPHAN"):
            raise unknown(f"propagation policy {propagation_policy!r}")
        if propagation_policy != "ORPHAN":
            # Kubernetes deletes what the schedule owns: the Workflows of its runs, those that run too.
            for run_id, run in self.runs.items():
                if run.get("recurring_run_id") == recurring_run_id:
                    self.workflows.discard(run_id)
        return {}

    def _spec(self, body: dict[str, Any], doing: str) -> dict[str, Any]:
        """The pipeline that a run or schedule names."""
        if body.get("experiment_id") not in self.experiments:
            raise unknown(f"{doing}: no experiment {body.get('experiment_id')!r}")
        reference = body.get("pipeline_version_reference") or {}
        version_id = reference.get("pipeline_version_id", "")
        if version_id not in self.versions:
            what = "Failed to create a run due to error fetching manifest"
            fetch = "Failed to fetch a template due to error retrieving pipeline version"
            which = f"Failed to fetch a pipeline version and its manifest from pipeline version {version_id}"
            gone = f"Failed to get a pipeline version with id {version_id}"
            missing = f"ResourceNotFoundError: PipelineVersion {version_id} not found"
            raise Refused(500, f"{doing}: InternalServerError: {what}: {fetch}: {which}: {gone}: {missing}")
        if self.versions[version_id]["pipeline_id"] != reference.get("pipeline_id"):
            raise unknown("the version is not of this pipeline")
        return dict(self.versions[version_id]["pipeline_spec"])

    def move(self, run_id: str, state: str) -> None:
        run = self.runs[run_id]
        run["state"] = state
        run["state_history"].append({"update_time": time_now(), "state": state})

    def _space_of(self, item: dict[str, Any]) -> str:
        return str(self.experiments.get(item.get("experiment_id", ""), {}).get("namespace", ""))

    def _authorize(self, verb: str, kind: str, space: str, whose: str, doing: str, access: str = "") -> None:
        if not self.multi_user:
            if space and verb == "create":
                raise unknown("a namespace on an installation for one user")
            return
        if not space:
            cause = f"{whose} have an empty namespace in multi-user mode"
            raise Refused(400, f"{doing}: Invalid input error: {cause}", cause=cause)
        where = f": Failed to access {access} . Check if you have access to namespace {space}" if access else ""
        if self._user is None:
            cause = "Failed to check authorization. User identity is empty in the request header"
            header = "Request header error: there is no user identity header."
            raise Refused(
                401, f"{doing}{where}: Unauthenticated: {cause}: Unauthenticated: {header}: {header}", cause=cause
            )
        if self._user not in self.members.get(space, set()):
            denied = _DENIED.format(user=self._user, space=space, verb=verb, kind=kind)
            raise Refused(
                403, f"{doing}{where}: {denied}: Unauthorized access", cause=denied.removeprefix("PermissionDenied: ")
            )

    def _page(self, name: str, items: list[dict[str, Any]], query: dict[str, Any]) -> Any:
        check_listing(name, query)
        for key in ("experiment_id", "pipeline_id", "namespace"):
            if query.get(key) and (key != "namespace" or name == "experiments"):
                items = [item for item in items if item.get(key) == query[key]]
        items = [item for item in items if matches(item, query.get("filter", ""))]
        if query.get("sort_by", "").endswith(" desc"):
            items = items[::-1]
        start = int(query.get("page_token") or 0)
        end = start + min(query.get("page_size") or self.page_size, self.page_size)
        if not items:
            return {}
        page: dict[str, Any] = {name: items[start:end], "total_size": len(items)}
        if end < len(items):
            page["next_page_token"] = str(end)
        return page


def time_now() -> str:
    """The present second, as the server writes it."""
    return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _store(where: dict[str, dict[str, Any]], key: str, content: dict[str, Any], **told: Any) -> dict[str, Any]:
    stored = {**content, **told, key: str(uuid.uuid4()), "created_at": time_now()}
    where[stored[key]] = stored
    return stored


def _get(where: dict[str, dict[str, Any]], key: str, doing: str, kind: str) -> dict[str, Any]:
    if key not in where:
        cause = f"{kind} {key} not found"
        raise Refused(404, f"{doing.format(key)}: ResourceNotFoundError: {cause}", cause=cause)
    return where[key]

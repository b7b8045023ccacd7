"""A stand-in for the Kubeflow Pipelines API (v2beta1), closed to whatever it does not know.

Its contract is that of the kfp_server_api package's models: an unknown route, query parameter, body field or value of
another type is refused and remembered, so that a test can say that nothing was refused. It checks requests; it runs
nothing. `test_kfp_api.py` compares it with the API's own OpenAPI file where that is at hand.
"""

import datetime
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import kfp_server_api
import yaml

PREFIX = "/apis/v2beta1"
LISTING = {"page_token": str, "page_size": int, "sort_by": str, "filter": str}

#: Fields that the server sets; a request that sets them is wrong.
OUTPUT_FIELDS = {
    "V2beta1Experiment": {"experiment_id", "created_at", "storage_state", "last_run_created_at"},
    "V2beta1Run": {
        "run_id",
        "created_at",
        "scheduled_at",
        "finished_at",
        "state",
        "error",
        "state_history",
        "run_details",
    },
    "V2beta1RecurringRun": {"recurring_run_id", "created_at", "updated_at", "status", "error", "namespace"},
}


class Refused(Exception):
    """A request that the API would not take."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status, self.message = status, message


@dataclass(frozen=True)
class Route:
    """One operation: method, path, the query parameters it knows, the model of its body, and what it does."""

    method: str
    path: str
    handler: str
    query: dict[str, type] = field(default_factory=dict)
    body: str | None = None
    upload: bool = False

    @property
    def pattern(self) -> re.Pattern[str]:
        return re.compile(re.sub(r"\{(\w+)\}", r"(?P<\1>[^/:]+)", PREFIX + self.path) + "$")


ROUTES = (
    Route("GET", "/healthz", "healthz"),
    Route("POST", "/experiments", "create_experiment", body="V2beta1Experiment"),
    Route("GET", "/experiments", "list_experiments", {**LISTING, "namespace": str}),
    Route("GET", "/experiments/{experiment_id}", "get_experiment"),
    Route("GET", "/pipelines", "list_pipelines", {**LISTING, "namespace": str}),
    Route("POST", "/pipelines", "create_pipeline", body="V2beta1Pipeline"),
    Route("GET", "/pipelines/{pipeline_id}", "get_pipeline"),
    Route(
        "POST",
        "/pipelines/upload",
        "upload_pipeline",
        {"name": str, "display_name": str, "description": str, "namespace": str, "tags": str},
        upload=True,
    ),
    Route(
        "POST",
        "/pipelines/upload_version",
        "upload_version",
        {"name": str, "display_name": str, "pipelineid": str, "description": str, "tags": str},
        upload=True,
    ),
    Route("GET", "/pipelines/{pipeline_id}/versions", "list_versions", LISTING),
    Route("POST", "/runs", "create_run", {"experiment_id": str}, body="V2beta1Run"),
    Route("GET", "/runs", "list_runs", {**LISTING, "namespace": str, "experiment_id": str}),
    Route("GET", "/runs/{run_id}", "get_run", {"experiment_id": str}),
    Route("POST", "/runs/{run_id}:terminate", "terminate_run", {"experiment_id": str}),
    Route("POST", "/runs/{run_id}:archive", "archive_run", {"experiment_id": str}),
    Route("POST", "/recurringruns", "create_recurring_run", body="V2beta1RecurringRun"),
    Route("GET", "/recurringruns", "list_recurring_runs", {**LISTING, "namespace": str, "experiment_id": str}),
    Route("GET", "/recurringruns/{recurring_run_id}", "get_recurring_run"),
    Route("DELETE", "/recurringruns/{recurring_run_id}", "delete_recurring_run", {"propagation_policy": str}),
)


class PipelinesApi:
    """The state and the operations. `refusals` lists every request that was not taken."""

    def __init__(self, page_size: int = 2, token: str | None = None) -> None:
        self.experiments: dict[str, dict[str, Any]] = {}
        self.pipelines: dict[str, dict[str, Any]] = {}
        self.versions: dict[str, dict[str, Any]] = {}
        self.runs: dict[str, dict[str, Any]] = {}
        self.recurring_runs: dict[str, dict[str, Any]] = {}
        self.requests: list[tuple[str, str, Any]] = []
        self.refusals: list[str] = []
        self.failures: list[tuple[str, int]] = []
        self.page_size, self.token = page_size, token
        self._lock = threading.Lock()

    def fail_next(self, handler: str, status: int = 503) -> None:
        """Makes the next call of an operation fail as a server does."""
        self.failures.append((handler, status))

    def answer(self, method: str, target: str, headers: Any, content: bytes) -> tuple[int, Any]:
        """One request; the answer's status and JSON."""
        with self._lock:
            try:
                return 200, self._dispatch(method, target, headers, content)
            except Refused as error:
                if error.status not in (404, 409, 503) or "route" in error.message:
                    self.refusals.append(f"{method} {target}: {error.message}")
                return error.status, {"code": error.status, "message": error.message, "details": []}

    def _dispatch(self, method: str, target: str, headers: Any, content: bytes) -> Any:
        url = urlsplit(target)
        if self.token is not None and headers.get("Authorization") != f"Bearer {self.token}":
            raise Refused(401, "Unauthorized")
        for route in ROUTES:
            match = route.pattern.fullmatch(url.path)
            if match and route.method == method:
                break
        else:
            raise Refused(404, f"no such route: {method} {url.path}")
        for number, (handler, status) in enumerate(self.failures):
            if handler == route.handler:
                del self.failures[number]
                raise Refused(status, "the server is not well")
        query = _query(route, parse_qs(url.query, keep_blank_values=True))
        arguments: dict[str, Any] = {**match.groupdict(), **query}
        if route.upload:
            arguments["package"] = _uploaded(headers, content)
        elif route.body is not None:
            body = json.loads(content)
            check(route.body, body)
            _refuse_output_fields(route.body, body)
            arguments["body"] = body
        elif content:
            raise Refused(400, "this operation takes no body")
        self.requests.append((route.method, url.path, arguments.get("body")))
        handle: Callable[..., Any] = getattr(self, route.handler)
        return handle(**arguments)

    def healthz(self) -> Any:
        return {"multi_user": False}

    def create_experiment(self, body: dict[str, Any]) -> Any:
        _require(body, "display_name")
        if any(one["display_name"] == body["display_name"] for one in self.experiments.values()):
            raise Refused(409, f"experiment {body['display_name']} exists")
        return _store(self.experiments, "experiment_id", body)

    def list_experiments(self, **query: Any) -> Any:
        return self._page("experiments", list(self.experiments.values()), query)

    def get_experiment(self, experiment_id: str) -> Any:
        return _get(self.experiments, experiment_id)

    def list_pipelines(self, **query: Any) -> Any:
        return self._page("pipelines", list(self.pipelines.values()), query)

    def create_pipeline(self, body: dict[str, Any]) -> Any:
        _require(body, "display_name")
        if any(one["display_name"] == body["display_name"] for one in self.pipelines.values()):
            raise Refused(409, f"pipeline {body['display_name']} exists")
        return _store(self.pipelines, "pipeline_id", body | {"name": body["display_name"]})

    def get_pipeline(self, pipeline_id: str) -> Any:
        return _get(self.pipelines, pipeline_id)

    def upload_pipeline(self, package: dict[str, Any], name: str = "", display_name: str = "", **other: Any) -> Any:
        name = name or display_name
        if any(one["display_name"] == name for one in self.pipelines.values()):
            raise Refused(409, f"pipeline {name} exists")
        pipeline = _store(self.pipelines, "pipeline_id", {"display_name": name, "name": name})
        self._add_version(pipeline["pipeline_id"], name, package)
        return pipeline

    def upload_version(
        self, package: dict[str, Any], pipelineid: str = "", name: str = "", description: str = "", **other: Any
    ) -> Any:
        _get(self.pipelines, pipelineid)
        return self._add_version(pipelineid, name, package, description)

    def _add_version(self, pipeline_id: str, name: str, package: dict[str, Any], description: str = "") -> Any:
        if any(one["pipeline_id"] == pipeline_id and one["name"] == name for one in self.versions.values()):
            raise Refused(409, f"pipeline version {name} exists")
        content = {"pipeline_id": pipeline_id, "display_name": name, "name": name, "pipeline_spec": package}
        content["description"] = description
        return _store(self.versions, "pipeline_version_id", content)

    def list_versions(self, pipeline_id: str, **query: Any) -> Any:
        found = [one for one in self.versions.values() if one["pipeline_id"] == pipeline_id]
        return self._page("pipeline_versions", found, query)

    def create_run(self, body: dict[str, Any], experiment_id: str = "") -> Any:
        _require(body, "display_name")
        self._check_work(body)
        return _store(self.runs, "run_id", {**body, "state": "PENDING", "storage_state": "AVAILABLE"})

    def list_runs(self, **query: Any) -> Any:
        return self._page("runs", list(self.runs.values()), query)

    def get_run(self, run_id: str, experiment_id: str = "") -> Any:
        return _get(self.runs, run_id)

    def terminate_run(self, run_id: str, experiment_id: str = "") -> Any:
        _get(self.runs, run_id)["state"] = "CANCELED"
        return {}

    def archive_run(self, run_id: str, experiment_id: str = "") -> Any:
        run = _get(self.runs, run_id)
        if run["state"] in ("PENDING", "RUNNING"):
            raise Refused(400, "a run that is active cannot be archived")
        run["storage_state"] = "ARCHIVED"
        return {}

    def create_recurring_run(self, body: dict[str, Any]) -> Any:
        _require(body, "display_name", "trigger", "max_concurrency", "mode")
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise Refused(400, "max_concurrency is not in [1-10]")
        schedules = [name for name in ("cron_schedule", "periodic_schedule") if body["trigger"].get(name)]
        if len(schedules) != 1:
            raise Refused(400, "a trigger is either a cron or a periodic schedule")
        if schedules == ["cron_schedule"] and len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise Refused(400, "cron needs six fields")
        if body["mode"] not in ("ENABLE", "DISABLE"):
            raise Refused(400, "mode is neither ENABLE nor DISABLE")
        self._check_work(body)
        # int64 travels as a string
        content = {**body, "max_concurrency": str(body["max_concurrency"]), "status": f"{body['mode']}D"}
        return _store(self.recurring_runs, "recurring_run_id", content)

    def list_recurring_runs(self, **query: Any) -> Any:
        return self._page("recurringRuns", list(self.recurring_runs.values()), query)

    def get_recurring_run(self, recurring_run_id: str) -> Any:
        return _get(self.recurring_runs, recurring_run_id)

    def delete_recurring_run(self, recurring_run_id: str, propagation_policy: str = "") -> Any:
        del self.recurring_runs[_get(self.recurring_runs, recurring_run_id)["recurring_run_id"]]
        return {}

    def _check_work(self, body: dict[str, Any]) -> None:
        """The version exists, and the arguments are those that its pipeline declares, of their types."""
        _get(self.experiments, body.get("experiment_id", ""))
        reference = body.get("pipeline_version_reference") or {}
        version = _get(self.versions, reference.get("pipeline_version_id", ""))
        if version["pipeline_id"] != reference.get("pipeline_id"):
            raise Refused(400, "the version is not of this pipeline")
        declared = version["pipeline_spec"]["root"].get("inputDefinitions", {}).get("parameters", {})
        given = (body.get("runtime_config") or {}).get("parameters") or {}
        for name, value in given.items():
            if name not in declared:
                raise Refused(400, f"the pipeline has no parameter {name}")
            _check_parameter(name, value, declared[name]["parameterType"])
        for name, stated in declared.items():
            if name not in given and "defaultValue" not in stated and not stated.get("isOptional"):
                raise Refused(400, f"parameter {name} is missing")

    def _page(self, name: str, items: list[dict[str, Any]], query: dict[str, Any]) -> Any:
        for key in ("experiment_id", "pipeline_id"):
            if query.get(key):
                items = [item for item in items if item.get(key) == query[key]]
        items = [item for item in items if _matches(item, query.get("filter", ""))]
        if query.get("sort_by", "").endswith(" desc"):
            items = items[::-1]
        start = int(query.get("page_token") or 0)
        end = start + min(query.get("page_size") or self.page_size, self.page_size)
        page: dict[str, Any] = {name: items[start:end], "total_size": len(items)}
        if end < len(items):
            page["next_page_token"] = str(end)
        return page


def check(model: str, value: Any, place: str = "body") -> None:
    """Refuses what a model of kfp_server_api does not describe.

    Raises:
        Refused: an unknown field or a value of another type.
    """
    kind = getattr(kfp_server_api, model)
    allowed = [getattr(kind, name) for name in dir(kind) if name.isupper()]
    if allowed and not kind.openapi_types:  # an enumeration
        if value not in allowed:
            raise Refused(400, f"{place}: {value!r} is none of {allowed}")
        return
    if not isinstance(value, dict):
        raise Refused(400, f"{place}: not an object")
    names = {json_name: name for name, json_name in kind.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            raise Refused(400, f"{place}: unknown field {key!r}")
        _check_type(kind.openapi_types[names[key]], item, f"{place}.{key}")


def _check_type(kind: str, value: Any, place: str) -> None:
    mapping, sequence = re.fullmatch(r"dict\(str, (.+)\)", kind), re.fullmatch(r"list\[(.+)\]", kind)
    if mapping:
        if not isinstance(value, dict):
            raise Refused(400, f"{place}: not an object")
        for key, item in value.items():
            _check_type(mapping[1], item, f"{place}.{key}")
    elif sequence:
        if not isinstance(value, list):
            raise Refused(400, f"{place}: not a list")
        for number, item in enumerate(value):
            _check_type(sequence[1], item, f"{place}[{number}]")
    elif kind == "object":
        return
    elif kind == "bool":
        if not isinstance(value, bool):
            raise Refused(400, f"{place}: not true or false")
    elif kind in ("str", "datetime"):
        int64 = place.endswith("max_concurrency") or place.endswith("interval_second")
        if not isinstance(value, str) and not (int64 and isinstance(value, int)):
            raise Refused(400, f"{place}: not a string")
    elif kind == "int":
        if not isinstance(value, int):
            raise Refused(400, f"{place}: not an integer")
    else:
        check(kind, value, place)


def _check_parameter(name: str, value: Any, kind: str) -> None:
    kinds: dict[str, tuple[type, ...]] = {
        "STRING": (str,),
        "NUMBER_INTEGER": (int,),
        "NUMBER_DOUBLE": (int, float),
        "BOOLEAN": (bool,),
        "LIST": (list,),
        "STRUCT": (dict,),
    }
    if not isinstance(value, kinds[kind]) or (isinstance(value, bool) and kind != "BOOLEAN"):
        raise Refused(400, f"parameter {name} is not a {kind}")


def _refuse_output_fields(model: str, body: dict[str, Any]) -> None:
    forbidden = OUTPUT_FIELDS.get(model, set()) & body.keys()
    if forbidden:
        raise Refused(400, f"only the server sets {sorted(forbidden)}")


def _query(route: Route, given: dict[str, list[str]]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in route.query:
            raise Refused(400, f"unknown query parameter {name!r}")
        if len(value) != 1:
            raise Refused(400, f"query parameter {name!r} is given {len(value)} times")
        try:
            values[name] = route.query[name](value[0])
        except ValueError:
            raise Refused(400, f"query parameter {name!r} is not {route.query[name].__name__}") from None
    return values


def _uploaded(headers: Any, content: bytes) -> dict[str, Any]:
    """The pipeline spec in a multipart upload."""
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + content)
    parts = [
        part for part in message.iter_parts() if part.get_param("name", header="content-disposition") == "uploadfile"
    ]
    if len(parts) != 1:
        raise Refused(400, "the upload has no part `uploadfile`")
    document = next(iter(yaml.safe_load_all(parts[0].get_payload(decode=True))))
    if not isinstance(document, dict) or not {"pipelineInfo", "root", "components"} <= document.keys():
        raise Refused(400, "the upload is no pipeline")
    return document


def _matches(item: dict[str, Any], text: str) -> bool:
    for predicate in json.loads(text)["predicates"] if text else []:
        if predicate.keys() - {"operation", "key", "stringValue", "string_value"} or predicate["operation"] not in (
            "EQUALS",
            1,
        ):
            raise Refused(400, f"unknown predicate {predicate}")
        if predicate["key"] not in ("display_name", "name"):
            raise Refused(400, f"cannot filter by {predicate['key']!r}")
        if item.get(predicate["key"]) != predicate.get("stringValue", predicate.get("string_value")):
            return False
    return True


def _store(where: dict[str, dict[str, Any]], key: str, content: dict[str, Any]) -> dict[str, Any]:
    stored = {**content, key: str(uuid.uuid4()), "created_at": datetime.datetime.now(datetime.UTC).isoformat()}
    where[stored[key]] = stored
    return stored


def _get(where: dict[str, dict[str, Any]], key: str) -> dict[str, Any]:
    if key not in where:
        raise Refused(404, f"{key!r} not found")
    return where[key]


def _require(body: dict[str, Any], *names: str) -> None:
    missing = [name for name in names if not body.get(name)]
    if missing:
        raise Refused(400, f"required: {missing}")


@contextmanager
def serve(api: PipelinesApi) -> Iterator[str]:
    """The API on a free port of this machine; yields its address."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            content = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, value = api.answer(self.command, self.path, self.headers, content)
            body = json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST = do_DELETE = do_PUT = do_PATCH = _answer

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()

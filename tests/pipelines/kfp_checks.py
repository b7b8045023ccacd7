"""What the stand-in for the Kubeflow Pipelines API takes: routes, query parameters, bodies, filters, uploads.

The contract is that of the kfp_server_api package's models: an unknown route, query parameter, body field or value of
another type is refused. The real server ignores some of them; the stand-in does not, so that a typing mistake in the
client cannot pass.
"""

import json
import re
from dataclasses import dataclass, field
from email.parser import BytesParser
from email.policy import HTTP
from typing import Any

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
    "V2beta1Pipeline": {"pipeline_id", "created_at", "error"},
    "V2beta1RecurringRun": {"recurring_run_id", "created_at", "updated_at", "status", "error", "namespace"},
}

#: gRPC's code of an HTTP status, where the answer has no other.
GRPC = {400: 3, 401: 16, 403: 7, 404: 5, 409: 6, 500: 13, 503: 14}


class Refused(Exception):
    """A request that the API does not take.

    Args:
        status: of HTTP.
        message: what the server says.
        cause: its shorter form in `details`; an internal error has "Internal Server Error" there.
        code: of gRPC, where the status alone does not tell it.
        closed: the stand-in refuses what a real server would have let pass: the test must fail.
    """

    def __init__(
        self, status: int, message: str, *, cause: str | None = None, code: int | None = None, closed: bool = False
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.closed = status, message, closed
        self.cause = "Internal Server Error" if status == 500 else cause
        self.code = GRPC[status] if code is None else code

    def body(self, *, upload: bool) -> dict[str, Any]:
        """The answer's JSON; uploads are served by another part of the server, with fields of its own."""
        if upload:
            return {"error_message": self.message, "error_details": self.cause or self.message}
        told: dict[str, Any] = {"code": self.code, "message": self.message}
        if self.cause is not None:
            status = "type.googleapis.com/google.rpc.Status"
            told["details"] = [{"@type": status, "code": self.code, "message": self.cause}]
        return told


def unknown(message: str) -> Refused:
    """A refusal of the stand-in's own."""
    return Refused(400, message, closed=True)


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
    Route("DELETE", "/pipelines/{pipeline_id}", "delete_pipeline", {"cascade": bool}),
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
    Route("DELETE", "/runs/{run_id}", "delete_run", {"experiment_id": str}),
    Route("POST", "/runs/{run_id}:terminate", "terminate_run", {"experiment_id": str}),
    Route("POST", "/runs/{run_id}:archive", "archive_run", {"experiment_id": str}),
    Route("POST", "/runs/{run_id}:retry", "retry_run", {"experiment_id": str}),
    Route("POST", "/recurringruns", "create_recurring_run", body="V2beta1RecurringRun"),
    Route("GET", "/recurringruns", "list_recurring_runs", {**LISTING, "namespace": str, "experiment_id": str}),
    Route("GET", "/recurringruns/{recurring_run_id}", "get_recurring_run"),
    Route("POST", "/recurringruns/{recurring_run_id}:disable", "disable_recurring_run"),
    Route("DELETE", "/recurringruns/{recurring_run_id}", "delete_recurring_run", {"propagation_policy": str}),
)

#: What the server filters and sorts by, of those that were tried.
_KEYS = {"display_name", "name", "recurring_run_id", "created_at"}


def check(model: str, value: Any, place: str = "body") -> None:
    """Refuses what a model of kfp_server_api does not describe.

    Raises:
        Refused: an unknown field or a value of another type.
    """
    kind = getattr(kfp_server_api, model)
    allowed = [getattr(kind, name) for name in dir(kind) if name.isupper()]
    if allowed and not kind.openapi_types:  # an enumeration
        if value not in allowed:
            raise unknown(f"{place}: {value!r} is none of {allowed}")
        return
    if not isinstance(value, dict):
        raise unknown(f"{place}: not an object")
    names = {json_name: name for name, json_name in kind.attribute_map.items()}
    for key, item in value.items():
        if key not in names:
            raise unknown(f"{place}: unknown field {key!r}")
        _check_type(kind.openapi_types[names[key]], item, f"{place}.{key}")


def _check_type(kind: str, value: Any, place: str) -> None:
    mapping, sequence = re.fullmatch(r"dict\(str, (.+)\)", kind), re.fullmatch(r"list\[(.+)\]", kind)
    if mapping:
        if not isinstance(value, dict):
            raise unknown(f"{place}: not an object")
        for key, item in value.items():
            _check_type(mapping[1], item, f"{place}.{key}")
    elif sequence:
        if not isinstance(value, list):
            raise unknown(f"{place}: not a list")
        for number, item in enumerate(value):
            _check_type(sequence[1], item, f"{place}[{number}]")
    elif kind == "object":
        return
    elif kind == "bool":
        if not isinstance(value, bool):
            raise unknown(f"{place}: not true or false")
    elif kind in ("str", "datetime"):
        int64 = place.endswith("max_concurrency") or place.endswith("interval_second")
        if not isinstance(value, str) and not (int64 and isinstance(value, int)):
            raise unknown(f"{place}: not a string")
    elif kind == "int":
        if not isinstance(value, int):
            raise unknown(f"{place}: not an integer")
    else:
        check(kind, value, place)


def refuse_output_fields(model: str, body: dict[str, Any]) -> None:
    """Refuses a body that sets what only the server sets."""
    forbidden = OUTPUT_FIELDS.get(model, set()) & body.keys()
    if forbidden:
        raise unknown(f"only the server sets {sorted(forbidden)}")


def query_of(route: Route, given: dict[str, list[str]]) -> dict[str, Any]:
    """The query parameters of a request, in their types."""
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in route.query:
            raise unknown(f"unknown query parameter {name!r}")
        if len(value) != 1:
            raise unknown(f"query parameter {name!r} is given {len(value)} times")
        try:
            values[name] = route.query[name](value[0])
        except ValueError:
            raise unknown(f"query parameter {name!r} is not {route.query[name].__name__}") from None
    return values


def uploaded(headers: Any, content: bytes) -> dict[str, Any]:
    """The pipeline spec in a multipart upload."""
    message = BytesParser(policy=HTTP).parsebytes(f"Content-Type: {headers['Content-Type']}\r\n\r\n".encode() + content)
    parts = [
        part for part in message.iter_parts() if part.get_param("name", header="content-disposition") == "uploadfile"
    ]
    if len(parts) != 1:
        raise unknown("the upload has no part `uploadfile`")
    document = next(iter(yaml.safe_load_all(parts[0].get_payload(decode=True))))
    if not isinstance(document, dict) or not {"pipelineInfo", "root", "components"} <= document.keys():
        raise Refused(400, "unknown template format")
    return document


def check_arguments(spec: dict[str, Any], given: dict[str, Any], doing: str, *, whole: bool) -> None:
    """The arguments are those that the pipeline declares, of their types.

    Args:
        spec: the pipeline's.
        given: name -> value.
        doing: how the server begins its message.
        whole: refuse a missing argument; a recurring run may lack one.
    """
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    for name, value in given.items():
        if name not in declared:
            raise _bad_input(doing, f"parameter(s) provided are not required by pipeline: {name}")
        kind = declared[name]["parameterType"]
        if not _is(value, kind):
            word = {"STRING": "string"}.get(kind, kind)
            raise _bad_input(
                doing,
                f"input parameter {name} requires type {word}, but the input parameter is not of {word} value type",
            )
    for name, stated in declared.items():
        if whole and name not in given and "defaultValue" not in stated and not stated.get("isOptional"):
            raise _bad_input(doing, f"parameter {name} is missing")


def _bad_input(doing: str, cause: str) -> Refused:
    return Refused(400, f"{doing}: invalid pipeline job inputs: Invalid input error: {cause}", cause=cause)


def _is(value: Any, kind: str) -> bool:
    kinds: dict[str, tuple[type, ...]] = {
        "STRING": (str,),
        "NUMBER_INTEGER": (int,),
        "NUMBER_DOUBLE": (int, float),
        "BOOLEAN": (bool,),
        "LIST": (list,),
        "STRUCT": (dict,),
    }
    return isinstance(value, kinds[kind]) and (not isinstance(value, bool) or kind == "BOOLEAN")


def check_listing(what: str, query: dict[str, Any]) -> None:
    """Refuses keys that the server does not filter or sort by, and tokens that it has not given."""
    text = query.get("filter", "")
    for predicate in json.loads(text)["predicates"] if text else []:
        if predicate.keys() - {"operation", "key", "stringValue", "string_value"} or predicate["operation"] not in (
            "EQUALS",
            1,
        ):
            raise unknown(f"unknown predicate {predicate}")
        if predicate["key"] not in _KEYS:
            cause = f'no support for filtering on unrecognized field "{predicate["key"]}"'
            options = "pageToken: , pageSize: 0, sortBy: , filter: "
            lists = f"Failed to list {what} due invalid list options: {options}{text}"
            raise Refused(400, f"{lists}: Invalid input error: {cause}", cause=cause)
    key = query.get("sort_by", "").split(" ")[0]
    if key and key not in _KEYS:
        kind = {"runs": "Run"}.get(what, what)
        cause = f'Invalid sorting field: "{key}" on listable type {kind}'
        raise Refused(400, f"Failed to create list options: Invalid input error: {cause}", cause=cause)
    if query.get("page_token") and not query["page_token"].isdigit():
        cause, why = "Invalid page token", "illegal base64 data at input byte 0"
        raise Refused(400, f"Failed to create list options: InvalidInputError: {cause}: {why}", cause=cause)


def matches(item: dict[str, Any], text: str) -> bool:
    """Whether an object passes a filter."""
    return all(
        item.get(predicate["key"]) == predicate.get("stringValue", predicate.get("string_value"))
        for predicate in (json.loads(text)["predicates"] if text else [])
    )

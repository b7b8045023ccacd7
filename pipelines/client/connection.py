"""The connection to one Kubeflow Pipelines installation: address, token, mode, errors, pages."""

import contextlib
import json
import os
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from pipelines.config import Service
from qure.errors import BadInput, StageFailed

ENDPOINT_VARIABLE = "KF_PIPELINES_ENDPOINT"
TOKEN_VARIABLE = "KF_PIPELINES_TOKEN"
PAGE = 100

_LOGIN_PAGE = (
    "answers with a web page instead of JSON, as a login page does. Check that {endpoint} leads to the API (it ends in "
    "/pipeline behind Kubeflow's gateway) and that {token} is set and has not expired"
)


@dataclass(frozen=True)
class Api:
    """The services of the API, and where this client works.

    Attributes:
        experiments, pipelines, uploads, runs, recurring_runs: kfp_server_api's services.
        namespace: where everything lies; None on an installation for one user, which knows no namespaces.
    """

    experiments: Any
    pipelines: Any
    uploads: Any
    runs: Any
    recurring_runs: Any
    namespace: str | None


def connect(service: Service) -> Api:
    """Connects to the installation at KF_PIPELINES_ENDPOINT.

    Raises:
        BadInput: no address is set; the installation has namespaces and none is configured.
        StageFailed: nothing answers there, or a login page does.
    """
    host = os.environ.get(ENDPOINT_VARIABLE, "").strip()
    if not host:
        raise BadInput(
            "the address of Kubeflow Pipelines is not set",
            field=ENDPOINT_VARIABLE,
            remedy=f"export {ENDPOINT_VARIABLE}=https://... (docs/runbook.md, Install)",
        )
    address = (host if host.startswith("http") else f"https://{host}").rstrip("/")
    token = os.environ.get(TOKEN_VARIABLE, "").strip() or None
    health = _health(address, token)
    if health.get("multi_user") and not service.namespace:
        raise BadInput(
            f"Kubeflow Pipelines at {address} serves many users, each in a namespace of their own",
            field="service.namespace",
            remedy="Set it to your Kubeflow profile's namespace in the configuration (--config)",
        )
    import kfp_server_api

    client = _client(address, token)
    return Api(
        experiments=kfp_server_api.ExperimentServiceApi(client),
        pipelines=kfp_server_api.PipelineServiceApi(client),
        uploads=kfp_server_api.PipelineUploadServiceApi(client),
        runs=kfp_server_api.RunServiceApi(client),
        recurring_runs=kfp_server_api.RecurringRunServiceApi(client),
        namespace=service.namespace if health.get("multi_user") else None,
    )


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turns the client's errors into one message each.

    Raises:
        StageFailed: the API refuses or does not answer.
    """
    from kfp_server_api.exceptions import ApiException
    from urllib3.exceptions import HTTPError

    try:
        yield
    except ApiException as error:
        raise StageFailed(f"Kubeflow Pipelines answered {error.status} {error.reason}: {message(error)}") from None
    except HTTPError as error:
        raise StageFailed(f"Kubeflow Pipelines does not answer: {error}") from None


def message(error: Any) -> str:
    """What the server says of its refusal; uploads have fields of their own.

    >>> class Refusal: body = '{"error_message": "Failed to create a pipeline", "error_details": "no rights\\\\n at x"}'
    >>> message(Refusal)
    'Failed to create a pipeline: no rights'
    """
    try:
        told = json.loads(error.body)
        if "message" in told:
            return str(told["message"])
        details = str(told.get("error_details") or "").strip().splitlines()
        said = str(told["error_message"])
        return f"{said}: {details[0]}" if details and details[0] not in said else said
    except (TypeError, ValueError, KeyError, AttributeError):
        return "no further details"


def all_pages(
    list_page: Callable[..., Any],
    field: str,
    *,
    wanted: Callable[[Any], bool] = lambda one: True,
    most: int | None = None,
    **query: Any,
) -> list[Any]:
    """What a listing of the API holds: all its pages, or as many as it takes.

    Args:
        list_page: an operation that takes `page_token` and `page_size`.
        field: of the answer, that holds the entries.
        wanted: entries that count.
        most: stop when so many that count have been found.
        query: further parameters; None is left out.
    """
    given = {key: value for key, value in query.items() if value is not None}
    found: list[Any] = []
    token = ""
    while True:
        page = list_page(page_token=token, page_size=PAGE, **given)
        found += [one for one in getattr(page, field) or [] if wanted(one)]
        token = page.next_page_token or ""
        if not token or (most is not None and len(found) >= most):
            return found[:most]


def equals(key: str, value: str) -> str:
    """A filter of the API's listings."""
    return json.dumps({"predicates": [{"operation": "EQUALS", "key": key, "stringValue": value}]})


def only(found: list[Any], what: str, key: str, remedy: str) -> Any:
    """The one that there is.

    Raises:
        BadInput: there are several; names them.
    """
    if len(found) > 1:
        listed = ", ".join(f"{getattr(one, key)} (created {one.created_at:%Y-%m-%d %H:%M})" for one in found)
        raise BadInput(f"there are {len(found)} {what}: {listed}", remedy=remedy)
    return found[0]


def _client(address: str, token: str | None) -> Any:
    import kfp_server_api

    class Client(kfp_server_api.ApiClient):
        """Takes JSON only: out of a login page kfp's own client makes empty answers."""

        def deserialize(self, response: Any, response_type: Any) -> Any:
            if not _is_json(response.getheader("Content-Type"), response.data):
                raise _login_page(address)
            return super().deserialize(response, response_type)

    configuration = kfp_server_api.Configuration(host=address)
    if token:
        configuration.api_key["authorization"] = token
        configuration.api_key_prefix["authorization"] = "Bearer"
    return Client(configuration)


def _health(address: str, token: str | None) -> dict[str, Any]:
    request = urllib.request.Request(f"{address}/apis/v2beta1/healthz")
    if token:
        request.add_header("Authorization", f"Bearer {token}")
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            content = answer.read()
            if not _is_json(answer.headers.get("Content-Type"), content):
                raise _login_page(address)
            return dict(json.loads(content))
    except urllib.error.HTTPError as error:
        problem = f"{error.code} {error.reason}"
    except (OSError, ValueError) as error:
        problem = str(getattr(error, "reason", error))
    raise StageFailed(
        f"Kubeflow Pipelines at {address} does not answer: {problem}. Check {ENDPOINT_VARIABLE} and {TOKEN_VARIABLE}"
    )


def _is_json(kind: str | None, content: bytes | str) -> bool:
    if kind and "html" in kind.lower():
        return False
    start = content[:1]
    return start in (b"{", b"[", "{", "[", b"", "")


def _login_page(address: str) -> StageFailed:
    told = _LOGIN_PAGE.format(endpoint=ENDPOINT_VARIABLE, token=TOKEN_VARIABLE)
    return StageFailed(f"Kubeflow Pipelines at {address} {told}")

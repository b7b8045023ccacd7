"""The stand-in for the Kubeflow Pipelines API is itself checked: closed, and equal to the API's own description."""

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from types import ModuleType
from typing import Any

import kfp_server_api
import pytest


@pytest.fixture
def swagger(reference_folder: Path) -> dict[str, Any]:
    file = reference_folder / "kfp-api.swagger.json"
    if not file.is_file():
        pytest.skip(f"needs {file.name} in the folder that QURE_REFERENCE names")
    return dict(json.loads(file.read_text()))


def test_every_route_is_the_apis(kfp_api: ModuleType, swagger: dict[str, Any]) -> None:
    for route in kfp_api.ROUTES:
        operation = swagger["paths"][kfp_api.PREFIX + route.path][route.method.lower()]
        known = {one["name"] for one in operation.get("parameters", []) if one["in"] == "query"}
        assert set(route.query) <= known, route.path
        bodies = [one["schema"]["$ref"] for one in operation.get("parameters", []) if one["in"] == "body"]
        assert [body.rsplit("/", 1)[1].replace("v2", "V2") for body in bodies] == ([route.body] if route.body else [])


def test_the_models_know_the_apis_fields_and_no_others(kfp_api: ModuleType, swagger: dict[str, Any]) -> None:
    seen: set[str] = set()

    def compare(model: str) -> None:
        if model in seen:
            return
        seen.add(model)
        kind = getattr(kfp_server_api, model)
        described = swagger["definitions"][model.replace("V2beta1", "v2beta1").replace("GoogleRpc", "googleRpc")]
        assert set(kind.attribute_map.values()) == set(described.get("properties", {})), model
        for type_ in kind.openapi_types.values():
            for inner in re.findall(r"[A-Z]\w+", type_):
                if inner.startswith("V2beta1") and kind is not kfp_server_api.V2beta1RunDetails:
                    compare(inner)

    for route in kfp_api.ROUTES:
        if route.body:
            compare(route.body)
    assert len(seen) > 8


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "/apis/v2beta1/nothing", None),
        ("DELETE", "/apis/v2beta1/experiments", None),
        ("GET", "/apis/v2beta1/runs?nothing=1", None),
        ("GET", "/apis/v2beta1/runs?page_size=many", None),
        ("POST", "/apis/v2beta1/experiments", {"display_name": "x", "nothing": 1}),
        ("POST", "/apis/v2beta1/experiments", {"display_name": 3}),
        ("POST", "/apis/v2beta1/experiments", {"display_name": "x", "experiment_id": "mine"}),
        ("POST", "/apis/v2beta1/recurringruns", {"display_name": "x", "mode": "SOMETIMES"}),
        ("POST", "/apis/v2beta1/recurringruns", {"display_name": "x", "trigger": {"cron_schedule": {"cronn": ""}}}),
        ("POST", "/apis/v2beta1/pipelines/upload?name=x", {"not": "multipart"}),
    ],
)
def test_whatever_it_does_not_know_is_refused(kfp_api: ModuleType, method: str, path: str, body: Any) -> None:
    api = kfp_api.PipelinesApi()
    with kfp_api.serve(api) as address:
        request = urllib.request.Request(address + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with pytest.raises(urllib.error.HTTPError) as refusal:
            urllib.request.urlopen(request, timeout=5)
    assert refusal.value.code in (400, 404)
    assert len(api.refusals) == 1


def test_a_request_without_the_token_is_refused(kfp_api: ModuleType) -> None:
    api = kfp_api.PipelinesApi(token="secret")
    with kfp_api.serve(api) as address, pytest.raises(urllib.error.HTTPError) as refusal:
        urllib.request.urlopen(f"{address}/apis/v2beta1/healthz", timeout=5)
    assert refusal.value.code == 401

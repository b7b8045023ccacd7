"""infra/compose.yaml: parsed, its references followed, its MLflow variables compared with MLflow's own options."""

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

FILE = Path(__file__).resolve().parents[2] / "infra" / "compose.yaml"


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    return dict(yaml.safe_load(FILE.read_text()))


def test_references_lead_somewhere(compose: dict[str, Any]) -> None:
    services = compose["services"]
    for service in services.values():
        assert set(service.get("depends_on", [])) <= set(services)
        volumes = {volume.split(":")[0] for volume in service.get("volumes", [])}
        assert volumes <= set(compose["volumes"])
    hosts = set(re.findall(r"(?://|@)([a-z0-9]+):\d+", str(services["mlflow"]["environment"])))
    assert hosts == {"s3", "postgres"}


def test_secrets_come_from_outside_and_nothing_is_open_to_others(compose: dict[str, Any]) -> None:
    for name, service in compose["services"].items():
        for key, value in service.get("environment", {}).items():
            if re.search("PASSWORD|SECRET|ACCESS_KEY|STORE_URI", key):
                assert re.search(r"\$\{\w+:\?", value), (name, key)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", []))
        assert not re.search("PASSWORD|SECRET", str(service.get("command", "")))


def test_mlflow_knows_every_variable_that_it_is_given(compose: dict[str, Any]) -> None:
    from mlflow import environment_variables
    from mlflow.cli import server

    service = compose["services"]["mlflow"]
    assert service["command"] == ["mlflow", server.name]
    options = {str(option.envvar) for option in server.params if getattr(option, "envvar", None)}
    given = {name for name in service["environment"] if name.startswith("MLFLOW_")}
    assert {"MLFLOW_BACKEND_STORE_URI", "MLFLOW_ARTIFACTS_DESTINATION", "MLFLOW_SERVER_ALLOWED_HOSTS"} <= given
    assert all(name in options or hasattr(environment_variables, name) for name in given), given - options


def test_the_programs_in_it_are_python(compose: dict[str, Any]) -> None:
    ast.parse(compose["services"]["buckets"]["command"][2])
    ast.parse(compose["services"]["mlflow"]["healthcheck"]["test"][3])

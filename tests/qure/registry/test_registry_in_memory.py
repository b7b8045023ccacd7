"""The registry in memory answers as MLflow does: each call that `Champions` makes, its effects and its errors."""

from typing import Any

from mlflow.entities import ViewType
from mlflow.exceptions import MlflowException
from registry_in_memory import RegistryInMemory

from qure.config import TrackingSettings
from qure.tracking import connect

NAME = "qure-test"
CALLS: list[tuple[str, tuple[str, ...]]] = [
    ("set_registered_model_tag", ("a", "1")),
    ("set_registered_model_tag", ("a", "2")),
    ("set_registered_model_tag", ("b", "1")),
    ("delete_registered_model_tag", ("b",)),
    ("delete_registered_model_tag", ("not there",)),
    ("set_registered_model_alias", ("champion", "1")),
    ("set_registered_model_alias", ("champion", "2")),
    ("set_registered_model_alias", ("champion", "9")),
    ("set_registered_model_alias", ("challenger", "3")),
    ("delete_registered_model_alias", ("challenger",)),
    ("delete_registered_model_alias", ("not-there",)),
    ("get_model_version", ("1",)),
    ("get_model_version", ("9",)),
    ("set_model_version_tag", ("1", "c", "1")),
    ("set_model_version_tag", ("9", "c", "1")),
    ("get_model_version", ("1",)),
    ("delete_model_version_tag", ("1", "c")),
    ("delete_model_version_tag", ("9", "c")),
    ("get_model_version", ("1",)),
    ("delete_model_version", ("2",)),
    ("delete_model_version", ("2",)),
    ("get_model_version", ("2",)),
    ("set_registered_model_alias", ("champion", "2")),
]


def _told(client: Any, call: str, arguments: tuple[str, ...]) -> Any:
    try:
        answer = getattr(client, call)(NAME, *arguments)
    except MlflowException as error:
        return error.error_code
    return (str(answer.version), dict(answer.tags)) if call == "get_model_version" else None


def test_it_answers_as_mlflow_does(sqlite_uri: str) -> None:
    client = connect(TrackingSettings(uri=sqlite_uri))
    client.create_registered_model(NAME)
    for _ in range(3):
        client.create_model_version(NAME, source="s3://bucket/model")
    memory = RegistryInMemory(3)
    for call, arguments in CALLS:
        assert _told(memory, call, arguments) == _told(client, call, arguments), (call, arguments)
        ours, theirs = memory.get_registered_model(NAME), client.get_registered_model(NAME)
        aliases = {alias: str(version) for alias, version in theirs.aliases.items()}
        assert (ours.tags, ours.aliases) == (dict(theirs.tags), aliases), (call, arguments)


def test_it_keeps_experiments_as_mlflow_does(sqlite_uri: str) -> None:
    client, memory = connect(TrackingSettings(uri=sqlite_uri)), RegistryInMemory(1)

    def told(registry: Any) -> list[Any]:
        found: list[Any] = []
        made = registry.create_experiment("a/1", tags={"b": "c"})
        for call, argument in (("create_experiment", "a/1"), ("delete_experiment", made), ("delete_experiment", made)):
            try:
                getattr(registry, call)(argument, **({"tags": {}} if call == "create_experiment" else {}))
                found.append("done")
            except MlflowException as error:
                found.append(error.error_code)
        pages = registry.search_experiments(view_type=ViewType.ALL, filter_string="name LIKE 'a/%'", page_token=None)
        assert not pages.token
        return [found, [(one.name, one.tags, one.lifecycle_stage) for one in pages]]

    assert told(memory) == told(client)

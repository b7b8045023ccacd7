"""Namespaces: everything is found where it was made, and what is shared by all is used."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from pipelines.client import Done, PipelinesService
from pipelines.config import Schedule, Service
from qure.errors import BadInput, StageFailed

PARAMETERS = {"params": "training: {}", "training_set": "cirr", "shards": 2}


@pytest.fixture
def many(kfp_api: ModuleType, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A stand-in with two namespaces, of which this client may use one."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = kfp_api.PipelinesApi(multi_user=True, members={"team-a": {"owner"}, "team-b": {"other"}})
    with kfp_api.serve(server) as address:
        monkeypatch.setenv("KF_PIPELINES_ENDPOINT", address)
        monkeypatch.delenv("KF_PIPELINES_TOKEN", raising=False)
        yield server
    assert server.refusals == []


def of(namespace: str | None) -> PipelinesService:
    return PipelinesService(Service(namespace=namespace, experiment="tests"))


def test_everything_twice_is_once(many: Any, package: Path) -> None:
    first, second = of("team-a").upload(package), of("team-a").upload(package)
    assert first == second
    assert [one["namespace"] for one in many.pipelines.values()] == ["team-a"]
    run = of("team-a").submit("run", first, PARAMETERS)
    assert of("team-a").submit("run", first, PARAMETERS) == Done("unchanged", run.id)
    assert [one["namespace"] for one in many.experiments.values()] == ["team-a"]
    weekly = Schedule(pipeline="training", training_set="cirr", cron="@weekly")
    schedule = of("team-a").schedule("weekly", weekly, first, PARAMETERS)
    assert of("team-a").schedule("weekly", weekly, first, PARAMETERS) == Done("unchanged", schedule.id)
    assert [row["id"] for row in of("team-a").status("run")["runs"]] == [run.id]


def test_another_teams_namespace_is_refused_in_words(many: Any, package: Path) -> None:
    with pytest.raises(StageFailed, match=r"403 Forbidden.*is not authorized"):
        of("team-b").upload(package)
    with pytest.raises(StageFailed, match=r"403 Forbidden.*is not authorized"):
        of("team-b").status()


def test_without_a_namespace_the_setting_is_named(many: Any) -> None:
    with pytest.raises(BadInput, match=r"service\.namespace"):
        of(None)


def test_a_shared_pipeline_serves_all(many: Any, package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An administrator has uploaded it for everybody: it lies in no namespace."""
    own = of("team-a").upload(package)
    pipeline = many.pipelines[own.pipeline_id]
    del pipeline["namespace"]
    assert of("team-a").upload(package) == own
    run = of("team-a").submit("run", own, PARAMETERS)
    assert many.runs[run.id]["pipeline_version_reference"]["pipeline_id"] == own.pipeline_id
    changed = package.read_text() + "# changed\n"
    other = package.with_name("changed.yaml")
    other.write_text(changed)
    assert of("team-a").upload(other).pipeline_id != own.pipeline_id  # ours alone: it lies in our namespace


def test_a_namespace_means_nothing_on_an_installation_for_one(api: Any, package: Path) -> None:
    service = PipelinesService(Service(namespace="kubeflow", experiment="tests"))
    assert service.upload(package) == service.upload(package)
    assert all("namespace" not in one for one in (*api.pipelines.values(), *api.experiments.values()))


@pytest.mark.parametrize("what", ["pipelines", "experiments"])
def test_several_of_one_name_are_listed(api: Any, service: PipelinesService, package: Path, what: str) -> None:
    version = service.upload(package)
    service.submit("run", version, PARAMETERS)
    where = getattr(api, what)
    key = f"{what[:-1]}_id"
    (first,) = where
    where["twin"] = {**where[first], key: "twin"}
    with pytest.raises(BadInput, match=f"there are 2 {what} named") as refusal:
        service.upload(package) if what == "pipelines" else service.status()
    assert first in str(refusal.value)
    assert "twin" in str(refusal.value)


@pytest.mark.parametrize("operation", ["create_pipeline", "upload_version", "create_experiment"])
def test_whoever_comes_second_takes_what_the_first_has_made(
    api: Any, service: PipelinesService, package: Path, operation: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two processes look, find nothing, and both make it: the second is answered 409."""
    make = getattr(api, operation)

    def quicker(**arguments: Any) -> Any:
        make(**arguments)
        return make(**arguments)

    monkeypatch.setattr(api, operation, quicker)
    version = service.upload(package)
    service.submit("run", version, PARAMETERS)
    assert len(api.pipelines) == len(api.experiments) == 1


@pytest.mark.parametrize("missing", ["name", "display_name"])
def test_a_version_is_known_by_either_of_its_names(
    api: Any, service: PipelinesService, package: Path, missing: str
) -> None:
    """Whichever of them the server gives."""
    version = service.upload(package)
    api.versions[version.version_id][missing] = ""
    assert service.upload(package) == version

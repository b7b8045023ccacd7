"""Submitting and scheduling against the stand-in for the API: nothing is duplicated, nothing unknown is sent."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.client import Done, PipelinesService, Version
from pipelines.compiling import compile_one
from pipelines.config import PipelineConfig, Schedule, Service
from qure.errors import BadInput, StageFailed

PARAMETERS = {"params": "training: {}", "training_set": "cirr", "shards": 2}


@pytest.fixture(scope="session")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_one("training", PipelineConfig.load(), tmp_path_factory.mktemp("package") / "training.yaml")


@pytest.fixture
def service(api: Any) -> PipelinesService:
    return PipelinesService(Service(experiment="tests", service_account="qure-runner"))


@pytest.fixture
def version(service: PipelinesService, package: Path) -> Version:
    return service.upload(package)


def weekly(**changes: Any) -> Schedule:
    values = {"pipeline": "training", "training_set": "cirr", "cron": "0 0 2 * * 0"}
    return Schedule.model_validate(values | changes)


def test_the_same_package_is_uploaded_once(service: PipelinesService, api: Any, package: Path) -> None:
    assert service.upload(package) == service.upload(package)
    assert len(api.pipelines) == len(api.versions) == 1, "no further version that is named like the pipeline"
    assert next(iter(api.pipelines.values()))["description"].startswith("Retrain QuRe")


def test_a_changed_package_becomes_a_further_version(
    service: PipelinesService, api: Any, package: Path, version: Version, tmp_path: Path
) -> None:
    changed = tmp_path / "changed.yaml"
    changed.write_text(package.read_text() + "# changed\n")
    other = service.upload(changed)
    assert other.pipeline_id == version.pipeline_id
    assert other.version_id != version.version_id


def test_a_version_beyond_the_first_page_is_found(
    service: PipelinesService, api: Any, package: Path, tmp_path: Path
) -> None:
    versions = []
    for number in range(5):
        file = tmp_path / f"{number}.yaml"
        file.write_text(package.read_text() + f"# {number}\n")
        versions.append(service.upload(file))
    assert [service.upload(tmp_path / f"{number}.yaml") for number in range(5)] == versions


def test_the_same_submission_finds_the_run(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.submit("run", version, PARAMETERS)
    assert first.what == "created"
    assert service.submit("run", version, PARAMETERS) == Done("unchanged", first.id)
    api.runs[first.id]["state"] = "SUCCEEDED"
    assert service.submit("run", version, PARAMETERS) == Done("unchanged", first.id)
    assert len(api.runs) == 1


def test_a_failed_run_is_run_again_under_its_name(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.submit("run", version, PARAMETERS)
    api.runs[first.id]["state"] = "FAILED"
    second = service.submit("run", version, PARAMETERS)
    assert second.what == "updated"
    assert api.runs[first.id]["storage_state"] == "ARCHIVED"
    assert service.submit("run", version, PARAMETERS) == Done("unchanged", second.id)


def test_an_active_run_is_replaced_only_when_asked(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.submit("run", version, PARAMETERS)
    with pytest.raises(BadInput, match="--replace"):
        service.submit("run", version, PARAMETERS | {"shards": 3})
    assert len(api.runs) == 1
    second = service.submit("run", version, PARAMETERS | {"shards": 3}, replace=True)
    assert (second.what, api.runs[first.id]["state"]) == ("updated", "CANCELED")


def test_a_schedule_is_created_once(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.schedule("weekly", weekly(), version, PARAMETERS)
    assert first.what == "created"
    assert service.schedule("weekly", weekly(), version, PARAMETERS) == Done("unchanged", first.id)
    assert len(api.recurring_runs) == 1
    stored = api.recurring_runs[first.id]
    assert stored["trigger"]["cron_schedule"]["cron"] == "0 0 2 * * 0"
    assert stored["service_account"] == "qure-runner"
    assert stored["no_catchup"] is True


@pytest.mark.parametrize(
    "changes", [{"cron": "0 0 3 * * 0"}, {"enabled": False}, {"max_concurrency": 2}, {"catch_up": True}]
)
def test_a_changed_schedule_takes_the_place_of_the_old_one(
    service: PipelinesService, api: Any, version: Version, changes: dict[str, Any]
) -> None:
    first = service.schedule("weekly", weekly(), version, PARAMETERS)
    second = service.schedule("weekly", weekly(**changes), version, PARAMETERS)
    assert second.what == "updated"
    assert list(api.recurring_runs) == [second.id]
    assert second.id != first.id


def test_changed_parameters_change_the_schedule(service: PipelinesService, api: Any, version: Version) -> None:
    service.schedule("weekly", weekly(), version, PARAMETERS)
    assert service.schedule("weekly", weekly(), version, PARAMETERS | {"shards": 9}).what == "updated"
    assert len(api.recurring_runs) == 1


def test_duplicates_that_others_made_are_removed(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.schedule("weekly", weekly(), version, PARAMETERS)
    for number in range(4):
        api.recurring_runs[f"copy-{number}"] = {**api.recurring_runs[first.id], "recurring_run_id": f"copy-{number}"}
    assert service.schedule("weekly", weekly(), version, PARAMETERS).what == "updated"
    assert len(api.recurring_runs) == 1


def test_a_failure_on_the_way_never_leaves_no_schedule(service: PipelinesService, api: Any, version: Version) -> None:
    service.schedule("weekly", weekly(), version, PARAMETERS)
    for operation in ("create_recurring_run", "delete_recurring_run"):
        api.fail_next(operation)
        with pytest.raises(StageFailed, match="503"):
            service.schedule("weekly", weekly(enabled=False), version, PARAMETERS)
        assert api.recurring_runs
    service.schedule("weekly", weekly(enabled=False), version, PARAMETERS)
    assert [one["mode"] for one in api.recurring_runs.values()] == ["DISABLE"]


def test_other_names_are_left_alone(service: PipelinesService, api: Any, version: Version) -> None:
    service.schedule("weekly", weekly(), version, PARAMETERS)
    service.schedule("weekly-2", weekly(), version, PARAMETERS)
    assert [one.what for one in service.unschedule("weekly")] == ["deleted"]
    assert service.unschedule("weekly") == []
    assert [one["display_name"] for one in api.recurring_runs.values()] == ["weekly-2"]


def test_stopping_ends_and_archives(service: PipelinesService, api: Any, version: Version) -> None:
    run = service.submit("run", version, PARAMETERS)
    assert service.stop("run") == [Done("deleted", run.id)]
    assert (api.runs[run.id]["state"], api.runs[run.id]["storage_state"]) == ("CANCELED", "ARCHIVED")
    assert service.stop("run") == []


def test_status_shows_schedules_and_the_latest_runs(service: PipelinesService, api: Any, version: Version) -> None:
    service.schedule("weekly", weekly(), version, PARAMETERS)
    for number in range(5):
        service.submit(f"run-{number}", version, PARAMETERS)
    found = service.status(runs=3)
    assert [row["name"] for row in found["runs"]] == ["run-4", "run-3", "run-2"]
    assert [(row["name"], row["cron"], row["enabled"]) for row in found["schedules"]] == [
        ("weekly", "0 0 2 * * 0", True)
    ]
    assert service.status("run-1")["runs"][0]["name"] == "run-1"


def test_without_an_address_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    with pytest.raises(BadInput, match="KF_PIPELINES_ENDPOINT"):
        PipelinesService(Service())


def test_an_address_where_nothing_answers_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StageFailed, match="does not answer"):
        PipelinesService(Service())


def test_a_wrong_token_is_said_and_never_shown(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "another-sentinel")
    with pytest.raises(StageFailed, match="401") as failure:
        PipelinesService(Service())
    assert "another-sentinel" not in str(failure.value)
    api.refusals.clear()


@pytest.mark.parametrize("trigger", [None, {}, {"periodic_schedule": {"interval_second": "3600"}}])
def test_a_schedule_without_a_cron_is_shown_and_replaced(
    service: PipelinesService, api: Any, version: Version, trigger: dict[str, Any] | None
) -> None:
    """On the page somebody may have made one that runs every hour, or on request alone."""
    first = service.schedule("weekly", weekly(), version, PARAMETERS)
    stored = api.recurring_runs[first.id]
    del stored["trigger"]
    if trigger is not None:
        stored["trigger"] = trigger
    assert [(row["name"], row["cron"]) for row in service.status()["schedules"]] == [("weekly", None)]
    assert service.schedule("weekly", weekly(), version, PARAMETERS).what == "updated"
    assert [row["cron"] for row in service.status()["schedules"]] == ["0 0 2 * * 0"]


def test_a_run_of_no_version_is_another_run(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.submit("run", version, PARAMETERS)
    for missing in ("pipeline_version_reference", "runtime_config"):
        kept = api.runs[first.id].pop(missing)
        with pytest.raises(BadInput, match=r"a run 'run' is .* with another version or other parameters"):
            service.submit("run", version, PARAMETERS)
        api.runs[first.id][missing] = kept
    assert service.submit("run", version, PARAMETERS) == Done("unchanged", first.id)

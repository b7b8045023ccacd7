"""Submitting and scheduling against the stand-in for the API: nothing is duplicated, nothing unknown is sent."""

from pathlib import Path
from typing import Any

import pytest

from pipelines.client import Done, PipelinesService, Version
from pipelines.config import Schedule, Service
from qure.errors import BadInput, StageFailed

PARAMETERS = {"params": "training: {}", "training_set": "cirr", "shards": 2}


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


def test_a_failed_run_goes_on_when_it_is_submitted_again(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.submit("run", version, PARAMETERS)
    api.finish(first.id, "FAILED")
    api.collect(first.id)  # its Workflow is removed an hour after its end, and made again
    assert service.submit("run", version, PARAMETERS) == Done("resumed", first.id)
    assert (api.runs[first.id]["state"], api.runs[first.id]["storage_state"]) == ("RUNNING", "AVAILABLE")
    assert service.submit("run", version, PARAMETERS) == Done("unchanged", first.id)
    assert len(api.runs) == 1


def test_a_failed_run_of_something_else_makes_room(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.submit("run", version, PARAMETERS)
    api.finish(first.id, "FAILED")
    second = service.submit("run", version, PARAMETERS | {"shards": 3})
    assert second.what == "updated"
    assert api.runs[first.id]["storage_state"] == "ARCHIVED"
    assert service.submit("run", version, PARAMETERS | {"shards": 3}) == Done("unchanged", second.id)


def test_of_several_failed_runs_the_latest_goes_on(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.submit("run", version, PARAMETERS)
    api.finish(first.id, "FAILED")
    api.runs["later"] = {**api.runs[first.id], "run_id": "later"}
    assert service.submit("run", version, PARAMETERS) == Done("resumed", "later")
    assert api.runs[first.id]["storage_state"] == "ARCHIVED"
    assert api.runs["later"]["storage_state"] == "AVAILABLE"


def test_an_active_run_is_replaced_only_when_asked(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.submit("run", version, PARAMETERS)
    with pytest.raises(BadInput, match="--replace"):
        service.submit("run", version, PARAMETERS | {"shards": 3})
    assert len(api.runs) == 1
    second = service.submit("run", version, PARAMETERS | {"shards": 3}, replace=True)
    assert (second.what, api.runs[first.id]["state"]) == ("updated", "CANCELING")


def test_a_run_that_is_being_stopped_is_not_what_was_asked_for(
    service: PipelinesService, api: Any, version: Version
) -> None:
    first = service.submit("run", version, PARAMETERS)
    api.start(first.id)
    assert service.stop("run") == [Done("deleted", first.id)]
    api.runs[first.id]["storage_state"] = "AVAILABLE"  # stopped on the page: that archives nothing
    second = service.submit("run", version, PARAMETERS)
    assert second.what == "updated"
    assert second.id != first.id
    assert api.runs[first.id]["storage_state"] == "ARCHIVED"


def test_resuming_by_name_and_by_id(service: PipelinesService, api: Any, version: Version) -> None:
    run = service.submit("run", version, PARAMETERS)
    with pytest.raises(BadInput, match="there is no run 'other'"):
        service.resume("other")
    assert service.resume("run") == Done("unchanged", run.id)
    api.finish(run.id, "FAILED")
    assert service.resume("run") == Done("resumed", run.id)
    api.finish(run.id, "FAILED")
    assert service.resume(run.id) == Done("resumed", run.id)
    api.finish(run.id, "SUCCEEDED")
    with pytest.raises(BadInput, match="no run 'run' has failed: it is succeeded"):
        service.resume("run")


def test_resuming_one_of_several_asks_which(service: PipelinesService, api: Any, version: Version) -> None:
    schedule = service.schedule("weekly", weekly(), version, PARAMETERS)
    runs = [api.fire(schedule.id) for _ in range(2)]
    for run in runs:
        api.finish(run, "FAILED")
    with pytest.raises(BadInput, match="there are 2 failed runs of 'weekly'") as refusal:
        service.resume("weekly")
    assert all(run in str(refusal.value) for run in runs)
    assert service.resume(runs[0]) == Done("resumed", runs[0])
    assert service.resume("weekly") == Done("resumed", runs[1])


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
    assert (api.runs[run.id]["state"], api.runs[run.id]["storage_state"]) == ("CANCELING", "ARCHIVED")
    assert service.stop("run") == []


def test_status_shows_schedules_and_the_latest_runs(service: PipelinesService, api: Any, version: Version) -> None:
    service.schedule("weekly", weekly(), version, PARAMETERS)
    for number in range(11):
        service.submit(f"run-{number}", version, PARAMETERS)
    found = service.status(runs=3)
    assert [row["name"] for row in found["runs"]] == ["run-10", "run-9", "run-8"]
    assert len(service.status()["runs"]) == 10
    assert [(row["name"], row["cron"], row["enabled"]) for row in found["schedules"]] == [
        ("weekly", "0 0 2 * * 0", True)
    ]
    assert service.status("run-1")["runs"][0]["name"] == "run-1"


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


def test_a_schedules_runs_are_found_by_its_name(service: PipelinesService, api: Any, version: Version) -> None:
    """A scheduled run has a name of the controller's; it is the schedule's all the same."""
    first = service.schedule("retrain-fashioniq-every-week", weekly(), version, PARAMETERS)
    other = service.schedule("retrain-fashioniq", weekly(), version, PARAMETERS)
    run, others = api.fire(first.id), api.fire(other.id)
    assert [row["id"] for row in service.status("retrain-fashioniq-every-week")["runs"]] == [run]
    service.unschedule("retrain-fashioniq-every-week")
    assert [row["id"] for row in service.status("retrain-fashioniq-every-week")["runs"]] == [run]
    assert service.stop("retrain-fashioniq-every-week") == [Done("deleted", run)]
    assert (api.runs[run]["state"], api.runs[others]["state"]) == ("CANCELING", "RUNNING")


@pytest.mark.parametrize("change", ["schedule", "unschedule"])
def test_a_run_under_way_outlives_its_schedule(
    service: PipelinesService, api: Any, version: Version, change: str
) -> None:
    first = service.schedule("weekly", weekly(), version, PARAMETERS)
    run = api.fire(first.id)
    if change == "schedule":
        service.schedule("weekly", weekly(cron="0 0 3 * * 0"), version, PARAMETERS)
    else:
        service.unschedule("weekly")
    assert first.id not in api.recurring_runs
    assert run in api.workflows
    assert api.runs[run]["state"] == "RUNNING"


def test_a_changed_schedule_ends_its_runs_when_asked(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.schedule("weekly", weekly(), version, PARAMETERS)
    run, over = api.fire(first.id), api.fire(first.id)
    api.finish(over)
    service.schedule("weekly", weekly(cron="0 0 3 * * 0"), version, PARAMETERS, stop=True)
    assert (api.runs[run]["state"], api.runs[over]["state"]) == ("CANCELING", "SUCCEEDED")
    api.settle()
    assert api.runs[run]["state"] == "FAILED"


@pytest.mark.parametrize("account", ["pipeline-runner", "default-editor", "an-administrators-own"])
def test_no_service_account_is_the_servers_own(api: Any, version: Version, account: str) -> None:
    """A recurring run that was created without one comes back with the server's: that is no difference."""
    api.account = account
    service = PipelinesService(Service(experiment="tests", service_account=None))
    first = service.schedule("weekly", weekly(), version, PARAMETERS)
    assert service.schedule("weekly", weekly(), version, PARAMETERS) == Done("unchanged", first.id)
    assert list(api.recurring_runs) == [first.id]


def test_a_service_account_that_is_taken_back(service: PipelinesService, api: Any, version: Version) -> None:
    first = service.schedule("weekly", weekly(), version, PARAMETERS)
    bare = PipelinesService(Service(experiment="tests", service_account=None))
    second = bare.schedule("weekly", weekly(), version, PARAMETERS)
    assert second.what == "updated"
    assert second.id != first.id
    assert bare.schedule("weekly", weekly(), version, PARAMETERS) == Done("unchanged", second.id)
    assert service.schedule("weekly", weekly(), version, PARAMETERS).what == "updated"


def test_archived_runs_do_not_hide_the_others(service: PipelinesService, api: Any, version: Version) -> None:
    kept = service.submit("kept", version, PARAMETERS)
    for number in range(5):
        service.submit(f"archived-{number}", version, PARAMETERS)
        service.stop(f"archived-{number}")
    assert [row["id"] for row in service.status(runs=2)["runs"]] == [kept.id]

"""What runs and schedules do, and whose they are, as the API's own objects tell it."""

from typing import Any

import kfp_server_api
import pytest

from pipelines.client.runs import ACTIVE, STOPPING, UNSUCCESSFUL, as_run, as_schedule, was_made_by


def doing(**more: Any) -> dict[str, Any]:
    return {
        "pipeline_version_reference": kfp_server_api.V2beta1PipelineVersionReference(pipeline_version_id="v7"),
        "runtime_config": kfp_server_api.V2beta1RuntimeConfig(parameters={"epochs": 2}),
        **more,
    }


def scheduled(**more: Any) -> Any:
    cron = kfp_server_api.V2beta1CronSchedule(cron="0 3 * * *")
    return kfp_server_api.V2beta1RecurringRun(
        **doing(trigger=kfp_server_api.V2beta1Trigger(cron_schedule=cron), **more)
    )


def test_a_run_does_a_version_with_parameters() -> None:
    assert as_run(kfp_server_api.V2beta1Run(**doing())) == {"version": "v7", "parameters": {"epochs": 2}}
    empty = kfp_server_api.V2beta1RuntimeConfig()
    assert as_run(kfp_server_api.V2beta1Run(**doing(runtime_config=empty)))["parameters"] == {}
    assert as_run(kfp_server_api.V2beta1Run()) == {"version": None, "parameters": {}}


def test_a_schedule_also_says_when() -> None:
    found = as_schedule(scheduled(mode="ENABLE", max_concurrency="3", no_catchup=True))
    when = {"cron": "0 3 * * *", "enabled": True, "max_concurrency": 3, "no_catchup": True}
    assert found == {"version": "v7", "parameters": {"epochs": 2}} | when


def test_what_a_schedule_does_not_say_is_off() -> None:
    nothing = {"cron": None, "enabled": False, "max_concurrency": 0, "no_catchup": False}
    for trigger in (None, kfp_server_api.V2beta1Trigger()):
        run = kfp_server_api.V2beta1RecurringRun(trigger=trigger, mode="DISABLE")
        assert as_schedule(run) == {"version": None, "parameters": {}} | nothing


@pytest.mark.parametrize(
    ("run", "schedule", "made"),
    [
        ("nightlyab1c2-1-2199468104", "nightly", True),
        ("nightlyab1c2-12-7", "nightly", True),
        (
            "qure-retrainingeveryq3x9z-4-1",
            "Qure-Retraining (every)",
            True,
        ),  # letters, digits and hyphens, in lower case
        ("0123456789012345678901234ab1c2-1-1", "0123456789012345678901234567", True),  # 25 of them
        ("01234567890123456789012345ab1c2-1-1", "0123456789012345678901234567", False),
        ("nightlyab1c-1-2199468104", "nightly", False),
        ("nightlyab1c2-1-21994681041", "nightly", False),
        ("nightlyab1c2-1", "nightly", False),
        ("nightlyab1c2-1-", "nightly", False),
        ("my-nightlyab1c2-1-1", "nightly", False),
        ("nightlyab1c2-1-1-again", "nightly", False),
        ("nightly", "nightly", False),
        (None, "nightly", False),
    ],
)
def test_whose_a_run_is_tells_its_name(run: str | None, schedule: str, made: bool) -> None:
    assert was_made_by(kfp_server_api.V2beta1Run(display_name=run, recurring_run_id="7"), schedule) is made
    assert not was_made_by(kfp_server_api.V2beta1Run(display_name=run), schedule), "nobody's schedule has made it"


def test_a_state_has_one_meaning() -> None:
    states = [*ACTIVE, STOPPING, *UNSUCCESSFUL, "SUCCEEDED"]
    assert len(states) == len(set(states))
    assert set(kfp_server_api.V2beta1RuntimeState.allowable_values) == {state for state in states if state}

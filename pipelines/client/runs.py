"""Runs and schedules as this client sees them: their states, what they do, whose they are."""

import re
from typing import Any

#: A run that has a future. CANCELING is not among them: it is being stopped, and becomes FAILED.
ACTIVE = {"PENDING", "RUNNING", "PAUSED", "RUNTIME_STATE_UNSPECIFIED", None}
STOPPING = "CANCELING"
#: States of a run that is over and did not do what it was for.
UNSUCCESSFUL = {"FAILED", "CANCELED", "SKIPPED"}

#: Service accounts that a server gives where none is named, unless it is set up to give another.
DEFAULT_ACCOUNTS = {"", "pipeline-runner", "default-editor"}
_LONGEST_SCHEDULE_NAME = 25


def as_run(run: Any) -> dict[str, Any]:
    """What a run or schedule does: version and parameters."""
    reference, config = run.pipeline_version_reference, run.runtime_config
    return {
        "version": reference.pipeline_version_id if reference else None,
        "parameters": dict(config.parameters or {}) if config else {},
    }


def as_schedule(run: Any) -> dict[str, Any]:
    """What a recurring run does, and when; without its service account."""
    return as_run(run) | {
        "cron": run.trigger.cron_schedule.cron if run.trigger and run.trigger.cron_schedule else None,
        "enabled": run.mode == "ENABLE",
        "max_concurrency": int(run.max_concurrency or 0),  # int64: a string in JSON
        "no_catchup": bool(run.no_catchup),
    }


def was_made_by(run: Any, schedule: str) -> bool:
    """Whether a run's name is one that the schedule controller makes of a schedule's name.

    It tells whose a run is after its recurring run has been deleted.

    >>> from types import SimpleNamespace
    >>> run = SimpleNamespace(recurring_run_id="7", display_name="nightly-sleep9s7q6-1-2199468104")
    >>> was_made_by(run, "nightly-sleep"), was_made_by(run, "nightly")
    (True, False)
    """
    short = re.sub(r"[^a-z0-9-]+", "", schedule.lower())[:_LONGEST_SCHEDULE_NAME]
    name = rf"{re.escape(short)}[a-z0-9]{{5}}-[0-9]+-[0-9]{{1,10}}"
    return bool(run.recurring_run_id) and re.fullmatch(name, run.display_name or "") is not None

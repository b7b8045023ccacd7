"""Runs, their tasks and schedules as rows for people and programs."""

import re
from datetime import UTC, datetime
from typing import Any

from pipelines.client.runs import ACTIVE, STOPPING, as_schedule

#: Rows of a run's details that are no task of the pipeline: drivers, executors, attempts, levels, iterations.
_NO_TASK = re.compile(
    r"""(.*\(\d+\)                # an attempt
      | .*-driver
      | executor
      | root
      | exit-handler-\d+(\.onExit)?
      | for-loop-\d+ | condition-\S+
      | iteration-(item|iterations)(\(\d+:\d+\))?
    )""",
    re.VERBOSE,
)


def schedule_row(run: Any) -> dict[str, Any]:
    """name, id, cron, enabled, status of a recurring run."""
    stated = as_schedule(run)
    return {
        "name": run.display_name,
        "id": run.recurring_run_id,
        "cron": stated["cron"],
        "enabled": stated["enabled"],
        "status": run.status,
    }


def run_row(run: Any) -> dict[str, Any]:
    """name, id, state, schedule, created, finished, seconds of a run; times in ISO 8601, None where there is none."""
    created, finished = _time(run.created_at), _time(run.finished_at)
    return {
        "name": run.display_name,
        "id": run.run_id,
        "state": ended_as(run),
        "schedule": run.recurring_run_id,
        "created": _text(created),
        "finished": _text(finished),
        "seconds": _seconds(created, finished),
    }


def ended_as(run: Any) -> str:
    """A run's state as people say it: a stopped one ends as FAILED in Kubeflow, never as CANCELED."""
    if run.state == STOPPING:
        return "stopping"
    if run.state == "CANCELED":
        return "stopped"
    if run.state == "FAILED":
        states = [one.state for one in run.state_history or []]
        # A run that failed, or was stopped, and goes on has its earlier end in its history too.
        latest = states[len(states) - states[::-1].index("RUNNING") :] if "RUNNING" in states else states
        return "stopped" if STOPPING in latest else "failed"
    return str(run.state or "unknown").lower()


def task_rows(run: Any) -> list[dict[str, Any]]:
    """name, state, started, finished, seconds, cached of every task of the pipeline, in the order of their starts.

    Kubeflow writes tasks down from the Workflow while it reads it, and stops where that becomes too big for it: a
    task that is running in a run that is over has a state that nobody wrote down ("not recorded").
    """
    rows = []
    for detail in (run.run_details.task_details if run.run_details else None) or []:
        name = detail.display_name
        # The run itself has a row, under its Workflow's name: the other rows' pods begin with it.
        if not name or _NO_TASK.fullmatch(name) or _is_workflow(detail):
            continue
        state = str(detail.state or "unknown").lower()
        if state in ("pending", "running") and run.state not in ACTIVE | {STOPPING}:
            state = "not recorded"
        started, finished = _time(detail.start_time), _time(detail.end_time)
        rows.append(
            {
                "name": name,
                "state": state,
                "started": _text(started),
                "finished": _text(finished),
                "seconds": _seconds(started, finished),
                # A task's own pod takes seconds; the cache answers in its driver's.
                "cached": state == "succeeded" and started == finished,
            }
        )
    return sorted(rows, key=lambda row: (row["started"] or "9", row["name"]))


def workflow_of(run: Any) -> str | None:
    """The name of a run's Workflow; None before Kubeflow has written it down."""
    details = (run.run_details.task_details if run.run_details else None) or []
    return next((str(one.display_name) for one in details if one.display_name and _is_whole(one)), None)


def _is_whole(detail: Any) -> bool:
    return _is_workflow(detail) and not _NO_TASK.fullmatch(detail.display_name)


def _is_workflow(detail: Any) -> bool:
    return any((child.pod_name or "").startswith(f"{detail.display_name}-") for child in detail.child_tasks or [])


def _time(value: Any) -> datetime | None:
    """A time of the API, which says 1970 or the year 1 of what has not happened."""
    if value is None or value.year <= 1970:
        return None
    return value.astimezone(UTC) if value.tzinfo else value.replace(tzinfo=UTC)


def _text(value: datetime | None) -> str | None:
    return f"{value:%Y-%m-%dT%H:%M:%SZ}" if value else None


def _seconds(start: datetime | None, end: datetime | None) -> int | None:
    return round((end - start).total_seconds()) if start and end else None

"""Schedules, runs and tasks as tables for people."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qure.notification import duration

if TYPE_CHECKING:
    from rich.console import Group
    from rich.table import Table

Found = dict[str, list[dict[str, Any]]]

_UNDER_WAY = {"pending", "running", "paused", "stopping"}
_STYLES = {
    "succeeded": "green",
    "failed": "red",
    "timed out": "red",
    "out of memory": "red",
    "stopped": "yellow",
    "stopping": "yellow",
    "running": "cyan",
}
_BROKEN = {"failed", "timed out", "out of memory"}
_INTERVAL_SECONDS = 5.0


def show(found: Found) -> None:
    """Prints what `PipelinesService.status` has found."""
    from rich.console import Console

    Console().print(_tables(found))


def watch_until_over(look: Callable[[], Found], *, interval: float = _INTERVAL_SECONDS) -> Found:
    """Shows what `look` finds, renewed in place, until no run is under way; returns the last of it."""
    from rich.live import Live

    with Live(auto_refresh=False) as live:
        while True:
            found = look()
            live.update(_tables(found), refresh=True)
            if not any(run["state"] in _UNDER_WAY for run in found["runs"]):
                return found
            time.sleep(interval)


def _tables(found: Found) -> "Group":
    from rich.console import Group
    from rich.text import Text

    parts: list[Table | Text] = []
    for kind, columns in (
        ("schedules", ("name", "cron", "status", "id")),
        ("runs", ("name", "state", "created", "took", "id")),
    ):
        rows = [row | {"took": _took(row.get("seconds"))} for row in found[kind]]
        parts.append(_table(kind, columns, rows) if rows else Text(f"{kind}: none"))
    for run in found["runs"]:
        parts += [Text(f"{what}: {address}") for what, address in run.get("links", {}).items()]
        if "tasks" in run:
            rows = [row | {"took": "cached" if row["cached"] else _took(row["seconds"])} for row in run["tasks"]]
            parts.append(_table(f"tasks of {run['name']}", ("name", "state", "started", "took"), rows))
            for row in rows:
                told = [part for part in (row.get("error"), row.get("message"), row.get("pod")) if part]
                if row["state"] in _BROKEN and told:
                    parts.append(Text(f"{row['name']}: {'; '.join(told)}"))
            if "unexplained" in run and run["state"] == "failed":
                parts.append(
                    Text(f"why {run['name']} failed is in its Workflow, which cannot be read: {run['unexplained']}")
                )
    return Group(*parts)


def _took(seconds: int | None) -> str:
    return "" if seconds is None else duration(seconds)


def _table(title: str, columns: tuple[str, ...], rows: list[dict[str, Any]]) -> "Table":
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    table = Table(title=title, title_justify="left", title_style="bold", box=SIMPLE_HEAD, pad_edge=False)
    for column in columns:
        table.add_column(column, overflow="fold", no_wrap=column in ("state", "took", "id"))
    for row in rows:
        style = _STYLES.get(str(row.get("state")), "")
        table.add_row(
            *(
                Text(str(row[column] if row[column] is not None else ""), style=style if column == "state" else "")
                for column in columns
            )
        )
    return table

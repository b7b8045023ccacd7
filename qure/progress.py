"""What a command says while it works: log lines, and progress bars on a terminal.

A log line is one line, however narrow the terminal is: whoever keeps it in a file can search it. Progress bars are
drawn on a terminal; elsewhere a line tells every half minute how far they are.
"""

import logging
import os
import time
from collections.abc import Iterable, Iterator, Sized
from typing import Any, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.text import Text

Item = TypeVar("Item")

logger = logging.getLogger(__name__)

#: Seconds between two lines of a hidden progress bar.
SPOKEN_SECONDS = 30.0
#: Variable with what the lines of a process begin with: set where the stages of several training sets run at once.
LABEL = "QURE_LOG_LABEL"
#: Variable with how much processes say that another command starts: 1 more, -1 less (`qure -v demo`).
VERBOSITY = "QURE_VERBOSITY"

#: Standard error, so that what a command prints can be piped.
console = Console(stderr=True)


class LineHandler(logging.Handler):
    """Writes each record as one line, `15:38:03  rendered 6402 images`; warnings and errors say that they are one.

    It writes through `console`, so that a line stands above the progress bar of the moment.
    """

    def emit(self, record: logging.LogRecord) -> None:
        """Writes a record; a failure to do so is logging's to handle and ends no stage."""
        try:
            level = "" if record.levelno < logging.WARNING else f"{record.levelname.lower()}: "
            style = "red" if record.levelno >= logging.ERROR else "yellow" if level else ""
            line = Text(time.strftime("%H:%M:%S  ", time.localtime(record.created)), style="dim")
            said = self.format(record)
            label = os.environ.get(LABEL)
            if label and not said.startswith((f"{label}:", f"{label},")):
                line.append(f"{label}: ", style="dim")
            line.append(level, style=style)
            line.append(said)
            console.print(line, soft_wrap=True)
        except Exception:
            self.handleError(record)


#: How much is said -> from which level on `qure` speaks.
_LEVELS = {-1: logging.WARNING, 0: logging.INFO, 1: logging.DEBUG}


def inherited_verbosity() -> int:
    """What the command that started this one was asked for: 1, 0 or -1."""
    level = os.environ.get(VERBOSITY, "").strip()
    return int(level) if level in {"1", "-1"} else 0


def verbosity() -> int:
    """How much this process says, for those that it starts."""
    level = logging.getLogger("qure").level
    return next((number for number, one in _LEVELS.items() if one == level), 0)


def log_to_terminal(verbosity: int = 0) -> None:
    """Lets `qure` speak on standard error, once for a process.

    Args:
        verbosity: 0: what qure does, and the libraries' warnings; 1: the libraries too; -1: warnings alone.
    """
    logging.basicConfig(
        level=logging.INFO if verbosity > 0 else logging.WARNING, format="%(message)s", handlers=[LineHandler()]
    )
    logging.getLogger("qure").setLevel(_LEVELS[verbosity])


class SpokenProgress(Progress):
    """A display that says how far it is in the log, now and then, where it is hidden: in a file, in a pod."""

    def __init__(self, *columns: ProgressColumn, **options: Any) -> None:
        self._say_at = time.monotonic() + SPOKEN_SECONDS
        super().__init__(*columns, **options)

    def advance(self, task_id: TaskID, advance: float = 1) -> None:
        """Moves a task on."""
        super().advance(task_id, advance)
        self._say(task_id)

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Changes a task."""
        super().update(task_id, **changes)
        self._say(task_id)

    def _say(self, task_id: TaskID) -> None:
        if not self.disable or time.monotonic() < self._say_at:
            return
        self._say_at = time.monotonic() + SPOKEN_SECONDS
        task = next(one for one in self.tasks if one.id == task_id)
        whole = f" of {task.total:,.0f}" if task.total else ""
        logger.info("%s: %s%s", task.description, f"{task.completed:,.0f}", whole)


def progress_bar() -> Progress:
    """A progress display with count, elapsed and remaining time; lines of the log where it cannot be seen."""
    return SpokenProgress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
        console=console,
        transient=True,
        disable=not (console.is_terminal and logging.getLogger("qure").isEnabledFor(logging.INFO)),
    )


def track(items: Iterable[Item], description: str, total: int | None = None) -> Iterator[Item]:
    """Yields `items` while a bar shows how many are done and how long the rest will take."""
    if total is None and isinstance(items, Sized):
        total = len(items)
    with progress_bar() as bar:
        task = bar.add_task(description, total=total, note="")
        for item in items:
            yield item
            bar.advance(task)


def counted(number: int, noun: str, plural: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "process", "processes"), counted(4500, "triplet")
    ('1 process', '4,500 triplets')
    """
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"

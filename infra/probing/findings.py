"""Findings: made in a task, printed as marked lines of its log, read again by whoever reads that log."""

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass
from typing import Literal

#: Begins each line that is a finding.
MARK = "QURE-CHECK "

State = Literal["ok", "failed", "skipped"]


@dataclass(frozen=True)
class Finding:
    """What was found out about one subject; `remedy` is what to change where it failed."""

    subject: str
    state: State
    text: str
    remedy: str = ""


def found(subject: str, remedy: str, look: Callable[[], str]) -> Finding:
    """Calls `look`, which says what it saw; whatever it raises is a failure, in one line and without secrets."""
    from qure.tracking import redacted

    begin = time.monotonic()
    try:
        text = look()
    except Exception as error:  # a probe reports, it never ends the task
        return Finding(subject, "failed", redacted(" ".join(f"{type(error).__name__}: {error}".split()))[:500], remedy)
    return Finding(subject, "ok", f"{text} ({time.monotonic() - begin:.1f} s)")


def say(findings: Iterable[Finding]) -> None:
    """Prints findings, each as soon as it is there."""
    for finding in findings:
        print(MARK + json.dumps(asdict(finding)), flush=True)


def heard(lines: Iterable[str]) -> list[Finding]:
    """The findings in a log; of lines that are none, nothing."""
    return [Finding(**json.loads(line.split(MARK, 1)[1])) for line in lines if MARK in line]

"""Runs DVC's stages and follows what it says: names each stage before it starts, training sets side by side.

A catalogue's stage keeps one core busy, so the stages of the training sets run beside each other where there are
cores for it: a `dvc repro` for each training set, which wait for each other's lock. Each is told its stages one by one
(`--single-item`): following dependencies would lock `data/` for the one that comes first. Lines of stages that run
side by side begin with their training set. Stages are forks of one process, which imports the libraries for all of them
(`qure.forking`).
"""

import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from qure.errors import StageFailed
from qure.forking import fork_server
from qure.progress import LABEL, VERBOSITY, console, verbosity

logger = logging.getLogger(__name__)

#: What a stage is about, for those who see it for the first time.
ABOUT = {
    "validate": "check every annotation and every image",
    "backbone": "make or import the model that training starts from",
    "precompute": "run the frozen image tower once over every image",
    "train": "fine-tune on hard negatives that are mined while training",
    "evaluate": "judge the model and its controls on the benchmarks",
    "register": "put the model into the registry as challenger",
    "promote": "make it champion, if it is not worse than the one there is",
}

#: The stage that all training sets share; those before and after it belong to one each.
SHARED = "backbone"

_RUNNING = re.compile(r"^Running stage '([^']+)'")
_KEPT = re.compile(r"^Stage '([^']+)' (?:didn't change|is cached)")
#: DVC's own remarks, which tell a newcomer nothing.
_NOISE = re.compile(
    r"^(> |'[^']+\.dvc' didn't change|(Updating|Generating) lock file|Use `dvc push`"
    r"|To (track|enable)|Data and pipelines|\t(git|dvc) )"
)
_TOLD = re.compile(r"^\d\d:\d\d:\d\d  ")


@dataclass
class Chain:
    """The stages of dvc.yaml.

    Attributes:
        usual: seconds that stages usually take, by name.
        seconds: by stage, as far as stages have ended.
        sets: how many training sets there are.
        environment: of the stages.
        ran, kept: stages that DVC has run or left as they are.
        total: how many stages there are.
    """

    usual: dict[str, float] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    sets: int = 2
    environment: dict[str, str] = field(default_factory=lambda: dict(os.environ))
    ran: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    total: int = 0
    _turn: threading.Lock = field(default_factory=threading.Lock)

    def run(self) -> None:
        """Runs what has changed.

        Raises:
            StageFailed: a stage failed; its own message stands above.
        """
        if up_to_date():
            self.kept = list_stages()
            self.total = len(self.kept)
            return
        cores = len(os.sched_getaffinity(0))
        side_by_side = cores > 1 and self.sets > 1
        from qure.tracking.connection import quiet_environment

        quiet_environment()
        # Unbuffered, so that DVC's line about a stage comes before what the stage itself says.
        self.environment = os.environ | {"PYTHONUNBUFFERED": "1", VERBOSITY: str(verbosity())}
        if side_by_side:  # for the stage in between too: what the catalogue computes has threads of its own
            self.environment.setdefault("OMP_NUM_THREADS", str(max(1, cores // self.sets)))
        with ended_together(), fork_server(self.environment) as address:  # it imports while DVC is asked
            self.environment |= address
            stages = list_stages()
            self.total = len(stages)
            for step in plan_steps(stages):
                self._run(step, side_by_side=side_by_side and len(step) > 1)

    def _run(self, step: Sequence[Sequence[str]], *, side_by_side: bool) -> None:
        """Lists of stages, each in its order."""
        if not side_by_side:
            for targets in step:
                Follower(self).follow(targets)
            return
        with _live() as display, ThreadPoolExecutor(len(step)) as pool:
            followers = [Follower(self, targets[0].partition("@")[2], display) for targets in step]
            ends = [pool.submit(one.follow, targets) for one, targets in zip(followers, step, strict=True)]
            failed = [error for end in ends if (error := end.exception()) is not None]
        if failed:
            raise failed[0]

    def begin(self, stage: str) -> int:
        """Notes that a stage begins; returns its number."""
        with self._turn:
            self.ran.append(stage)
            return len({*self.ran, *self.kept})

    def keep(self, stage: str) -> None:
        """Notes that a stage is up to date."""
        with self._turn:
            if stage not in {*self.ran, *self.kept}:
                self.kept.append(stage)


class Follower:
    """One `dvc repro`, followed line by line.

    Args:
        chain: what is known of all stages.
        label: what lines of its stages begin with; "" where it runs by itself.
        display: on which the stage of the moment is shown, where several run.
    """

    def __init__(self, chain: Chain, label: str = "", display: Progress | None = None) -> None:
        self._chain, self._label, self._display = chain, label, display
        self._stage, self._begun = "", 0.0
        self._row: TaskID | None = display.add_task(label) if display is not None else None

    def follow(self, targets: Sequence[str]) -> None:
        """Runs stages one after the other; none stands for everything that dvc.yaml describes.

        Raises:
            StageFailed: a stage failed.
        """
        environment = self._chain.environment | ({LABEL: self._label} if self._label else {})
        single = ["--single-item", *targets] if targets else []
        command = [sys.executable, "-m", "dvc", "--wait-for-lock", "repro", *single]
        errors = subprocess.PIPE if self._label else None
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment, errors="replace"
        ) as process:
            beside = threading.Thread(target=self._pass_on, args=(process.stderr,)) if process.stderr else None
            if beside is not None:
                beside.start()
            assert process.stdout is not None
            for line in process.stdout:
                self.hear(line.rstrip())
            if beside is not None:
                beside.join()
        self._end_stage()
        if self._display is not None and self._row is not None:
            self._display.remove_task(self._row)
        if process.returncode:
            stopped = f"stage {self._stage!r}" if self._stage else "DVC"
            raise StageFailed(
                f"{stopped} failed (exit {process.returncode}); its message stands above. "
                "Mend that and run the same command again: it goes on from there"
            )

    def hear(self, line: str) -> None:
        """One line of what DVC says."""
        if found := _RUNNING.match(line):
            self._end_stage()
            self._begin_stage(found[1])
        elif found := _KEPT.match(line):
            self._chain.keep(found[1])
        elif line and not _NOISE.match(line):
            say(line)

    def _pass_on(self, stream: IO[str]) -> None:
        """What the stages say, as it is: they know their label."""
        for line in stream:
            say(line.rstrip())

    def _begin_stage(self, name: str) -> None:
        self._stage, self._begun = name, time.monotonic()
        number = self._chain.begin(name)
        measured = self._chain.usual.get(name)
        usual = f" (about {max(5, 5 * round(measured / 5))} s)" if measured else ""
        about = ABOUT.get(name.split("@")[0], "run")
        logger.info("stage %d of %d, %s: %s%s", number, self._chain.total, name, about, usual)
        if self._display is not None and self._row is not None:
            self._display.update(self._row, description=name)

    def _end_stage(self) -> None:
        if self._stage and self._stage not in self._chain.seconds:
            self._chain.seconds[self._stage] = time.monotonic() - self._begun


@contextmanager
def ended_together() -> Iterator[None]:
    """Within it SIGTERM ends the stages too, as Ctrl-C does, which a terminal sends to all: DVC passes nothing on."""

    def end(number: int, _frame: object) -> None:
        import psutil

        for process in psutil.Process().children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                process.terminate()
        raise SystemExit(128 + number)  # as the shell tells that a signal has ended a command

    if threading.current_thread() is not threading.main_thread():  # only that one may say what signals do
        yield
        return
    before = signal.signal(signal.SIGTERM, end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def up_to_date() -> bool:
    """Whether DVC would run nothing: the quick question, before anything is planned."""
    if not Path("dvc.lock").is_file():
        return False
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "status", "--quiet"]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def list_stages() -> list[str]:
    """The stages that dvc.yaml describes, `foreach` unrolled, in its order.

    Raises:
        StageFailed: DVC cannot read it; its own message stands above.
    """
    command = [sys.executable, "-m", "dvc", "--wait-for-lock", "stage", "list", "--name-only"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise StageFailed(f"DVC cannot read dvc.yaml (exit {done.returncode}); its message stands above")
    names = (line.strip() for line in done.stdout.splitlines())
    return [name for name in names if name and not name.endswith(".dvc")]


def plan_steps(stages: Sequence[str]) -> list[list[list[str]]]:
    """Steps, one after the other: lists of stages that run side by side.

    >>> plan_steps(["validate@a", "validate@b", "backbone", "train@a", "train@b", "promote@a", "promote@b"])
    [[['validate@a'], ['validate@b']], [['backbone']], [['train@a', 'promote@a'], ['train@b', 'promote@b']]]
    >>> plan_steps(["backbone", "promote@a", "a stage of one's own"])
    [[['backbone']], [['promote@a']], [[]]]
    """
    kinds = list(ABOUT)
    shared = kinds.index(SHARED)
    own = [name for name in stages if name.split("@")[0] in kinds and name != SHARED]
    labels = sorted({name.partition("@")[2] for name in own})

    def of(label: str, wanted: Sequence[str]) -> list[str]:
        return [name for kind in wanted for name in own if name == f"{kind}@{label}"]

    before = [of(label, kinds[:shared]) for label in labels]
    after = [of(label, kinds[shared + 1 :]) for label in labels]
    # And, following dependencies, whatever else a project's dvc.yaml describes.
    others: list[list[str]] = [[]] if {*stages} - {*own, SHARED} else []
    steps = [[one for one in step if one] for step in (before, [[SHARED]] if SHARED in stages else [], after)]
    return [step for step in (*steps, others) if step]


def say(line: str) -> None:
    """A line of another process, above what is being shown; warnings and errors in colour."""
    words = _TOLD.sub("", line)
    style = "yellow" if "warning:" in words[:40] else "red" if "error:" in words[:40] else None
    console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _live() -> Iterator[Progress]:
    """The stages of the moment and how long they have run; on a terminal alone."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as display:
        yield display

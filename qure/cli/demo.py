"""`qure demo`: the data, then every stage that has something to do, then the results, told to a person who watches.

DVC decides what runs; this follows what it says, names each stage before it starts, and tells how long it took.
"""

import json
import logging
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from qure.cli.application import app
from qure.cli.evaluation import results
from qure.cli.options import PARAMETERS, Parameters, settings_for
from qure.errors import BadInput, StageFailed
from qure.layout import Layout

logger = logging.getLogger(__name__)

#: Seconds of each stage on the machine that it names; `python -m benchmarks.demo` measures them.
SECONDS = Path(__file__).parent / "demo_seconds.json"

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

_RUNNING = re.compile(r"^Running stage '([^']+)'")
_KEPT = re.compile(r"^Stage '([^']+)' (?:didn't change|is cached)")
#: DVC's own remarks, which tell a newcomer nothing.
_NOISE = re.compile(
    r"^(> |'[^']+\.dvc' didn't change|Updating lock file|Use `dvc push`"
    r"|To (track|enable)|Data and pipelines|\t(git|dvc) )"
)


@app.command()
def demo(
    params: Parameters = PARAMETERS,
    timings: Annotated[Path | None, typer.Option(help="JSON file for the seconds of each stage that ran.")] = None,
) -> None:
    """Everything at once: the data, every stage that has something to do (`dvc repro`), then the results."""
    if not Path("dvc.yaml").is_file():
        raise BadInput("there is no dvc.yaml in this folder", remedy="Start it in the project's own folder")
    if find_spec("dvc") is None:
        raise ModuleNotFoundError("No module named 'dvc'", name="dvc")
    from qure.catalogue.restore import restore
    from qure.training.speed import span

    settings = settings_for(params)
    begun = time.monotonic()
    logger.info("%s", announcement())
    if restore(settings, Layout.data) != "present":
        logger.info("the data is there after %s", span(time.monotonic() - begun))
    logger.info("asking DVC which stages have something to do")
    chain = Chain({"data": time.monotonic() - begun})
    chain.run()
    if chain.ran:
        logger.info("done: %d of %d stages ran, in %s", len(chain.ran), chain.total, span(time.monotonic() - begun))
    else:
        logger.info("nothing had to be done: all %d stages are up to date", len(chain.kept))
    if timings is not None:
        from qure.files import write_json

        write_json(timings, {name: round(seconds, 1) for name, seconds in chain.seconds.items()})
    results(params=params, data=Layout.data, artifacts=Layout.artifacts)


def announcement() -> str:
    """How long a whole run takes, from a measured one.

    >>> announcement().startswith("the whole chain takes about ")
    True
    """
    measured = read_seconds()
    minutes = max(1, round(sum(measured["seconds"].values()) / 60))
    return f"the whole chain takes about {minutes} min on {measured['cores']} idle cores; what is done already is kept"


def read_seconds() -> dict[str, Any]:
    """What `benchmarks/demo.py` has measured: `cores`, `seconds` by stage, and where."""
    return dict(json.loads(SECONDS.read_text(encoding="utf-8")))


@dataclass
class Chain:
    """One `dvc repro`, followed line by line.

    Attributes:
        seconds: by stage, as far as stages have ended.
        ran, kept: stages that DVC has run or left as they are, in its order.
        total: how many stages there are; 0 until the first one runs.
    """

    seconds: dict[str, float] = field(default_factory=dict)
    ran: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    total: int = 0
    _begun: float = 0.0

    def run(self) -> None:
        """Runs what has changed.

        Raises:
            StageFailed: a stage failed; its own message stands above.
        """
        # Unbuffered, so that DVC's line about a stage comes before what the stage itself says.
        environment = os.environ | {"PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-m", "dvc", "repro"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
            assert process.stdout is not None
            for line in process.stdout:
                self.hear(line.rstrip())
        self._end_stage()
        if process.returncode:
            stopped = f"stage {self.ran[-1]!r}" if self.ran else "DVC"
            raise StageFailed(
                f"{stopped} failed (exit {process.returncode}); its message stands above. "
                "Mend that and run the same command again: it goes on from there"
            )

    def hear(self, line: str) -> None:
        """One line of what DVC says."""
        if found := _RUNNING.match(line):
            self._end_stage()
            self.total = self.total or count_stages()
            self._begin_stage(found[1])
        elif found := _KEPT.match(line):
            self.kept.append(found[1])
        elif line and not _NOISE.match(line):
            typer.echo(line, err=True)

    def _begin_stage(self, name: str) -> None:
        self.ran.append(name)
        place = len(self.ran) + len(self.kept)
        measured = read_seconds()["seconds"].get(name)
        usual = f" (about {max(5, 5 * round(measured / 5))} s)" if measured else ""
        logger.info("stage %d of %d, %s: %s%s", place, self.total, name, ABOUT.get(name.split("@")[0], "run"), usual)
        self._begun = time.monotonic()

    def _end_stage(self) -> None:
        if self.ran and self.ran[-1] not in self.seconds:
            self.seconds[self.ran[-1]] = time.monotonic() - self._begun


def count_stages() -> int:
    """How many stages dvc.yaml describes, `foreach` unrolled."""
    command = [sys.executable, "-m", "dvc", "stage", "list", "--name-only"]
    listed = subprocess.run(command, capture_output=True, text=True, check=False)
    return sum(1 for _ in _names(listed.stdout))


def _names(listed: str) -> Iterator[str]:
    return (line.strip() for line in listed.splitlines() if line.strip() and not line.strip().endswith(".dvc"))

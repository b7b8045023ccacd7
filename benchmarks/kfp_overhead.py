"""What a pipeline costs beside its work: compile time, and seconds per task of the local runners.

    python -m benchmarks.kfp_overhead [--containers]

`--containers` also runs tasks as containers of the image in QURE_TEST_IMAGE, on the engine at DOCKER_HOST.
Result: benchmarks/results/kfp_overhead.json
"""

import argparse
import contextlib
import io
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any, Literal

from kfp import dsl

from benchmarks.common import write_result
from pipelines.compiling import PIPELINES, compile_one
from pipelines.config import PipelineConfig
from pipelines.local import run_locally
from qure.errors import StageFailed

IMAGE = os.environ.get("QURE_TEST_IMAGE", "localhost/qure:python")
TASKS = 5


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def nothing(number: int) -> int:
    return number + 1


@dsl.component(base_image=IMAGE, install_kfp_package=False)
def import_stages() -> None:
    import components.runtime  # noqa: F401
    import qure.evaluation.stage
    import qure.features.stage
    import qure.training.stage  # noqa: F401


@dsl.pipeline(name="chain-of-nothing")
def chain() -> int:
    last = nothing(number=0)
    for _ in range(TASKS - 1):
        last = nothing(number=last.output)
    return last.output


@dsl.pipeline(name="imports")
def imports() -> None:
    import_stages()


def main(arguments: list[str] | None = None) -> None:
    """Measures and writes the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--containers", action="store_true", help="also measure containers")
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args(arguments)
    payload: dict[str, Any] = {"tasks": TASKS, "runs": options.runs, "compile_seconds": compile_seconds()}
    for runner in ("subprocess", "docker") if options.containers else ("subprocess",):
        payload[runner] = {
            "seconds_per_empty_task": median(chain, runner, TASKS, options.runs),  # type: ignore[arg-type]
            "seconds_to_start_and_import_the_stages": median(imports, runner, 1, options.runs),  # type: ignore[arg-type]
        }
    print(write_result("kfp_overhead", payload))


def compile_seconds() -> dict[str, float]:
    """Seconds to compile each pipeline."""
    seconds = {}
    with tempfile.TemporaryDirectory() as folder:
        for name in PIPELINES:
            begun = time.monotonic()
            compile_one(name, PipelineConfig.load(), Path(folder) / f"{name}.yaml")
            seconds[name] = round(time.monotonic() - begun, 3)
    return seconds


def median(pipeline: Any, runner: Literal["subprocess", "docker"], tasks: int, runs: int) -> float:
    """Median over the runs of seconds per task.

    Raises:
        StageFailed: what the tasks pass on did not arrive.
    """
    taken = []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(runs):
            begun = time.monotonic()
            with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
                made = run_locally(pipeline, {}, runner=runner, root=Path(folder) / "root", run=f"benchmark-{number}")
            taken.append((time.monotonic() - begun) / tasks)
            if set(made.values()) - {TASKS}:
                raise StageFailed(f"the chain of {TASKS} tasks counted to {made}")
    return round(statistics.median(taken), 3)


if __name__ == "__main__":
    main()

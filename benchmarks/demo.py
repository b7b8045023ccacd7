"""How long the demo takes, stage by stage, in a fresh clone: what `qure demo` announces comes from here.

    python -m benchmarks.demo [--pairs 2]

The environment is this one: installing it is not measured. Start it on an idle machine. With `--pairs` further runs,
in turns with stages that each import the libraries themselves (`QURE_FORK_SERVER=`): what forking them saves. Writes
benchmarks/results/demo.json, and qure/cli/demo_seconds.json, which is shipped: of each processor it keeps the least and
the most that a first run ever took.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import circumstances, write_result
from qure.cli.demo import SECONDS
from qure.files import read_json, write_json
from qure.forking import ADDRESS

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measures a first run and a second one, which has nothing to do; then pairs of first runs."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=0, help="forked and by themselves, in turns")
    pairs = parser.parse_args().pairs
    cores, load = len(os.sched_getaffinity(0)), round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as scratch:
        clone = _clone(Path(scratch) / "qure")
        first, second = (_demo(clone, Path(scratch) / f"{name}.json") for name in ("first", "second"))
        whole, again = first["whole"], second["whole"]
        payload = {"cores_used": cores, "load_before": load, "seconds": first["seconds"], "whole_seconds": whole}
        in_turns = [_pair(Path(scratch), number) for number in range(pairs)]
        write_result("demo", payload | {"second_run_seconds": again, "pairs": in_turns}, checkout=clone)
    others = read_json(SECONDS)["whole"]
    processor = circumstances()["machine"]["processor"]
    runs = [whole, *(pair["forked"] for pair in in_turns), *others.get(processor, [])]
    both = [min(runs), max(runs)]
    write_json(SECONDS, {"cores": cores, "whole": others | {processor: both}, "seconds": first["seconds"]})
    print(f"{whole:.0f} s, a second run {again:.0f} s")


def _pair(scratch: Path, number: int) -> dict[str, float]:
    """`whole` seconds of two first runs; which one begins changes from pair to pair."""
    ways: list[tuple[str, dict[str, str]]] = [("forked", {}), ("by_themselves", {ADDRESS: ""})]
    seconds = {}
    for name, environment in ways if number % 2 == 0 else reversed(ways):
        clone = _clone(scratch / f"{name}-{number}")
        seconds[name] = float(_demo(clone, scratch / f"{name}-{number}.json", environment)["whole"])
        print(f"pair {number + 1}, {name}: {seconds[name]:.0f} s", flush=True)
        shutil.rmtree(clone)
    return seconds


def _clone(folder: Path) -> Path:
    subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(folder)], check=True)
    return folder


def _demo(clone: Path, timings: Path, variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """`whole` seconds of one `qure demo`, and `seconds` by stage; "data" holds what comes before DVC."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    inherited = {name: value for name, value in os.environ.items() if name != ADDRESS}
    environment = inherited | {"PATH": path, "PYTHONPATH": str(clone)} | dict(variables or {})
    command = [sys.executable, "-m", "qure", "demo", "--timings", str(timings)]
    subprocess.run(command, cwd=clone, env=environment, check=True)
    return dict(read_json(timings))


if __name__ == "__main__":
    main()

"""How long the demo takes, stage by stage, in a fresh clone: what `qure demo` announces comes from here.

    python -m benchmarks.demo

The environment is this one: installing it is not measured. Start it on an idle machine. Writes
benchmarks/results/demo.json, and qure/cli/demo_seconds.json, which is shipped and keeps the time on other processors.
"""

import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.common import circumstances, write_result
from qure.cli.demo import SECONDS
from qure.files import read_json, write_json

REPOSITORY = Path(__file__).resolve().parents[1]


def main() -> None:
    """Measures a first run and a second one, which has nothing to do."""
    cores, load = len(os.sched_getaffinity(0)), round(os.getloadavg()[0], 2)
    with tempfile.TemporaryDirectory() as scratch:
        clone = Path(scratch) / "qure"
        subprocess.run(["git", "clone", "--quiet", str(REPOSITORY), str(clone)], check=True)
        first, second = (_demo(clone, Path(scratch) / f"{name}.json") for name in ("first", "second"))
        whole, again = first["whole"], second["whole"]
        payload = {"cores_used": cores, "load_before": load, "seconds": first["seconds"], "whole_seconds": whole}
        write_result("demo", payload | {"second_run_seconds": again}, checkout=clone)
    others = read_json(SECONDS)["whole"]
    processor = circumstances()["machine"]["processor"]
    write_json(SECONDS, {"cores": cores, "whole": others | {processor: whole}, "seconds": first["seconds"]})
    print(f"{whole:.0f} s, a second run {again:.0f} s")


def _demo(clone: Path, timings: Path) -> dict[str, Any]:
    """`whole` seconds of one `qure demo`, and `seconds` by stage; "data" holds what comes before DVC."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "PYTHONPATH": str(clone)}
    command = [sys.executable, "-m", "qure.cli", "demo", "--timings", str(timings)]
    subprocess.run(command, cwd=clone, env=environment, check=True)
    return dict(read_json(timings))


if __name__ == "__main__":
    main()

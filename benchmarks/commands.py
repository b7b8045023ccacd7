"""Commands, started anew: this checkout against the library of another commit, side by side.

    python -m benchmarks.commands COMMIT --demo FOLDER [--repeats 3]

FOLDER is one in which `qure demo` has finished with a build that both can read: what it left must be no newer than the
older of the two. Both run in turns on one thread, so that both meet the same load; CPU seconds are counted, importing
included, and both must print the same.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.builds import SIDES, compared, environment, exported, revision
from benchmarks.common import CHECKOUT, write_result


def main() -> None:
    arguments = parse_arguments()
    with tempfile.TemporaryDirectory() as folder:
        builds = {"before": exported(arguments.commit, Path(folder)), "now": CHECKOUT}
        searched = searching(builds, arguments.demo.resolve(), arguments.repeats)
    payload = {"before_commit": revision(arguments.commit), "commands": {"search": searched}}
    print(json.dumps(payload, indent=2))
    print(write_result("commands", payload))


def searching(builds: Mapping[str, Path], demo: Path, repeats: int) -> dict[str, Any]:
    """A search among the demo's dresses."""
    picture = min((demo / "data" / "fashioniq" / "images").iterdir())
    return taken(["search", str(picture), "is blue", "--group", "dress", "--json"], builds, demo, repeats)


def taken(arguments: list[str], builds: Mapping[str, Path], folder: Path, repeats: int) -> dict[str, Any]:
    """Medians of what a command line of `qure` takes in a folder, of both builds in turns."""
    command = [sys.executable, "-m", "qure.cli", *arguments]
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    printed = set()
    for _ in range(repeats + 1):  # the first of each writes bytecode
        for side in SIDES:
            before = resource.getrusage(resource.RUSAGE_CHILDREN)
            done = subprocess.run(command, cwd=folder, env=environment(builds[side]), capture_output=True, check=True)
            after = resource.getrusage(resource.RUSAGE_CHILDREN)
            seconds[side].append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
            printed.add(done.stdout)
    return compared({side: each[1:] for side, each in seconds.items()}) | {"prints_the_same": len(printed) == 1}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="of the library to compare with")
    parser.add_argument("--demo", type=Path, required=True, help="a folder in which `qure demo` has finished")
    parser.add_argument("--repeats", type=int, default=3)
    return parser.parse_args()


if __name__ == "__main__":
    main()

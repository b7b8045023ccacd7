"""Mining on a CPU: this checkout against the library of another commit, side by side.

    python -m benchmarks.builds COMMIT [--sizes 2000x6000,400x16939] [--repeats 3]

Both libraries run on one thread and in turns, so that both meet the same load; CPU seconds are counted. Both mine the
same embeddings, and all sets, observations and examples must be equal bit for bit. What commands take, started anew:
`benchmarks.commands`.
"""

import argparse
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.common import CHECKOUT, write_result

SIDES = ("before", "now")


def main() -> None:
    arguments = parse_arguments()
    if arguments.worker:
        serve(arguments)
        return
    with tempfile.TemporaryDirectory() as folder:
        builds = {"before": exported(arguments.commit, Path(folder)), "now": CHECKOUT}
        payload: dict[str, Any] = {"before_commit": revision(arguments.commit), "mining": {}}
        for size in arguments.sizes.split(","):
            payload["mining"][size] = mining(builds, size, arguments)
    print(json.dumps(payload, indent=2))
    print(write_result("builds", payload))


def exported(commit: str, folder: Path) -> Path:
    """The library of a commit, in a folder of its own."""
    archive = subprocess.run(["git", "archive", commit, "qure"], cwd=CHECKOUT, capture_output=True, check=True).stdout
    subprocess.run(["tar", "-x"], cwd=folder, input=archive, check=True)
    return folder


def revision(commit: str) -> str:
    command = ["git", "rev-parse", commit]
    return subprocess.run(command, cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout.strip()


def mining(builds: dict[str, Path], size: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """Medians of CPU seconds, one worker a side, asked in turns."""
    seconds: dict[str, list[float]] = {side: [] for side in SIDES}
    digests = set()
    with ExitStack() as stack:
        workers = {side: stack.enter_context(worker(builds[side], size, arguments)) for side in SIDES}
        for _ in range(arguments.repeats + 1):  # the first of each is warmth
            for side, one in workers.items():
                answer = asked(one)
                seconds[side].append(answer["seconds"])
                digests.add(answer["digest"])
        for one in workers.values():
            assert one.stdin is not None
            one.stdin.close()
    return compared({side: each[1:] for side, each in seconds.items()}) | {"same_to_the_bit": len(digests) == 1}


def worker(build: Path, size: str, arguments: argparse.Namespace) -> "subprocess.Popen[str]":
    command = [sys.executable, "-P", __file__, "-", "--worker", "--sizes", size]
    command += ["--tokens", str(arguments.tokens), "--dimensions", str(arguments.dimensions)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment(build), stdin=pipe, stdout=pipe, text=True)


def environment(build: Path) -> dict[str, str]:
    """The build's library comes first, and the benchmarks are this checkout's."""
    return os.environ | {"PYTHONPATH": f"{build}{os.pathsep}{CHECKOUT}", "PYTHONSAFEPATH": "1", "OMP_NUM_THREADS": "1"}


def asked(one: "subprocess.Popen[str]") -> dict[str, Any]:
    assert one.stdin is not None
    assert one.stdout is not None
    one.stdin.write("\n")
    one.stdin.flush()
    answer: dict[str, Any] = json.loads(one.stdout.readline())
    return answer


def serve(arguments: argparse.Namespace) -> None:
    """A worker: mines whenever a line comes."""
    import torch

    from benchmarks.mining import embeddings
    from qure.config import NegativeSettings
    from qure.negatives.mining import mine
    from qure.negatives.sets import HardNegatives

    torch.set_num_threads(1)
    arguments.queries, arguments.images = map(int, arguments.sizes.split("x"))
    queries, candidates, targets = embeddings(arguments)
    for _ in sys.stdin:
        begun = time.process_time()
        found = mine(queries, candidates, targets, NegativeSettings())
        seconds = time.process_time() - begun
        assert isinstance(found.hard, HardNegatives)
        digest = hashlib.sha256()
        arrays = [found.hard.offsets, found.hard.indices, *vars(found.observations).values()]
        for array in [*arrays, *(part for one in found.examples for part in (one.scores, one.negatives))]:
            digest.update(array.tobytes())
        print(json.dumps({"seconds": seconds, "digest": digest.hexdigest()}), flush=True)


def compared(seconds: dict[str, list[float]]) -> dict[str, Any]:
    medians = {side: statistics.median(each) for side, each in seconds.items()}
    told = {
        f"{side}_s": {"median": round(medians[side], 4), "range": [round(min(each), 4), round(max(each), 4)]}
        for side, each in seconds.items()
    }
    return told | {"times_faster": round(medians["before"] / medians["now"], 2)}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("commit", help="of the library to compare with")
    parser.add_argument("--sizes", default="2000x6000,400x16939", help="queries x images, with commas")
    for name, default in (("tokens", 32), ("dimensions", 256), ("repeats", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

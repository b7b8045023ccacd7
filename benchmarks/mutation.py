"""Would the tests notice? Plants one small fault at a time into a copy of the project and runs the module's tests.

    python -m benchmarks.mutation qure/training/step.py qure/negatives/sampling.py [--sample 40] [--seed 0]
    python -m benchmarks.mutation --changed HEAD~1 --sample 5 --seconds 120 --floor --dry-run

Which faults: benchmarks/faults.py. A module's tests are those that mirror it (qure/a/b.py: tests/qure/a/test_b*.py),
those that guarding_tests.yaml names, and the module's doctests (benchmarks/guards.py). A fault is killed when one of
them fails or runs many times longer than before; equivalent_mutants.yaml names faults that change nothing a caller can
see, with the reason, and these are left out. Writes results/mutation.json: kill rate and survivors per module; what it
holds of other modules stays. The second line is for CI, which has no time for whole modules: of those with a rate it
takes what changed, as many faults as there is time for, and fails when more survive than chance allows.
"""

import argparse
import json
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, circumstances, write_result
from benchmarks.faults import Accepted, mutants
from benchmarks.guards import LIBRARIES, Guards, guarding

ROOT = Path(__file__).parents[1]

#: Packages whose tests mirror them.
EXAMINED = ("qure", "pipelines", "infra")

#: Share of the faults that somebody can tell, which a module's tests are to kill.
FLOOR = 0.9
#: In less than that a module's tests have hardly been run without a fault.
LEAST_SECONDS = 20.0


def examined(
    module: str, copied: Path, *, sample: int | None, seed: int, seconds: float = float("inf")
) -> dict[str, Any]:
    """Plants a module's faults, one after the other, into the copy of the project.

    Args:
        module: path below the project's root.
        copied: a copy of the project that may be changed.
        sample: so many faults, drawn without repetition; None: all.
        seed: of the draw.
        seconds: after which no more is planted: what was, is a smaller draw.

    Returns:
        what the result file holds of the module.

    Raises:
        SystemExit: the module has no mirrored tests, or they fail without any fault.
    """
    started = time.monotonic()
    tests = guarding(module, copied)
    if len(tests) < 2:
        raise SystemExit(f"{module} has no mirrored test")
    source = (copied / module).read_bytes()
    every = mutants(source)
    accepted = Accepted.of(module, source)
    drawn = random.Random(seed).sample(every, len(every) if sample is None else min(sample, len(every)))
    guards = Guards(module, copied, tests)
    ended, failed = guards.run(min(600, seconds))
    if ended == "failed" or (ended == "timed out" and seconds > 600):
        raise SystemExit(f"the tests of {module} fail without any fault: {failed}")
    limit = max(30.0, 5 * (time.monotonic() - started))
    counts: Counter[str] = Counter()
    survivors, killers = [], Counter[str]()
    for mutant in drawn:
        if mutant in accepted:
            counts["equivalent"] += 1
            continue
        left = seconds - (time.monotonic() - started)
        if left <= 0:
            break
        (copied / module).write_bytes(mutant.planted(source))
        ended, failed = guards.run(min(limit, left), line=mutant.line)
        if ended == "timed out" and left < limit:
            break
        counts[ended] += 1
        killers.update([failed.split("[")[0]] if failed else [])
        print(
            f"{module}:{mutant.line} {mutant.kind}: {mutant.before!r} -> {mutant.after!r}: {ended} {failed}", flush=True
        )
        if ended == "passed":
            survivors.append({name: asdict(mutant)[name] for name in ("line", "kind", "before", "after")})
    (copied / module).write_bytes(source)
    run = counts["failed"] + counts["timed out"] + counts["passed"]
    return {
        "tests": tests,
        "mutants": len(every),
        "sampled": counts.total(),
        "seed": seed,
        "equivalent": counts["equivalent"],
        "killed": counts["failed"],
        "timed_out": counts["timed out"],
        "survived": counts["passed"],
        "kill_rate": round((run - counts["passed"]) / run, 3) if run else None,
        "survivors": sorted(survivors, key=lambda one: int(one["line"])),
        "killers": dict(killers.most_common()),
    }


def copied_project(folder: Path) -> Path:
    """A copy of the project's files as they are now, those that git ignores left out."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def changed(since: str, root: Path = ROOT) -> list[str]:
    """The modules that are not what they were at a commit, and whose tests are known."""
    command = ["git", "diff", "--name-only", "--diff-filter=d", since, "--", *(f"{name}/*.py" for name in EXAMINED)]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"what has changed since {since} cannot be told: {done.stderr.strip()}")
    modules = done.stdout.splitlines()
    return [module for module in modules if len(guarding(module, root)) > 1 and mutants((root / module).read_bytes())]


def share_of(left: float, modules: int) -> float:
    """Seconds for the next of so many modules: an equal part, but enough to plant something.

    >>> share_of(600, 10), share_of(60, 80), share_of(5, 80)
    (60.0, 20.0, 5)
    """
    return min(left, max(LEAST_SECONDS, left / modules))


def below_floor(found: Iterable[Mapping[str, Any]]) -> bool:
    """Whether so many faults survived as tests that kill 90 % would let live once in a hundred draws.

    >>> below_floor([{"killed": 3, "timed_out": 0, "survived": 2}]), below_floor([{"killed": 3, "survived": 7}])
    (False, True)
    """
    counts = [(sum(one.get(kind, 0) for kind in ("killed", "timed_out")), one["survived"]) for one in found]
    survived = sum(one for _, one in counts)
    run = survived + sum(killed for killed, _ in counts)
    chances = (math.comb(run, k) * (1 - FLOOR) ** k * FLOOR ** (run - k) for k in range(survived, run + 1))
    return survived > 0 and sum(chances) < 0.01


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help="a path such as qure/training/step.py")
    parser.add_argument("--changed", metavar="SINCE", help="also what has a rate and changed since this commit")
    parser.add_argument("--sample", type=int, help="so many faults of each module, drawn; default: all")
    parser.add_argument("--seed", type=int, default=0, help="of the draw")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="for all modules together; default: no end")
    parser.add_argument("--floor", action="store_true", help="fail when clearly fewer than 90 %% are killed")
    parser.add_argument("--dry-run", action="store_true", help="plant and test, write no result")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # with the tests and the copy of the project cleared away
    stop = time.monotonic() + options.seconds
    kept = RESULTS / "mutation.json"
    found = json.loads(kept.read_text(encoding="utf-8"))["modules"] if kept.is_file() else {}
    since = [module for module in changed(options.changed) if module in found] if options.changed else []
    modules = list(dict.fromkeys([*options.modules, *since]))
    # Which modules come first when there is no time for all is the draw's business too.
    random.Random(options.seed).shuffle(modules)
    if not modules:
        print("no module to examine")
        return
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    for name in LIBRARIES:
        __import__(name)
    new = {}
    with tempfile.TemporaryDirectory(prefix="qure-mutation.") as scratch:
        copied = copied_project(Path(scratch, "project"))
        for number, module in enumerate(modules):
            left, modules_left = stop - time.monotonic(), len(modules) - number
            if left <= 0:
                print(f"the time is over: {modules_left} modules were not looked at", flush=True)
                break
            share = share_of(left, modules_left)
            result = examined(module, copied, sample=options.sample, seed=options.seed, seconds=share)
            around = circumstances()
            rate = result["kill_rate"]
            if rate is not None:  # what is known stays where there was no time
                new[module] = {**result, "commit": around["commit"], "date": around["date"]}
            print(
                f"{module}: " + ("nothing planted" if rate is None else f"{rate:.0%} of {result['sampled']}"),
                flush=True,
            )
            if not options.dry_run:
                write_result("mutation", {"modules": dict(sorted({**found, **new}.items()))})
    if options.floor and below_floor(new.values()):
        raise SystemExit(f"more planted faults survive than tests that notice {FLOOR:.0%} let live")


if __name__ == "__main__":
    main()

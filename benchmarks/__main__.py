"""Every benchmark that this machine can run, one after the other, then the page of what is known (`make bench`).

    python -m benchmarks [--only mining,gpu] [--annotations FOLDER] [--list]

Each is a process of its own, so that none finds another's memory or warm caches; what a benchmark needs and this
machine lacks is said, and its older result stays. Times mean something on an idle machine only. About an hour and a
half on two cores, most of it `first_run`.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from benchmarks.common import RESULTS

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Benchmark:
    """One script of this folder.

    Attributes:
        name: module of this folder, and name of its result.
        arguments: for the command line.
        lacks: what it needs and this machine does not have; empty when it can run.
    """

    name: str
    arguments: tuple[str, ...] = ()
    lacks: Callable[[], str] = str


def benchmarks(annotations: Path | None) -> list[Benchmark]:
    """All of them: the short ones first, the demo's before those that judge what it left.

    Args:
        annotations: the published annotation files, for the protocols at full size.
    """
    before = os.environ.get("QURE_BENCH_BEFORE", "")
    return [
        Benchmark("gpu", lacks=_gpu),
        Benchmark("mining"),
        Benchmark("preparation"),
        Benchmark("search"),
        Benchmark("index", lacks=lambda: "" if find_spec("faiss") else "faiss (pip install 'qure[index]')"),
        Benchmark("growth"),
        Benchmark("builds", (before,), lambda: _before(before)),
        Benchmark("commands", (before, "--demo", "."), lambda: _files("artifacts/fashioniq/model") or _before(before)),
        Benchmark("training_step"),
        Benchmark("dvc_shards"),
        Benchmark("kfp_overhead", ("--containers",) if os.environ.get("DOCKER_HOST") else ()),
        Benchmark("validation"),
        Benchmark("serving"),
        Benchmark(
            "evaluation",
            ("--annotations", str(annotations)),
            lambda: "" if annotations and annotations.is_dir() else "the published annotation files (--annotations)",
        ),
        Benchmark("demo", lacks=lambda: _files("data.dvc") or _clean()),
        Benchmark("collapse", lacks=lambda: _files("data", "artifacts/backbone", "artifacts/fashioniq/model")),
        Benchmark("studio", lacks=lambda: _files("data/fashioniq", "artifacts/fashioniq/model")),
        Benchmark("labels", lacks=lambda: _files("data/fashioniq", "artifacts/fashioniq/training")),
        Benchmark("ablation", lacks=lambda: _files("artifacts/fashioniq/ablation/results.json")),
        Benchmark("first_run", lacks=lambda: _files("data/fashioniq", "data/cirr")),
    ]


def main(arguments: list[str] | None = None) -> int:
    """Runs what can run; 1 when a benchmark failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", help="names, with commas")
    parser.add_argument("--annotations", type=Path, default=os.environ.get("QURE_ANNOTATIONS"))
    parser.add_argument("--list", action="store_true", help="run nothing: say what can run and what the others need")
    options = parser.parse_args(arguments)
    everything = benchmarks(options.annotations)
    wanted = options.only.split(",") if options.only else [one.name for one in everything]
    if unknown := set(wanted) - {one.name for one in everything}:
        parser.error(
            f"no benchmark {', '.join(sorted(unknown))}; there are {', '.join(one.name for one in everything)}"
        )
    failed = []
    for one in everything:
        lacking = one.lacks() if one.name in wanted else "to be asked for"
        print(f"{one.name}: {f'not run, needs {lacking}' if lacking else 'runs'}", flush=True)
        if not (lacking or options.list or _run(one)):
            failed.append(one.name)
    if not options.list:
        from benchmarks.page import write

        print(write())
    if failed:
        print(f"failed: {', '.join(failed)}; their older results stay", file=sys.stderr)
    return 1 if failed else 0


def _run(one: Benchmark) -> bool:
    command = [sys.executable, "-m", f"benchmarks.{one.name}", *one.arguments]
    return subprocess.run(command, cwd=ROOT, check=False).returncode == 0


def _gpu() -> str:
    import torch

    return "" if torch.cuda.is_available() else "a GPU"


def _files(*paths: str) -> str:
    """The first that is not there; `qure demo` and `qure ablate` make them."""
    return next((path for path in paths if not (ROOT / path).exists()), "")


def _before(commit: str) -> str:
    return "" if commit else "a commit to compare with (QURE_BENCH_BEFORE)"


def _clean() -> str:
    """The demo is measured in a clone, which has only what is committed. What this run has written is no matter."""
    own = f":!{RESULTS.relative_to(ROOT)}" if RESULTS.is_relative_to(ROOT) else "."
    command = ["git", "status", "--porcelain", "--untracked-files=no", "--", ".", own]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return "a checkout without uncommitted changes" if done.returncode or done.stdout else ""


if __name__ == "__main__":
    sys.exit(main())

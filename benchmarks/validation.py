"""Validation of rendered data: rows and images per second, and what a second run of unchanged data costs.

    python -m benchmarks.validation [--images 20000] [--workers 2] [--before COMMIT] [--repeats 3]

Each run is a process of its own, as a user starts it; processor seconds are those of all its processes, the workers'
too. The parts (annotation suites, image checks) are measured once more on their own, with everything imported. With
--before, first runs of another commit's library and of this one take turns on the same data.
"""

import argparse
import contextlib
import ctypes
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.builds import environment, exported, revision
from benchmarks.common import CHECKOUT, write_result
from qure.config import Settings
from qure.files import file_digest

#: FashionIQ images that the catalogue renders at scale 1.
IMAGES_AT_SCALE_1 = 3360


#: Linux: processes whose parent has ended become this one's children, and count among those it has waited for.
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    arguments = parse_arguments()
    if arguments.side:
        print(json.dumps(SIDES[arguments.side](arguments)))
        return
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as folder:
        arguments.folder = Path(folder)
        rendering = seconds(lambda: render(arguments))
        first, second = measure("run", arguments), measure("run", arguments)
        for path in (Path(folder) / "data" / "fashioniq" / "images").iterdir():
            path.touch()
        touched = measure("run", arguments)
        parts = measure("parts", arguments)
        builds = compared_with(arguments.before, arguments) if arguments.before else {}
    payload = {
        "load_before": round(load, 1),
        "images": first["images"],
        "rows": first["rows"],
        "workers": arguments.workers,
        "rendering_s": round(rendering, 1),
        "importing_great_expectations_s": parts["importing_s"],
        "first_run": first,
        "second_run": second,
        "second_run_all_files_touched": touched,
        "parts": {name: value for name, value in parts.items() if name != "importing_s"},
        "second_run_times_faster": round(first["seconds"] / second["seconds"], 2),
        **builds,
    }
    print(json.dumps(payload, indent=2))
    print(write_result("validation", payload))


def compared_with(commit: str, arguments: argparse.Namespace) -> dict[str, Any]:
    """First runs of two libraries on the same data, in turns, so that both meet the same load."""
    runs: dict[str, list[dict[str, Any]]] = {"before": [], "now": []}
    with tempfile.TemporaryDirectory() as folder:
        builds = {"before": exported(commit, Path(folder)), "now": CHECKOUT}
        for repeat in range(arguments.repeats + 1):  # the first of each writes bytecode
            for side, build in builds.items():
                for kept in ("output", "work"):
                    shutil.rmtree(arguments.folder / kept, ignore_errors=True)
                found = measure("run", arguments, build)
                runs[side] += [found] if repeat else []
    told: dict[str, Any] = {"before_commit": revision(commit)}
    for what in ("seconds", "processor_s"):
        medians = {side: statistics.median(run[what] for run in each) for side, each in runs.items()}
        told |= {
            f"{side}_{what}": {
                "median": round(medians[side], 1),
                "range": [min(run[what] for run in each), max(run[what] for run in each)],
            }
            for side, each in runs.items()
        }
        told[f"{what}_times_faster"] = round(medians["before"] / medians["now"], 2)
    return {"first_run_of_two_builds": told}


def measure(side: str, arguments: argparse.Namespace, build: Path = CHECKOUT) -> dict[str, Any]:
    command = [sys.executable, "-P", "-m", "benchmarks.validation", "--side", side, "--folder", str(arguments.folder)]
    command += ["--images", str(arguments.images), "--workers", str(arguments.workers)]
    started, processor = time.perf_counter(), processor_seconds()
    done = subprocess.run(command, env=environment(build), capture_output=True, text=True, check=True)
    ended = time.perf_counter()
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    if side == "run":
        result["seconds"] = round(ended - started, 1)
        wait_for_orphans()
        result["processor_s"] = round(processor_seconds() - processor, 1)
    return result


def wait_for_orphans() -> None:
    """The server of worker processes ends after the process that started it."""
    with contextlib.suppress(ChildProcessError):
        while True:
            os.waitpid(-1, 0)


def processor_seconds() -> float:
    """Of child processes that have ended: on a busy machine this says more than the clock."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def run(arguments: argparse.Namespace) -> dict[str, Any]:
    """The whole stage; its time is taken from outside, with the start of the process."""
    from qure.validation.stage import validate

    folder = arguments.folder
    data, output, work = (folder / name for name in ("data", "output", "work"))
    result = validate(settings(arguments), "fashioniq", data=data, output=output, work=work)
    suites = result["suites"]
    own = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "images": suites["fashioniq.images"]["rows"],
        "rows": sum(suite["rows"] for name, suite in suites.items() if not name.endswith((".images", ".contents"))),
        "peak_mib": round(own.ru_maxrss / 1024),
        "result_sha256": file_digest(output / "result.json"),
    }


def parts(arguments: argparse.Namespace) -> dict[str, Any]:
    """Annotation suites and image checks on their own."""
    importing = seconds(lambda: __import__("qure.validation.run"))
    from qure.datasets.image_store import open_images
    from qure.validation.cache import ImageCache
    from qure.validation.check import read_annotations
    from qure.validation.images import ImageChecks
    from qure.validation.run import run_suites
    from qure.validation.suites import annotation_suites

    chosen = settings(arguments).validation
    reading = time.perf_counter()
    annotations = read_annotations("fashioniq", arguments.folder / "data")
    reading = time.perf_counter() - reading
    suites = [
        suite
        for tables in annotations.values()
        for suite in annotation_suites(tables, chosen, claims_public=False)
        if len(suite.table)
    ]
    checking = seconds(lambda: run_suites(suites))
    store, images = open_images(arguments.folder / "data" / "fashioniq"), list(annotations["fashioniq"].images)
    cache = ImageCache(arguments.folder / "other", chosen.max_image_bytes)
    decoding = seconds(lambda: ImageChecks(store, images, cache, chosen).finish())
    rows = sum(len(suite.table) for suite in suites)
    return {
        "importing_s": round(importing, 2),
        "reading_annotations_s": round(reading, 2),
        "annotation_suites_s": round(checking, 2),
        "rows_per_second": round(rows / (reading + checking)),
        "image_checks_s": round(decoding, 2),
        "images_per_second": round(len(images) / decoding),
    }


def render(arguments: argparse.Namespace) -> None:
    from qure.catalogue.stage import render as render_catalogue

    render_catalogue(settings(arguments), arguments.folder / "data")


def settings(arguments: argparse.Namespace) -> Settings:
    recipes = {name: {"recipe": "catalogue"} for name in ("fashioniq", "cirr")}
    return Settings.model_validate(
        {
            "catalogue": {"scale": arguments.images / IMAGES_AT_SCALE_1},
            "training": recipes,
            "validation": {"workers": arguments.workers},
            "tracking": {"uri": None},
        }
    )


def seconds(action: Callable[[], Any]) -> float:
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


SIDES = {"run": run, "parts": parts}


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=20_000, help="about how many FashionIQ images to render")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--before", help="a commit whose library to compare with")
    parser.add_argument("--repeats", type=int, default=3, help="runs of each library")
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

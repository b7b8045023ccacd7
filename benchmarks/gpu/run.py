"""The sections one after the other."""

import argparse
import json
import time
import traceback
from collections.abc import Callable
from typing import Any

import torch

import benchmarks.gpu
from benchmarks.common import write_result
from benchmarks.gpu.ceilings import machine, parity
from benchmarks.gpu.measuring import release
from benchmarks.gpu.mining import mining
from benchmarks.gpu.precompute import precompute
from benchmarks.gpu.recipe import projected
from benchmarks.gpu.sizes import FULL, TINY
from benchmarks.gpu.training import training
from qure.models.precision import default_device


def main(arguments: list[str] | None = None) -> dict[str, Any]:
    options = parse_arguments(arguments)
    sizes = TINY if options.small else FULL
    device = default_device()
    torch.manual_seed(0)
    if device.type == "cpu":
        torch.set_num_threads(1)  # tiny models: more threads only wait for each other
    sections: dict[str, Callable[[], Any]] = {
        "machine": lambda: machine(sizes, device),
        "parity": lambda: parity(sizes, device),
        "training": lambda: training(sizes, device, options.profile),
        "mining": lambda: mining(sizes, device),
        "precompute": lambda: precompute(sizes, device),
    }
    result: dict[str, Any] = {"small": options.small, "device": str(device)}
    started = time.monotonic()
    for name, run in sections.items():
        if options.only and name not in options.only.split(","):
            continue
        begun = time.monotonic()
        try:
            result[name] = run()
        except Exception:
            # A rented machine's minutes are dear: the other sections still run, and this one says what went wrong.
            result[name] = {"failed": traceback.format_exc().splitlines()[-12:]}
            traceback.print_exc()
        release(device)
        print(f"== {name}: {time.monotonic() - begun:.1f} s", json.dumps(result[name], indent=1), sep="\n", flush=True)
    if "failed" not in result.get("training", {"failed": None}) and "failed" not in result.get("mining", {"failed": 0}):
        result["projected_recipe"] = projected(result["training"], result["mining"])
        print(json.dumps(result["projected_recipe"], indent=1), flush=True)
    result["seconds"] = round(time.monotonic() - started, 1)
    if not options.small:
        print(write_result("gpu", result))
    return result


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=benchmarks.gpu.__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--small", action="store_true", help="tiny sizes on whatever device there is; nothing is kept")
    parser.add_argument("--only", default=None, help="sections to run, with commas between them")
    parser.add_argument("--profile", action="store_true", help="list the kernels of a graph step")
    return parser.parse_args(arguments)

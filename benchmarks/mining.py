"""Mining as a loop over queries and in blocks: time, peak memory, and whether both find the same sets.

    python -m benchmarks.mining [--queries 2000] [--images 6000] [--tokens 32] [--dimensions 256]

Each side runs in a process of its own, with one thread, on the same embeddings. The loop builds the score tensor
(queries, images, tokens) whole before its maximum and then walks query by query, as the published procedure does.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import write_result
from qure.config import NegativeSettings
from qure.negatives import sets
from qure.negatives.mining import mine, negatives_from_scores
from qure.negatives.relevance import relevance_block
from qure.negatives.sets import HardNegatives
from qure.negatives.statistics import Observations, observe

SIDES = ("loop", "blocks")


def main() -> None:
    arguments = parse_arguments()
    if arguments.side:
        print(json.dumps(run_side(arguments)))
        return
    with tempfile.TemporaryDirectory() as folder:
        measured = {side: measure(side, arguments, Path(folder)) for side in SIDES}
        found = {side: sets.load(Path(folder) / f"{side}.safetensors") for side in SIDES}
    same = sum(found["loop"].of(row).tolist() == found["blocks"].of(row).tolist() for row in range(arguments.queries))
    loop, blocks = (measured[side] for side in SIDES)
    payload = {
        "size": {name: getattr(arguments, name) for name in ("queries", "images", "tokens", "dimensions")},
        **measured,
        "queries_with_the_same_set": same,
        "times_faster": {
            "ranking_and_drops": times(loop["ranking_and_drops_s"], blocks["ranking_and_drops_s"]),
            "all": times(loop["all_s"], blocks["all_s"]),
        },
        "times_less_memory": times(loop["peak_mib"], blocks["peak_mib"]),
    }
    print(json.dumps(payload, indent=2))
    print(write_result("mining", payload))


def times(loop: float, blocks: float) -> float | None:
    """How many times better; None where there was too little to measure."""
    return round(loop / blocks, 2) if blocks else None


def measure(side: str, arguments: argparse.Namespace, folder: Path) -> dict[str, float]:
    command = [sys.executable, "-m", "benchmarks.mining", "--side", side, "--sets", str(folder / f"{side}.safetensors")]
    for name in ("queries", "images", "tokens", "dimensions", "budget"):
        command += [f"--{name}", str(getattr(arguments, name))]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    result: dict[str, float] = json.loads(done.stdout)
    return result


def run_side(arguments: argparse.Namespace) -> dict[str, float]:
    torch.set_num_threads(1)
    queries, candidates, targets = embeddings(arguments)
    relevance_block(queries[:1], candidates[:1])
    before = peak_mib()
    if arguments.side == "loop":
        scores, relevance_s = timed(lambda: torch.einsum("qd,ntd->qnt", queries, candidates).amax(-1))
        hard, ranking_s = timed(lambda: loop_over_queries(scores, targets))
        all_s, peak = relevance_s + ranking_s, peak_mib()
    else:
        mining, all_s = timed(
            lambda: mine(queries, candidates, targets, NegativeSettings(), memory_budget=arguments.budget * 2**20)
        )
        hard, peak = mining.hard, peak_mib()
        # Its two parts once more on their own, after the peak was read.
        parts, relevance_s = timed(lambda: [relevance_block(part, candidates) for part in torch.split(queries, 256)])
        ranking_s = timed(
            lambda: [ranked_and_selected(*part) for part in zip(parts, torch.split(targets, 256), strict=True)]
        )[1]
    hard.save(Path(arguments.sets))
    return {
        "relevance_s": round(relevance_s, 4),
        "ranking_and_drops_s": round(ranking_s, 4),
        "all_s": round(all_s, 4),
        "peak_mib": round(peak - before, 1),
    }


def embeddings(arguments: argparse.Namespace) -> tuple[Tensor, Tensor, Tensor]:
    """Queries near their targets among candidates whose tokens resemble each other."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator)

    images = normal(arguments.images, 1, arguments.dimensions)
    candidates = normal(arguments.images, arguments.tokens, arguments.dimensions).add_(images)
    candidates /= candidates.norm(dim=-1, keepdim=True)
    targets = torch.randint(0, arguments.images, (arguments.queries,), generator=generator)
    queries = candidates[targets].mean(1) + 0.1 * normal(arguments.queries, arguments.dimensions)
    return queries / queries.norm(dim=-1, keepdim=True), candidates, targets


def loop_over_queries(scores: Tensor, targets: Tensor) -> HardNegatives:
    """The released rule in plain steps, one query after the other; a query without a range takes what is left."""
    columns: list[list[int]] = []
    for row, target in zip(scores, targets.tolist(), strict=True):
        ranked, order = torch.sort(row, descending=True, stable=True)
        target_rank = int((order == target).nonzero())
        after = ranked[target_rank + 1 :]
        drops = after[:-1] - after[1:]
        largest_first = torch.sort(drops, descending=True, stable=True).indices.tolist()
        ranks = (target_rank + 1, len(order) - 1) if len(after) else (0, len(order) - 1)
        for one, other in pairwise(largest_first):
            if abs(one - other) > 1:
                ranks = (target_rank + 2 + min(one, other), target_rank + 1 + max(one, other))
                break
        columns.append(sorted(set(order[ranks[0] : ranks[1] + 1].tolist()) - {target}))
    return HardNegatives(sets.offsets_of([len(row) for row in columns]), [column for row in columns for column in row])


def ranked_and_selected(scores: Tensor, targets: Tensor) -> Observations:
    return observe(negatives_from_scores(scores, targets, NegativeSettings())[1])


def timed(function: Callable[[], Any]) -> tuple[Any, float]:
    started = time.process_time()
    value = function()
    return value, time.process_time() - started


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("queries", 2000), ("images", 6000), ("tokens", 32), ("dimensions", 256), ("budget", 256)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--sets", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()

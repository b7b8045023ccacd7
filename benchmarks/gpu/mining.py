"""Minings in the tiles of a CPU and of a GPU."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.gpu.measuring import median_seconds, synchronize
from benchmarks.gpu.sizes import Sizes
from qure.config import NegativeSettings


def mining(sizes: Sizes, device: torch.device) -> dict[str, Any]:
    """Both sizes in the tiles of a CPU (as it was) and of a GPU: seconds, peak, and whether the sets are the same."""
    from qure.negatives.mining import mine
    from qure.negatives.relevance import CPU_TILES, DEFAULT_MEMORY_BUDGET, GPU_TILES

    found: dict[str, Any] = {}
    for name, (queries, images) in sizes.minings.items():
        query, candidates, targets = embeddings(queries, images, sizes, device)
        kinds = {
            "small_tiles": {"tiles": CPU_TILES, "memory_budget": DEFAULT_MEMORY_BUDGET},
            "large_tiles": {"tiles": GPU_TILES},
        }
        made, taken, peaks = {}, {}, {}
        for kind, options in kinds.items():
            run = functools.partial(mine, query, candidates, targets, NegativeSettings(), **options)
            if device.type == "cuda":
                torch.cuda.reset_peak_memory_stats(device)
            base = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
            times = []
            for _ in range(3 if kind == "large_tiles" else 2):
                synchronize(device)
                begun = time.perf_counter()
                made[kind] = run().hard
                synchronize(device)
                times.append(time.perf_counter() - begun)
            taken[kind] = times
            peaks[kind] = (
                round((torch.cuda.max_memory_allocated(device) - base) / 2**30, 2) if device.type == "cuda" else None
            )
        some = np.linspace(0, queries - 1, sizes.compared_queries).astype(np.int64)
        on_cpu = mine(
            query[torch.from_numpy(some).to(device)].cpu(),
            candidates.cpu(),
            targets[torch.from_numpy(some)],
            NegativeSettings(),
            device="cpu",
        ).hard
        large, small = made["large_tiles"], made["small_tiles"]
        found[name] = {
            "size": [queries, images],
            "seconds": {kind: [round(one, 4) for one in times] for kind, times in taken.items()},
            "times_faster": round(min(taken["small_tiles"]) / min(taken["large_tiles"]), 2),
            "peak_gib": peaks,
            "entries": int(large.offsets[-1]),
            "queries_with_the_same_set_in_both_tiles": sum(
                np.array_equal(large.of(row), small.of(row)) for row in range(queries)
            ),
            "queries_with_the_same_set_on_the_cpu": [
                sum(np.array_equal(large.of(int(row)), on_cpu.of(place)) for place, row in enumerate(some)),
                len(some),
            ],
            "parts_s": mining_parts(query, candidates, targets, device),
        }
    return found


def mining_parts(query: Tensor, candidates: Tensor, targets: Tensor, device: torch.device) -> dict[str, float]:
    """Where a mining's time goes, each part once more on its own, over one block of queries."""
    from qure.negatives.listing import Listing
    from qure.negatives.ranked import Ranked
    from qure.negatives.relevance import relevance_block
    from qure.negatives.selection import select
    from qure.negatives.statistics import observe

    part, columns = query[:2048], targets[:2048].to(device)
    scores = relevance_block(part, candidates)
    ranked = Ranked(scores)
    chosen = select(ranked, columns, NegativeSettings())

    def listed() -> Any:
        with Listing(len(part), device) as listing:
            listing.add(chosen.members, chosen.sizes)
            return listing.hard()

    runs: dict[str, Callable[[], Any]] = {
        "relevance": lambda: relevance_block(part, candidates),
        "rank": lambda: Ranked(scores),
        "select": lambda: select(ranked, columns, NegativeSettings()),
        "observe": lambda: observe(chosen),
        "list": listed,
    }
    return {"queries": len(part)} | {
        name: round(median_seconds(run, device, repeats=3), 5) for name, run in runs.items()
    }


def embeddings(queries: int, images: int, sizes: Sizes, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Queries near their targets among candidates whose tokens resemble each other; targets on the CPU."""
    generator = torch.Generator(device).manual_seed(0)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, device=device)

    candidates = normal(images, sizes.tokens, sizes.dimensions).add_(normal(images, 1, sizes.dimensions))
    candidates /= candidates.norm(dim=-1, keepdim=True)
    targets = torch.randint(0, images, (queries,), generator=torch.Generator().manual_seed(0))
    query = candidates[targets.to(device)].mean(1) + 0.1 * normal(queries, sizes.dimensions)
    return query / query.norm(dim=-1, keepdim=True), candidates, targets

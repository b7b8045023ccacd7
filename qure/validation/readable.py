"""The last check: that the readers which later stages use take the data, and how many queries they keep."""

import multiprocessing
from collections.abc import Mapping, Sequence
from pathlib import Path

from qure.benchmarks import get_benchmark
from qure.datasets.benchmarks import present_splits
from qure.datasets.exclusions import Exclusions
from qure.datasets.split import present
from qure.processes import worker_pool


def kept_queries(data: Path, benchmark: str, exclusions: Exclusions) -> dict[str, dict[str, int]]:
    """Reads a benchmark as later stages do.

    Args:
        data: the data root.
        benchmark: which.
        exclusions: what validation leaves out.

    Returns:
        "{benchmark}/{split}" -> {"rows": queries in the files, "kept": queries that stay}.

    Raises:
        BadInput: a reader refuses the data.
    """
    one = get_benchmark(benchmark)
    root = one.root(data)
    counts: dict[str, dict[str, int]] = {}
    for split in present_splits(benchmark, root):
        if present(one.query_files(root, split)):  # a test split may come as a bare list of images
            rows, kept = one.count_queries(root, split, exclusions)
            counts[f"{benchmark}/{split}"] = {"rows": rows, "kept": kept}
    return counts


class Reading:
    """`kept_queries` of data of which nothing is left out, as mostly: begun in another process, asked for in the end.

    Args:
        data: the data root.
        benchmarks: which to read.
    """

    def __init__(self, data: Path, benchmarks: Sequence[str]) -> None:
        # Of the server that forks the image checks' processes, if it runs: modules are loaded there already.
        self._pool = worker_pool(1, multiprocessing.get_context("forkserver"))
        self._begun = {name: self._pool.submit(kept_queries, data, name, Exclusions()) for name in benchmarks}

    def kept(self, benchmark: str) -> dict[str, dict[str, int]] | None:
        """Waits for what `kept_queries` gives; None where it failed: asked again, it says why."""
        try:
            return self._begun[benchmark].result()
        except Exception:  # whatever it was, also a process that was killed
            return None

    def close(self) -> None:
        """Ends the process; safe to call twice."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def empty_splits(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Splits of which nothing would be left."""
    return [split for split, count in counts.items() if count["kept"] == 0]

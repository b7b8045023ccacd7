"""The last check: that the readers which later stages use take the data, and how many queries they keep."""

from collections.abc import Mapping
from pathlib import Path

from qure.benchmarks import get_benchmark
from qure.datasets.benchmarks import present_splits
from qure.datasets.exclusions import Exclusions
from qure.datasets.split import present


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


def empty_splits(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Splits of which nothing would be left."""
    return [split for split, count in counts.items() if count["kept"] == 0]

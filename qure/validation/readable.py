"""The last check: that the readers which later stages use take the data, and how many queries they keep."""

from collections.abc import Mapping
from pathlib import Path

from qure.config import BENCHMARK_FOLDERS
from qure.datasets import circo, cirr, fashioniq, hp_fashioniq
from qure.datasets.benchmarks import present_splits
from qure.datasets.exclusions import Exclusions


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
    root = Path(data) / BENCHMARK_FOLDERS[benchmark]
    if benchmark == "hp-fashioniq":
        pairs = hp_fashioniq.read_pairs(root)
        return {f"{benchmark}/answers": {"rows": len(pairs), "kept": len(exclusions.keep_pairs(pairs))}}
    counts: dict[str, dict[str, int]] = {}
    for split in present_splits(benchmark, root):
        if not _has_queries(benchmark, root, split):
            continue
        read = {"fashioniq": fashioniq.read_triplets, "cirr": cirr.read_triplets, "circo": circo.read_triplets}
        kept = len(read[benchmark](root, split, exclusions=exclusions))
        counts[f"{benchmark}/{split}"] = {"rows": len(read[benchmark](root, split, checked=False)), "kept": kept}
    if benchmark == "circo" and circo.has_index(root):
        circo.read_gallery(root)
    return counts


def empty_splits(counts: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Splits of which nothing would be left."""
    return [split for split, count in counts.items() if count["kept"] == 0]


def _has_queries(benchmark: str, root: Path, split: str) -> bool:
    """Whether a split's queries are there: a test split may come as a bare list of images."""
    if benchmark == "fashioniq":
        return all(fashioniq.captions_path(root, split, category).is_file() for category in fashioniq.CATEGORIES)
    return benchmark != "cirr" or cirr.captions_path(root, split).is_file()

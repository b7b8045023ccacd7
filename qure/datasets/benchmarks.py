"""What stages ask of any benchmark's files: image ids, present splits, what is trained on."""

from collections.abc import Sequence
from pathlib import Path

from qure.benchmarks import get_benchmark, training_sets
from qure.datasets.exclusions import Exclusions
from qure.datasets.ids import shown
from qure.datasets.rows import LAYOUT_REMEDY
from qure.datasets.types import Triplet
from qure.errors import BadInput


def image_ids_needed(name: str, root: Path, splits: Sequence[str] | None = None) -> list[str]:
    """All image ids that a benchmark's files refer to, sorted: galleries, references, targets, image sets, answers.

    Args:
        name: the benchmark's.
        root: the benchmark's own folder.
        splits: which of its splits; None for every split whose files are there.

    Raises:
        BadInput: unknown benchmark or split, no split at all, or a file is malformed.
    """
    one, root = get_benchmark(name), Path(root)
    chosen = list(splits) if splits is not None else present_splits(name, root)
    if not chosen:
        raise BadInput(f"holds no split of {name}", file=root, remedy=LAYOUT_REMEDY)
    return sorted({image for split in chosen for image in one.image_ids(root, split)})


def present_splits(name: str, root: Path) -> list[str]:
    """The splits whose image lists (where there are none: annotations) are there."""
    one = get_benchmark(name)
    return [split for split in one.splits if any(file.is_file() for file in one.split_files(Path(root), split))]


def read_training(
    training_set: str, data_root: Path, exclusions: Exclusions | None = None
) -> tuple[list[Triplet], dict[str, list[str]]]:
    """What a model is trained on.

    Args:
        training_set: one of `qure.benchmarks.training_sets()`.
        data_root: the folder that holds the benchmarks' folders.
        exclusions: what to leave out.

    Returns:
        the triplets, and category -> the images from which its negatives come, each once.

    Raises:
        BadInput: no such training set, or a file is missing or malformed.
    """
    if training_set not in training_sets():
        problem = f"no training set {shown(training_set)}"
        raise BadInput(problem, remedy=f"Training sets are {' and '.join(training_sets())}")
    one = get_benchmark(training_set)
    return one.read_training(one.root(data_root), exclusions)

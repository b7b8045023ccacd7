"""What later stages ask of a benchmark without knowing its layout: ids, training triplets, the corpus for mining."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from qure.config import BENCHMARK_FOLDERS
from qure.datasets import circo, cirr, fashioniq, hp_fashioniq
from qure.datasets.exclusions import Exclusions
from qure.datasets.ids import shown
from qure.datasets.rows import LAYOUT_REMEDY
from qure.datasets.types import Triplet
from qure.errors import BadInput

SPLITS: dict[str, tuple[str, ...]] = {
    "fashioniq": fashioniq.SPLITS,
    "hp-fashioniq": ("val",),
    "cirr": cirr.SPLITS,
    "circo": circo.SPLITS,
}


def image_ids_needed(benchmark: str, root: Path, splits: Sequence[str] | None = None) -> list[str]:
    """All image ids that a benchmark's files refer to, sorted: galleries, references, targets, image sets, answers.

    Args:
        benchmark: a name in `SPLITS`.
        root: the benchmark's own folder.
        splits: which of its splits; None for every split whose files are there.

    Raises:
        BadInput: unknown benchmark or split, no split at all, or a file is malformed.
    """
    known = SPLITS.get(benchmark)
    if known is None:
        raise BadInput(f"no benchmark {shown(benchmark)}", remedy=f"Benchmarks are {', '.join(SPLITS)}")
    root = Path(root)
    chosen = list(splits) if splits is not None else present_splits(benchmark, root)
    if not chosen:
        raise BadInput(f"holds no split of {benchmark}", file=root, remedy=LAYOUT_REMEDY)
    ids: set[str] = set()
    for split in chosen:
        ids.update(_ids_of[benchmark](root, split))
    return sorted(ids)


def present_splits(benchmark: str, root: Path) -> list[str]:
    """The splits whose image lists (CIRCO, HP-FashionIQ: annotations) are there."""
    return [
        split for split in SPLITS[benchmark] if any(file.is_file() for file in _files(benchmark, Path(root), split))
    ]


def training_triplets(training_set: str, data_root: Path, exclusions: Exclusions | None = None) -> list[Triplet]:
    """The triplets a model is trained on.

    Args:
        training_set: "fashioniq" or "cirr".
        data_root: the folder that holds the benchmarks' folders.
        exclusions: what to leave out.
    """
    root = Path(data_root) / BENCHMARK_FOLDERS[_check_training_set(training_set)]
    if training_set == "fashioniq":
        return fashioniq.read_triplets(root, "train", exclusions=exclusions)
    return cirr.read_triplets(root, "train", exclusions=exclusions)


def training_corpus(training_set: str, data_root: Path, exclusions: Exclusions | None = None) -> dict[str, list[str]]:
    """The images from which negatives come.

    FashionIQ: per category the targets of its train triplets, each once, in the order of their first occurrence.
    CIRR: all train images under the key "all", in the split file's order.
    """
    if _check_training_set(training_set) == "cirr":
        gallery = cirr.read_gallery(Path(data_root) / BENCHMARK_FOLDERS["cirr"], "train")
        return {"all": list((exclusions.keep_gallery(gallery) if exclusions else gallery).ids)}
    corpus: dict[str, dict[str, None]] = {category: {} for category in fashioniq.CATEGORIES}
    for triplet in training_triplets(training_set, data_root, exclusions):
        if triplet.category is not None and triplet.target is not None:
            corpus[triplet.category][triplet.target] = None
    return {category: list(targets) for category, targets in corpus.items()}


def _check_training_set(name: str) -> str:
    if name not in ("fashioniq", "cirr"):
        raise BadInput(f"no training set {shown(name)}", remedy="Training sets are fashioniq and cirr")
    return name


def _files(benchmark: str, root: Path, split: str) -> list[Path]:
    """The files without which a split is not there."""
    if benchmark == "fashioniq":
        return [root / "image_splits" / f"split.{category}.{split}.json" for category in fashioniq.CATEGORIES]
    if benchmark == "cirr":
        return [cirr.split_path(root, split)]
    return [circo.annotations_path(root, split) if benchmark == "circo" else hp_fashioniq.file_path(root)]


def _fashioniq_ids(root: Path, split: str) -> Iterable[str]:
    for category in fashioniq.CATEGORIES:
        yield from fashioniq.split_ids(root, split, category)
        if fashioniq.captions_path(root, split, category).is_file():
            yield from _named(fashioniq.read_triplets(root, split, [category], checked=False))


def _cirr_ids(root: Path, split: str) -> Iterable[str]:
    yield from cirr.image_paths(root, split)
    if cirr.captions_path(root, split).is_file():
        yield from _named(cirr.read_triplets(root, split, checked=False))


def _circo_ids(root: Path, split: str) -> Iterable[str]:
    yield from _named(circo.read_triplets(root, split, checked=False))
    if circo.has_index(root):
        yield from circo.read_gallery(root).ids


def _hp_fashioniq_ids(root: Path, split: str) -> Iterable[str]:
    for pair in hp_fashioniq.read_pairs(root):
        yield from (pair.reference, pair.target, *pair.set_1, *pair.set_2)


def _named(triplets: Iterable[Triplet]) -> Iterable[str]:
    for triplet in triplets:
        yield from (triplet.reference, *triplet.members, *triplet.answers)
        if triplet.target is not None:
            yield triplet.target


_ids_of = {
    "fashioniq": _fashioniq_ids,
    "hp-fashioniq": _hp_fashioniq_ids,
    "cirr": _cirr_ids,
    "circo": _circo_ids,
}

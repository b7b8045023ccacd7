"""What training sees of the images that judge a model: found in annotation files alone, no image is read.

One model is trained on all of FashionIQ's categories together (as QuRe, SPRC and CLIP4CIR do), so an image that one
category trains on and another judges with has been seen.
"""

from collections.abc import Collection, Iterable
from dataclasses import replace
from pathlib import Path

from qure.benchmarks import Benchmark, Scope, benchmarks, get_benchmark
from qure.datasets.exclusions import Exclusions, query_key
from qure.datasets.split import present
from qure.datasets.types import PreferencePair, Triplet, named_images
from qure.errors import BadInput

TRAIN, VAL = "train", "val"


def leaked_queries(judging: Iterable[Triplet], training: Iterable[Triplet]) -> frozenset[str]:
    """Query ids of the queries whose target a training triplet names, as reference or as target.

    >>> train = [Triplet("shirt/0", "a", "is red", target="b")]
    >>> asked = [Triplet("toptee/4", "c", "is blue", target="a"), Triplet("toptee/5", "a", "is blue", target="d")]
    >>> sorted(leaked_queries(asked, train))
    ['toptee/4']
    """
    seen = frozenset(named_images(training))
    return frozenset(triplet.query_id for triplet in judging if triplet.target in seen)


def leaking_queries(training: Iterable[Triplet], judged: Collection[str]) -> frozenset[str]:
    """Keys (`query_key`) of the training triplets that name one of the judging splits' images.

    >>> sorted(leaking_queries([Triplet("shirt/0", "a", "is red", target="b", split="train")], {"b"}))
    ['train/shirt/0']
    """
    return frozenset(
        query_key(triplet) for triplet in training if any(one in judged for one in named_images([triplet]))
    )


def without_leaking(training_set: str, data: Path, exclusions: Exclusions) -> Exclusions:
    """Exclusions that also leave out the training triplets with images of another split (`training.exclude_leaked`).

    Args:
        training_set: one of `qure.benchmarks.training_sets()`.
        data: the data root.
        exclusions: what is left out anyway.

    Raises:
        BadInput: a file is missing or malformed.
    """
    one = get_benchmark(training_set)
    root = one.root(data)
    judged = _images(one, root, [split for split in one.splits if split != TRAIN])
    leaking = leaking_queries(one.read_training(root, exclusions)[0], judged)
    return replace(exclusions, queries=exclusions.queries | leaking)


def leakage(data: Path) -> dict[str, dict[str, int]]:
    """What the annotation files below a data root have in common across splits.

    Args:
        data: the data root; benchmarks that are not there are left out, and so is what missing files would say.

    Returns:
        benchmark -> what -> how many:
        `images_train_val`: images in a list of train and one of val; `gallery_in_training`: val images that train
        triplets name; `queries`: val queries; `targets_seen`: those whose target train triplets name,
        `targets_seen_as_target`: as a target; `pairs_repeated`: distinct pairs of reference and target in both splits,
        in this order, `pairs_turned`: with the ends exchanged; `training_triplets`, and `training_triplets_leaking`:
        those that `training.exclude_leaked` leaves out.

    Raises:
        BadInput: no benchmark is there, or a file is malformed.
    """
    found = {}
    for one in benchmarks():
        root = one.root(data)
        if root.is_dir() and any(present(one.split_files(root, split)) for split in one.splits):
            found[one.name] = _leakage(one, data)
    if not found:
        raise BadInput("holds no benchmark's files", file=data)
    return found


def _leakage(one: Benchmark, data: Path) -> dict[str, int]:
    """One benchmark's; it is trained by the training set whose models it judges."""
    trainer = get_benchmark(one.judges)
    split = VAL if VAL in one.splits else one.splits[0]
    judging = one.read(one.root(data), split, Scope(candidates=()))
    asked = [*judging.triplets, *_as_triplets(judging.pairs)]
    result = {"queries": len(asked)}
    lists = trainer.root(data)
    if one.images == trainer.images and present(trainer.split_files(lists, TRAIN)):
        shown = set(judging.images)
        result["images_train_val"] = len(_images(trainer, lists, [TRAIN]) & shown)
    if not present(trainer.query_files(lists, TRAIN)):
        return result
    training = trainer.read(lists, TRAIN).triplets
    seen, targets = frozenset(named_images(training)), {triplet.target for triplet in training}
    pairs, asked_pairs = ({(one.reference, one.target) for one in rows} for rows in (training, asked))
    judged = _images(trainer, lists, [name for name in trainer.splits if name != TRAIN])
    return result | {
        "gallery_in_training": len(seen & set(judging.images)),
        "targets_seen": len(leaked_queries(asked, training)),
        "targets_seen_as_target": sum(triplet.target in targets for triplet in asked),
        "pairs_repeated": len(pairs & asked_pairs),
        "pairs_turned": len({(target, reference) for reference, target in pairs} & asked_pairs),
        "training_triplets": len(training),
        "training_triplets_leaking": len(leaking_queries(training, judged)),
    }


def _as_triplets(pairs: Iterable[PreferencePair]) -> list[Triplet]:
    return [Triplet(pair.query_id, pair.reference, pair.text, target=pair.target) for pair in pairs]


def _images(one: Benchmark, root: Path, splits: Iterable[str]) -> frozenset[str]:
    """Every image that some splits' files name, as far as they are there."""
    there = [split for split in splits if any(file.is_file() for file in one.split_files(root, split))]
    return frozenset(image for split in there for image in one.image_ids(root, split))

"""Plans the scenes of CIRR's layout: image sets of six similar pictures, and pairs inside them."""

from dataclasses import dataclass
from typing import Any

from qure.catalogue.attributes import SCENES, Vector, differing
from qure.catalogue.chance import Chance
from qure.catalogue.plan import Plan, PlannedPicture, scaled, truth_document
from qure.catalogue.scene_words import full_caption, relative_caption

FOLDER = "cirr"
SET_SIZE = 6

#: Image sets and pairs of a split, and what its ids begin with.
_COUNTS = {"train": (200, 2400, "train"), "val": (67, 500, "dev"), "test1": (40, 240, "test1")}

#: A pair differs in at most so many attributes.
_MOST_CHANGES = 2

#: Published train images lie in numbered sub-folders.
_TRAIN_FOLDERS = 100


@dataclass(frozen=True, slots=True)
class SceneSplit:
    """One split: image ids with paths and attributes, and the published rows."""

    split: str
    images: dict[str, Vector]
    paths: dict[str, str]
    rows: list[dict[str, Any]]
    wanted: dict[str, Vector]


def plan_scenes(seed: int, scale: float) -> list[SceneSplit]:
    """All splits; the same seed and scale give the same splits."""
    taste = SCENES.taste_of(Chance(seed, "scenes", "taste"))
    splits: list[SceneSplit] = []
    first_pair = 0
    for split, (sets, pairs, prefix) in _COUNTS.items():
        chance = Chance(seed, "scenes", split)
        planned = _split(split, prefix, scaled(sets, scale, 4), scaled(pairs, scale, 12), first_pair, taste, chance)
        first_pair += len(planned.rows)
        splits.append(planned)
    return splits


def cirr_plan(splits: list[SceneSplit]) -> Plan:
    """The published files: captions, split lists and images, with the truth beside them."""
    plan = Plan()
    for part in splits:
        plan.add_json(f"{FOLDER}/captions/cap.rc2.{part.split}.json", part.rows)
        plan.add_json(f"{FOLDER}/image_splits/split.rc2.{part.split}.json", part.paths)
        for image, vector in part.images.items():
            plan.pictures.append(PlannedPicture(f"{FOLDER}/{part.paths[image].removeprefix('./')}", "", vector))
    images = {part.split: {image: list(vector) for image, vector in part.images.items()} for part in splits}
    queries = {part.split: {pair: list(vector) for pair, vector in part.wanted.items()} for part in splits}
    plan.add_json(f"{FOLDER}/truth.json", truth_document(SCENES.names, SCENES.values, (), images, queries))
    return plan


def scene_captions(seed: int, splits: list[SceneSplit]) -> list[dict[str, str]]:
    """Full captions of the train images, for the backbone's pre-training."""
    return [
        {"image_set": FOLDER, "image": image, "caption": full_caption(vector, Chance(seed, "caption", image))}
        for part in splits
        if part.split == "train"
        for image, vector in part.images.items()
    ]


def _split(
    split: str,
    prefix: str,
    sets: int,
    pairs: int,
    first_pair: int,
    taste: "tuple[tuple[int, ...], ...]",
    chance: Chance,
) -> SceneSplit:
    images: dict[str, Vector] = {}
    paths: dict[str, str] = {}
    members: list[list[str]] = []
    ranks: dict[str, int] = {}
    for number in range(sets):
        ids = []
        for position, vector in enumerate(_similar(SCENES.draw(chance, taste), taste, chance)):
            image = f"{prefix}-{number}-{position // 2}-img{position % 2}"
            folder = f"train/{number % _TRAIN_FOLDERS}" if split == "train" else prefix
            images[image], paths[image] = vector, f"./{folder}/{image}.png"
            ids.append(image)
        ranks |= _ranks(ids, images)
        members.append(chance.shuffled(ids))
    rows: list[dict[str, Any]] = []
    wanted: dict[str, Vector] = {}
    for set_number, reference, target in _pairs(members, images, pairs, chance):
        pair = first_pair + len(rows)
        row = _row(pair, reference, target, set_number, members[set_number], images, ranks, chance)
        if split == "test1":
            del row["target_hard"], row["target_soft"], row["img_set"]["target_rank"]
        rows.append(row)
        wanted[str(pair)] = images[target]
    order = chance.shuffled(list(images))
    return SceneSplit(split, {i: images[i] for i in order}, {i: paths[i] for i in order}, rows, wanted)


def _similar(base: Vector, taste: "tuple[tuple[int, ...], ...]", chance: Chance) -> list[Vector]:
    """Six different vectors, each one or two steps from an earlier one."""
    vectors = [base]
    while len(vectors) < SET_SIZE:
        changed = list(chance.choice(vectors))
        fresh = SCENES.draw(chance, taste)
        for attribute in chance.some(range(len(changed)), chance.between(1, 2)):
            changed[attribute] = fresh[attribute]
        if tuple(changed) not in vectors:
            vectors.append(tuple(changed))
    return vectors


def _ranks(ids: list[str], images: dict[str, Vector]) -> dict[str, int]:
    """The ranks of a set's images, as published: by likeness to the image that the set began with, which has rank 0.

    `members` lists them in another order.
    """
    first = images[ids[0]]
    ordered = sorted(ids, key=lambda image: len(differing(first, images[image])))
    return {image: rank for rank, image in enumerate(ordered)}


def _pairs(
    members: list[list[str]], images: dict[str, Vector], count: int, chance: Chance
) -> list[tuple[int, str, str]]:
    """Pairs that differ in few attributes, spread evenly over the sets."""
    waiting = [
        chance.shuffled(
            [
                (number, reference, target)
                for reference in ids
                for target in ids
                if reference != target and len(differing(images[reference], images[target])) <= _MOST_CHANGES
            ]
        )
        for number, ids in enumerate(members)
    ]
    chosen: list[tuple[int, str, str]] = []
    while len(chosen) < count and any(waiting):
        chosen += [pairs.pop() for pairs in waiting if pairs]
    return chosen[:count]


def _row(
    pair: int,
    reference: str,
    target: str,
    set_number: int,
    members: list[str],
    images: dict[str, Vector],
    ranks: dict[str, int],
    chance: Chance,
) -> dict[str, Any]:
    changed = differing(images[reference], images[target])
    return {
        "pairid": pair,
        "reference": reference,
        "target_hard": target,
        "target_soft": {target: 1.0},
        "caption": relative_caption(images[reference], images[target], changed, chance),
        "img_set": {
            "id": set_number,
            "members": members,
            "reference_rank": ranks[reference],
            "target_rank": ranks[target],
        },
    }

"""Plans the garments: splits, triplets and captions in FashionIQ's layout."""

from dataclasses import dataclass

import numpy as np

from qure.catalogue.attributes import GARMENTS, Vector, differing
from qure.catalogue.chance import Chance
from qure.catalogue.garment_words import full_caption, relative_captions
from qure.catalogue.plan import Plan, PlannedPicture, asins, scaled, truth_document

CATEGORIES = ("dress", "shirt", "toptee")
FOLDER = "fashioniq"

#: Images and triplets of one category.
_COUNTS = {"train": (600, 1500), "val": (400, 200), "test": (120, 60)}

#: How often a triplet changes one, two or three attributes, in percent.
_CHANGES = (50, 35, 15)

#: A picture found too often without a partner ends the search for triplets (tiny scales).
_PATIENCE = 200


@dataclass(frozen=True, slots=True)
class GarmentTriplet:
    """A triplet with its attributes."""

    reference: str
    target: str
    captions: list[str]
    wanted: Vector


@dataclass(frozen=True, slots=True)
class GarmentSplit:
    """One category of one split: image ids with their attributes, and triplets."""

    category: str
    split: str
    images: dict[str, Vector]
    triplets: list[GarmentTriplet]


def plan_garments(seed: int, scale: float) -> list[GarmentSplit]:
    """All categories and splits; the same seed and scale give the same splits."""
    ids = iter(
        asins(Chance(seed, "garments", "ids"), sum(_images(split, scale) for split in _COUNTS) * len(CATEGORIES))
    )
    splits = []
    for category in CATEGORIES:
        taste = GARMENTS.taste_of(Chance(seed, "garments", category, "taste"))
        for split in _COUNTS:
            chance = Chance(seed, "garments", category, split)
            images = {next(ids): GARMENTS.draw(chance, taste) for _ in range(_images(split, scale))}
            wanted = scaled(_COUNTS[split][1], scale, 8)
            splits.append(GarmentSplit(category, split, images, _triplets(category, images, wanted, chance)))
    return splits


def fashioniq_plan(splits: list[GarmentSplit]) -> Plan:
    """The published files: captions, split lists and images, with the truth beside them."""
    plan = Plan()
    images: dict[str, dict[str, list[int]]] = {}
    queries: dict[str, dict[str, list[int]]] = {}
    for part in splits:
        code = CATEGORIES.index(part.category)
        rows = [
            {"target": triplet.target, "candidate": triplet.reference, "captions": triplet.captions}
            for triplet in part.triplets
        ]
        if part.split == "test":
            rows = [{"candidate": row["candidate"], "captions": row["captions"]} for row in rows]
        plan.add_json(f"{FOLDER}/captions/cap.{part.category}.{part.split}.json", rows, indent=4)
        plan.add_json(f"{FOLDER}/image_splits/split.{part.category}.{part.split}.json", list(part.images), indent=4)
        for image, vector in part.images.items():
            plan.pictures.append(PlannedPicture(f"{FOLDER}/images/{image}.jpg", part.category, vector))
            images.setdefault(part.split, {})[image] = [code, *vector]
        for row_number, triplet in enumerate(part.triplets):
            queries.setdefault(part.split, {})[f"{part.category}/{row_number}"] = [code, *triplet.wanted]
    plan.add_json(f"{FOLDER}/truth.json", garment_truth(images, queries))
    return plan


def garment_truth(
    images: dict[str, dict[str, list[int]]], queries: dict[str, dict[str, list[int]]]
) -> dict[str, object]:
    """truth.json of anything made of garments: the category is a must, the rest counts by its share."""
    names, values = ("category", *GARMENTS.names), (CATEGORIES, *GARMENTS.values)
    return truth_document(names, values, ("category",), images, queries)


def garment_captions(seed: int, splits: list[GarmentSplit]) -> list[dict[str, str]]:
    """Full captions of the train images, for the backbone's pre-training."""
    return [
        {
            "image_set": FOLDER,
            "image": image,
            "caption": full_caption(part.category, vector, Chance(seed, "caption", image)),
        }
        for part in splits
        if part.split == "train"
        for image, vector in part.images.items()
    ]


def _images(split: str, scale: float) -> int:
    return scaled(_COUNTS[split][0], scale, 20)


def _triplets(category: str, images: dict[str, Vector], count: int, chance: Chance) -> list[GarmentTriplet]:
    """Pairs that differ in one to three attributes, no pair twice."""
    ids = list(images)
    vectors = np.array(list(images.values()))
    found: dict[tuple[str, str], GarmentTriplet] = {}
    misses = 0
    while len(found) < count and misses < _PATIENCE:
        reference = chance.choice(ids)
        changes = chance.weighted(_CHANGES) + 1
        near = np.flatnonzero((vectors != images[reference]).sum(axis=1) == changes)
        target = ids[near[chance.below(len(near))]] if len(near) else reference
        if target == reference or (reference, target) in found:
            misses += 1
            continue
        misses = 0
        changed = differing(images[reference], images[target])
        captions = relative_captions(category, images[reference], images[target], changed, chance)
        found[reference, target] = GarmentTriplet(reference, target, captions, images[target])
    return list(found.values())

"""Plans HP-FashionIQ: simulated people who see two retrieved sets of five and prefer one, with noise and mistakes."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from qure.catalogue.attributes import Vector
from qure.catalogue.chance import Chance
from qure.catalogue.fashioniq import CATEGORIES, GarmentSplit, GarmentTriplet, garment_truth
from qure.catalogue.plan import Plan, scaled

FOLDER = "hp_fashioniq"
SET_SIZE = 5

_PEOPLE = 20
_QUESTIONS = 25

#: The published questions are about shirts and tops.
_ASKED_CATEGORIES = ("shirt", "toptee")

#: Noise of the two simulated retrieval systems, in thousandths of relevance; a set comes from either.
_SYSTEMS = (110, 170)

#: How unsure people are, in thousandths of relevance: least and most.
_DOUBT = (40, 120)

#: Slips: the answer sheet says the other set, in percent.
_SLIPS = 2

#: A relevance of this many thousandths or more earns scores 2, 3, 4, 5.
_SCORE_STEPS = (520, 640, 740, 830)


def hp_fashioniq_plan(seed: int, scale: float, splits: list[GarmentSplit]) -> Plan:
    """The published file and the truth beside it; images are FashionIQ's val images."""
    asked = {part.category: part for part in splits if part.split == "val" and part.category in _ASKED_CATEGORIES}
    people: dict[str, Any] = {}
    wanted: dict[str, list[int]] = {}
    for number in range(1, scaled(_PEOPLE, scale, 3) + 1):
        person = f"user_{number}"
        chance = Chance(seed, FOLDER, person)
        doubt = chance.between(*_DOUBT)
        people[person] = {}
        for question_set in ("question_set_1", "question_set_2"):
            columns: dict[str, list[Any]] = {name: [] for name in _COLUMNS}
            for index, (category, triplet) in enumerate(_questions(asked, chance)):
                _ask(columns, category, triplet, asked[category].images, doubt, chance)
                wanted[f"{person}/{question_set}/{index}"] = [CATEGORIES.index(category), *triplet.wanted]
            people[person][question_set] = columns
    images = {
        image: [CATEGORIES.index(category), *vector]
        for category, part in asked.items()
        for image, vector in part.images.items()
    }
    plan = Plan()
    plan.add_json(f"{FOLDER}/hpfiq.json", people, indent=2)
    plan.add_json(f"{FOLDER}/truth.json", garment_truth({"val": images}, {"val": wanted}))
    return plan


_COLUMNS = ("ref_img_paths", "targ_img_paths", "sentences", "retrieved_set1", "retrieved_set2", "preferred set")


def _questions(asked: dict[str, GarmentSplit], chance: Chance) -> list[tuple[str, GarmentTriplet]]:
    """A question set: different triplets of one category."""
    category = chance.choice(_ASKED_CATEGORIES)
    return [(category, triplet) for triplet in chance.some(asked[category].triplets, _QUESTIONS)]


def _ask(
    columns: dict[str, list[Any]],
    category: str,
    triplet: GarmentTriplet,
    images: dict[str, Vector],
    doubt: int,
    chance: Chance,
) -> None:
    """One row: two sets, how the person sees them, and what she answers."""
    systems = chance.shuffled(_SYSTEMS)
    sets = [_retrieved(triplet, images, noise, chance) for noise in systems]
    seen = [
        int(relevance([images[image] for image in retrieved], triplet.wanted).sum()) // SET_SIZE + chance.bell(doubt)
        for retrieved in sets
    ]
    preferred = 0 if seen[0] > seen[1] or (seen[0] == seen[1] and chance.happens(50)) else 1
    if chance.happens(_SLIPS):
        preferred = 1 - preferred
    captions = chance.shuffled(triplet.captions)
    columns["ref_img_paths"].append(_path(category, triplet.reference))
    columns["targ_img_paths"].append(_path(category, triplet.target))
    columns["sentences"].append("  and ".join(captions).replace(".", "dotmark"))
    for name, retrieved, impression in zip(("retrieved_set1", "retrieved_set2"), sets, seen, strict=True):
        paths = [_path(category, image) for image in retrieved]
        columns[name].append({"img_path": paths, "user_score": _score(impression)})
    columns["preferred set"].append(str(preferred + 1))


def relevance(vectors: Sequence[Vector], wanted: Vector) -> np.ndarray:
    """Share of wanted attributes that each vector meets, in thousandths.

    >>> relevance([(1, 2), (1, 0)], (1, 2)).tolist()
    [1000, 500]
    """
    met: np.ndarray = (np.array(vectors) == wanted).sum(axis=1)
    return 1000 * met // len(wanted)


def _retrieved(triplet: GarmentTriplet, images: dict[str, Vector], noise: int, chance: Chance) -> list[str]:
    """The top five of a retrieval system that sees true relevance through noise; never the reference itself."""
    ids = list(images)
    scores = relevance(list(images.values()), triplet.wanted) + chance.bells(len(ids), noise)
    best = [ids[index] for index in np.argsort(-scores, kind="stable")[: SET_SIZE + 1]]
    return [image for image in best if image != triplet.reference][:SET_SIZE]


def _score(impression: int) -> str:
    return str(1 + sum(impression >= step for step in _SCORE_STEPS))


def _path(category: str, image: str) -> str:
    return f"/-/image_data/{category}/{image}.jpg"

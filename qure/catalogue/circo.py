"""Plans the scenes of CIRCO's layout: one gallery in COCO's form, queries with several right answers."""

from typing import Any

import numpy as np

from qure.catalogue.attributes import SCENES, Vector
from qure.catalogue.chance import Chance
from qure.catalogue.plan import Plan, PlannedPicture, scaled, truth_document
from qure.catalogue.scene_words import continued_caption, shared_concept

FOLDER = "circo"

_IMAGES = 1200
_QUERIES = {"val": 100, "test": 150}

#: Right answers a query may have, as in the public benchmark.
_ANSWERS = range(2, 15)
_HIGHEST_ID = 581_930
_PATIENCE = 5000

#: CIRCO's names for what a change touches, by attribute.
_ASPECTS = (
    "compare_change",
    "cardinality",
    "direct_addressing",
    "spatial_relations_background",
    "comparative_statement",
)


def circo_plan(seed: int, scale: float, image_size: int) -> Plan:
    """The published files: COCO's index and images, the queries, and the truth beside them."""
    chance = Chance(seed, "circo")
    taste = SCENES.taste_of(Chance(seed, "circo", "taste"))
    ids = _ids(scaled(_IMAGES, scale, 60), chance)
    images = {image: SCENES.draw(chance, taste) for image in ids}
    plan = Plan()
    for image, vector in images.items():
        plan.pictures.append(PlannedPicture(f"{FOLDER}/COCO2017_unlabeled/unlabeled2017/{image:012d}.jpg", "", vector))
    index = f"{FOLDER}/COCO2017_unlabeled/annotations/image_info_unlabeled2017.json"
    plan.add_json(index, _coco_index(ids, image_size))
    queries = {}
    for split, count in _QUERIES.items():
        rows, wanted = _queries(split, images, scaled(count, scale, 5), Chance(seed, "circo", split))
        plan.add_json(f"{FOLDER}/annotations/{split}.json", rows, indent=4)
        queries[split] = wanted
    codes = {"all": {str(image): list(vector) for image, vector in images.items()}}
    plan.add_json(f"{FOLDER}/truth.json", truth_document(SCENES.names, SCENES.values, (), codes, queries))
    return plan


def _ids(count: int, chance: Chance) -> list[int]:
    """Different ids in rising order."""
    found: set[int] = set()
    while len(found) < count:
        found.add(chance.between(1, _HIGHEST_ID))
    return sorted(found)


def _queries(
    split: str, images: dict[int, Vector], count: int, chance: Chance
) -> tuple[list[dict[str, Any]], dict[str, list[int]]]:
    """Rows as published and what each wants: two or three attributes kept, one or two changed, the rest free."""
    ids, vectors = list(images), np.array(list(images.values()))
    rows: list[dict[str, Any]] = []
    wanted_by_query: dict[str, list[int]] = {}
    asked = set()
    for _ in range(_PATIENCE):
        if len(rows) == count:
            break
        reference = chance.choice(ids)
        order = chance.shuffled(range(len(SCENES.names)))
        changed, kept = sorted(order[: chance.between(1, 2)]), sorted(order[2 : chance.between(4, 5)])
        example = images[chance.choice(ids)]
        before = images[reference]
        wanted = [example[a] if a in changed else before[a] if a in kept else -1 for a in range(len(example))]
        met = ((vectors == wanted) | (np.array(wanted) == -1)).all(axis=1)
        answers = chance.shuffled([ids[index] for index in np.flatnonzero(met)])
        differs = all(example[a] != before[a] for a in changed)
        if not differs or len(answers) not in _ANSWERS or (reference, tuple(wanted)) in asked:
            continue
        asked.add((reference, tuple(wanted)))
        wanted_by_query[str(len(rows))] = wanted
        rows.append(_row(split, len(rows), reference, answers, tuple(wanted), changed, kept, images, chance))
    return rows, wanted_by_query


def _row(
    split: str,
    number: int,
    reference: int,
    answers: list[int],
    wanted: Vector,
    changed: list[int],
    kept: list[int],
    images: dict[int, Vector],
    chance: Chance,
) -> dict[str, Any]:
    caption = continued_caption(wanted, changed, chance)
    concept = shared_concept(images[reference], kept)
    if split == "test":
        return {"reference_img_id": reference, "relative_caption": caption, "shared_concept": concept, "id": number}
    aspects = [_ASPECTS[attribute] for attribute in changed]
    return {
        "reference_img_id": reference,
        "target_img_id": answers[0],
        "relative_caption": caption,
        "shared_concept": concept,
        "gt_img_ids": answers,
        "id": number,
        "semantic_aspects": aspects + ["statement_with_conjunction"] * (len(changed) > 1),
    }


def _coco_index(ids: list[int], image_size: int) -> dict[str, Any]:
    return {
        "info": {"description": "Rendered scenes in the layout of COCO 2017 unlabeled", "version": "1.0", "year": 2017},
        "licenses": [{"id": 1, "name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"}],
        "images": [
            {
                "license": 1,
                "file_name": f"{image:012d}.jpg",
                "height": image_size,
                "width": image_size,
                "id": image,
            }
            for image in ids
        ],
        "categories": [],
    }

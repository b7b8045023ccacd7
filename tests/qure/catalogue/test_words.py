"""Captions say what is true: the change can be worked out from reference and captions alone."""

import re
from collections import Counter

import pytest

from qure.catalogue.attributes import GARMENTS, SCENES, Vector, differing
from qure.catalogue.chance import Chance
from qure.catalogue.fashioniq import CATEGORIES
from qure.catalogue.garment_words import full_caption, relative_captions
from qure.catalogue.scene_words import continued_caption, relative_caption, shared_concept
from qure.catalogue.scene_words import full_caption as full_scene_caption

#: What each phrase means, written down apart from the templates; the first match of a row wins.
GARMENT_MEANINGS: dict[str, list[tuple[str, str]]] = {
    "colour": [(r"\bgr[ae]y\b", "grey"), *((rf"\b{colour}\b", colour) for colour in GARMENTS.values[0])],
    "pattern": [
        ("stripe", "striped"),
        (r"dot", "dotted"),
        (r"plaid|check", "checked"),
        (r"graphic|print on|logo", "graphic"),
        (r"(?<!less )(?<!more )plain|solid|no pattern|no print", "solid"),
    ],
    "sleeve": [
        (r"sleeveless|no sleeves|bare arms", "sleeveless"),
        (r"short sleeve|sleeves that are short", "short"),
        (r"long sleeve|full length sleeves", "long"),
    ],
    "length": [
        (r"mini|a short skirt|above the knee|crop|short(?! sleeve[ds]|er)(?<!are short)", "short"),
        (r"knee length|medium|hip length", "medium"),
        (r"floor length|maxi|a long skirt|ankle length|tunic|long hem", "long"),
    ],
    "neckline": [
        (r"round neck|crew neck|scoop neck|rounded", "round"),
        (r"\bv\b", "v-neck"),
        (r"collar", "collared"),
    ],
}
STEPS = {
    r"(much|a lot) longer": 2, r"(a bit|slightly) longer": 1, r"longer(?! sleeve)": 1,
    r"(much|a lot) shorter": -2, r"(a bit|slightly) shorter": -1, r"shorter(?! sleeve)": -1,
}  # fmt: skip


def understood(text: str, reference: Vector) -> dict[str, str]:
    """The attributes that a reader who sees the reference takes from the captions."""
    text = text.lower()
    look = GARMENTS.described(reference)
    found: dict[str, str] = {}
    for attribute, meanings in GARMENT_MEANINGS.items():
        for pattern, value in meanings:
            if re.search(pattern, text):
                found.setdefault(attribute, value)
    lengths, sleeves = GARMENTS.values[3], GARMENTS.values[2]
    for pattern, step in STEPS.items():
        if re.search(pattern, text):
            found.setdefault("length", lengths[lengths.index(look["length"]) + step])
            break
    for word, step in (("longer sleeves", 1), ("shorter sleeves", -1)):
        if word in text:
            found.setdefault("sleeve", sleeves[sleeves.index(look["sleeve"]) + step])
    return found


@pytest.mark.parametrize("category", CATEGORIES)
def test_reference_and_captions_together_give_the_target(category: str) -> None:
    chance = Chance(1, "test", category)
    for _ in range(400):
        reference = tuple(chance.below(len(values)) for values in GARMENTS.values)
        target = list(reference)
        for attribute in chance.some(range(5), chance.between(1, 3)):
            target[attribute] = chance.below(len(GARMENTS.values[attribute]))
        changed = differing(reference, tuple(target))
        if not changed:
            continue
        captions = relative_captions(category, reference, tuple(target), changed, chance)
        assert len(captions) == 2
        assert all(caption.strip(" .") for caption in captions)
        wanted = {GARMENTS.names[a]: GARMENTS.values[a][target[a]] for a in changed}
        assert understood(" / ".join(captions), reference) == wanted, captions


@pytest.mark.parametrize("category", CATEGORIES)
def test_full_captions_name_every_attribute(category: str) -> None:
    chance = Chance(2, "test", category)
    for _ in range(300):
        vector = tuple(chance.below(len(values)) for values in GARMENTS.values)
        caption = full_caption(category, vector, chance)
        assert understood(caption, vector) == GARMENTS.described(vector), caption


def test_annotators_vary_their_words() -> None:
    chance = Chance(3, "test")
    captions = [
        caption
        for _ in range(200)
        for caption in relative_captions("dress", (0, 0, 0, 0, 0), (7, 0, 2, 1, 0), (0, 2, 3), chance)
    ]
    assert len(set(captions)) > 150
    assert max(Counter(captions).values()) < 20


SCENE_WORDS: dict[str, dict[str, str]] = {
    "colour": {colour: rf"\b{colour}\b" for colour in SCENES.values[2]},
    "background": {
        "meadow": "meadow|grass",
        "night": "night|dark sky",
        "beach": "beach|sea",
        "wall": "brick",
        "snow": "snow|winter",
    },
    "size": {"small": "small|little", "large": r"large|big|\bbigger"},
}  # fmt: skip


def mentioned(text: str) -> dict[str, str]:
    return {
        attribute: value
        for attribute, patterns in SCENE_WORDS.items()
        for value, pattern in patterns.items()
        if re.search(pattern, text.lower())
    }


def random_scene(chance: Chance) -> Vector:
    return tuple(chance.below(len(values)) for values in SCENES.values)


def test_scene_captions_name_changed_colours_places_and_sizes_and_no_others() -> None:
    chance = Chance(4, "test")
    for _ in range(600):
        reference, target = random_scene(chance), random_scene(chance)
        kept = chance.some(range(5), 3)
        target = tuple(reference[a] if a in kept else target[a] for a in range(5))
        changed = differing(reference, target)
        if not changed:
            continue
        look = SCENES.described(target)
        expected = {name: look[name] for name in SCENE_WORDS if SCENES.names.index(name) in changed}
        for caption in (
            relative_caption(reference, target, changed, chance),
            continued_caption(target, changed, chance),
        ):
            assert mentioned(caption) == expected, caption
            if 0 in changed:
                assert look["shape"] in caption.lower(), caption
            if 1 in changed:
                assert re.search(r"\b(one|two|three|four)\b", caption.lower()), caption


def test_counts_are_said_right() -> None:
    """A stated number is the target's, or the difference where it says more, add, remove or fewer."""
    numbers = {word: count for count, word in enumerate(SCENES.values[1], start=1)}
    chance = Chance(5, "test")
    for _ in range(400):
        reference = random_scene(chance)
        target = (reference[0], chance.below(4), *reference[2:])
        if target == reference:
            continue
        caption = relative_caption(reference, target, (1,), chance).lower()
        (number,) = [numbers[word] for word in re.findall(r"one|two|three|four", caption)]
        before, after = reference[1] + 1, target[1] + 1
        if re.search("add|more", caption):
            assert before + number == after, caption
        elif re.search("remove|fewer", caption):
            assert before - number == after, caption
        else:
            assert number == after, caption


def test_full_scene_captions_name_everything() -> None:
    chance = Chance(6, "test")
    for _ in range(300):
        vector = random_scene(chance)
        look = SCENES.described(vector)
        caption = full_scene_caption(vector, chance)
        assert mentioned(caption) == {name: look[name] for name in SCENE_WORDS}, caption
        assert look["shape"] in caption
        assert look["count"] in caption.split()


def test_a_shared_concept_names_what_is_kept_only() -> None:
    vector = (3, 1, 2, 2, 0)
    assert shared_concept(vector, (0, 2)) == "red stars"
    assert shared_concept(vector, (1, 3)) == "two objects on a beach"
    assert shared_concept((3, 0, 2, 2, 0), (0, 1, 4)) == "one small star"

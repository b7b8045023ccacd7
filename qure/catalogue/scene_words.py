"""Captions of scenes: instructions and descriptions in CIRR's manner, CIRCO's relative captions, full descriptions."""

from collections.abc import Sequence

from qure.catalogue.attributes import SCENES, Vector
from qure.catalogue.chance import Chance

_SHAPE, _COUNT, _COLOUR, _BACKGROUND, _SIZE = range(5)

_NUMBERS = SCENES.values[_COUNT]
_SIZES = {"small": ("small", "little"), "large": ("large", "big")}
_PLACES = {
    "meadow": ("on a meadow", "on the grass", "in a grassy field"),
    "night": ("at night", "in the night sky", "under a dark sky"),
    "beach": ("on a beach", "on the sand by the sea", "at the seaside"),
    "wall": ("in front of a brick wall", "on a brick wall", "against bricks"),
    "snow": ("in the snow", "on snowy ground", "in winter with snow"),
}
_SETTINGS = {
    "meadow": ("a meadow", "tall grass", "a grassy field"),
    "night": ("a night sky", "a dark sky", "the night"),
    "beach": ("a beach", "sand and sea", "the seaside"),
    "wall": ("a brick wall", "bricks", "a wall of bricks"),
    "snow": ("snow", "snowy ground", "a winter landscape"),
}


def relative_caption(reference: Vector, target: Vector, changed: Sequence[int], chance: Chance) -> str:
    """An instruction for, or a description of, what changes."""
    if chance.happens(35):
        caption = _noun_phrase(target, changed, chance)
        caption = chance.choice((caption, f"show {caption}"))
    else:
        clauses = [_clause(reference, target, attribute, chance) for attribute in chance.shuffled(changed)]
        caption = chance.choice((" and ", " and ", ", ")).join(clauses)
    if chance.happens(40):
        caption = caption[0].upper() + caption[1:]
    return caption + "." if chance.happens(20) else caption


def continued_caption(target: Vector, changed: Sequence[int], chance: Chance) -> str:
    """CIRCO's manner: continues "a photo of $ that ...", in absolute words."""
    look = SCENES.described(target)
    parts = []
    for attribute in changed:
        if attribute == _BACKGROUND:
            setting = chance.choice(_SETTINGS[look["background"]])
            parts.append(
                chance.choice((f"has {setting} in the background", f"is {chance.choice(_PLACES[look['background']])}"))
            )
        elif attribute == _COUNT:
            parts.append(chance.choice((f"shows {look['count']} of them", f"has {look['count']} of them")))
        elif attribute == _COLOUR:
            parts.append(chance.choice((f"is {look['colour']}", f"is {look['colour']} in color")))
        elif attribute == _SIZE:
            parts.append(f"is {chance.choice(_SIZES[look['size']])}")
        else:
            parts.append(
                chance.choice((f"shows {_plural(look['shape'])} instead", f"has the shape of a {look['shape']}"))
            )
    return " and ".join(parts)


def shared_concept(vector: Vector, kept: Sequence[int]) -> str:
    """What reference and target have in common, as CIRCO's annotators put it."""
    look = SCENES.described(vector)
    words = [look["count"] if _COUNT in kept else "", look["size"] if _SIZE in kept else ""]
    words.append(look["colour"] if _COLOUR in kept else "")
    noun = look["shape"] if _SHAPE in kept else "object"
    words.append(noun if _COUNT in kept and look["count"] == "one" else _plural(noun))
    place = f"{_PLACES[look['background']][0]}" if _BACKGROUND in kept else ""
    return " ".join(word for word in (*words, place) if word)


def full_caption(vector: Vector, chance: Chance) -> str:
    """A description that names every attribute."""
    look = SCENES.described(vector)
    things = " ".join(
        (look["count"], chance.choice(_SIZES[look["size"]]), look["colour"], _numbered(look["shape"], look["count"]))
    )
    place = chance.choice(_PLACES[look["background"]])
    return chance.choice(
        (
            f"{things} {place}",
            f"a picture of {things} {place}",
            f"there {_is_are(vector)} {things} {place}",
            f"{things} with {chance.choice(_SETTINGS[look['background']])} in the background",
            f"{place} there {_is_are(vector)} {things}",
        )
    )


def _noun_phrase(target: Vector, changed: Sequence[int], chance: Chance) -> str:
    """What changes as one phrase, for example "three red hearts on a beach" or "the large ones"."""
    look = SCENES.described(target)
    adjectives = [chance.choice(_SIZES[look["size"]])] if _SIZE in changed else []
    adjectives += [look["colour"]] if _COLOUR in changed else []
    nameless = adjectives and _SHAPE not in changed and chance.happens(40)
    noun = _numbered("one" if nameless else look["shape"], look["count"])
    determiner = look["count"] if _COUNT in changed else "the"
    place = [chance.choice(_PLACES[look["background"]])] if _BACKGROUND in changed else []
    instead = ["instead"] if _SHAPE in changed and not place else []
    return " ".join((determiner, *adjectives, noun, *place, *instead))


def _clause(reference: Vector, target: Vector, attribute: int, chance: Chance) -> str:
    look, before = SCENES.described(target), SCENES.described(reference)
    many = look["count"] != "one"
    them = "them" if many else "it"
    noun = _numbered(before["shape"], look["count"])
    if attribute == _SHAPE:
        old, new = _plural(before["shape"]), _plural(look["shape"])
        return chance.choice(
            (f"replace the {old} with {new}", f"{new} instead of {old}", f"change the shape to a {look['shape']}")
        )
    if attribute == _COLOUR:
        return chance.choice(
            (
                f"make {them} {look['colour']}",
                f"change the color to {look['colour']}",
                f"the {noun} should be {look['colour']}",
            )
        )
    if attribute == _BACKGROUND:
        setting = chance.choice(_SETTINGS[look["background"]])
        return chance.choice(
            (
                f"put {them} {chance.choice(_PLACES[look['background']])}",
                f"change the background to {setting}",
                f"with {setting} behind",
            )
        )
    if attribute == _SIZE:
        bigger = look["size"] == "large"
        return chance.choice(
            (f"make {them} {'bigger' if bigger else 'smaller'}", f"{'larger' if bigger else 'smaller'} {noun}")
        )
    return _count_clause(reference, target, chance)


def _count_clause(reference: Vector, target: Vector, chance: Chance) -> str:
    step = target[_COUNT] - reference[_COUNT]
    look, old = SCENES.described(target), SCENES.described(reference)["shape"]
    absolute = chance.choice((f"show {look['count']} of them", f"there should be {look['count']}"))
    many = _NUMBERS[abs(step) - 1]
    if step > 0:
        relative = chance.choice((f"add {many} more", f"{many} more {_numbered(old, many)}"))
    else:
        relative = chance.choice((f"remove {many} of them", f"{many} fewer {_numbered(old, many)}"))
    return relative if chance.happens(60) else absolute


def _is_are(vector: Vector) -> str:
    return "is" if vector[_COUNT] == 0 else "are"


def _numbered(noun: str, count: str) -> str:
    return noun if count == "one" else _plural(noun)


def _plural(noun: str) -> str:
    return noun + "s"

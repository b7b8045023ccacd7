"""Captions of garments: what changes from one to the other in FashionIQ's manner, and full descriptions."""

from collections.abc import Sequence

from qure.catalogue.attributes import GARMENTS, Vector
from qure.catalogue.canvas import brightness
from qure.catalogue.chance import Chance
from qure.catalogue.garments import PALETTE

#: A predicate: what follows "is", or what follows "has".
Predicate = tuple[str, str]

_NOUNS = {"dress": ("dress", "dress", "gown"), "shirt": ("shirt",), "toptee": ("top", "tee")}
_SPELLINGS = {"grey": ("grey", "gray")}

_PATTERNS: dict[str, tuple[Predicate, ...]] = {
    "solid": (("is", "plain"), ("is", "a solid color"), ("has", "no pattern"), ("has", "no print"), ("is", "solid")),
    "striped": (("is", "striped"), ("has", "stripes"), ("has", "a striped pattern"), ("has", "horizontal stripes")),
    "dotted": (("has", "polka dots"), ("is", "dotted"), ("has", "dots"), ("has", "a polka dot pattern")),
    "checked": (("is", "plaid"), ("is", "checked"), ("has", "a plaid pattern"), ("has", "checks")),
    "graphic": (
        ("has", "a graphic on the front"),
        ("has", "a large print on the chest"),
        ("has", "a logo"),
        ("is", "a graphic design"),
    ),
}
_SLEEVES: dict[str, tuple[Predicate, ...]] = {
    "sleeveless": (("is", "sleeveless"), ("has", "no sleeves"), ("has", "bare arms")),
    "short": (("has", "short sleeves"), ("is", "short sleeved"), ("has", "sleeves that are short")),
    "long": (("has", "long sleeves"), ("is", "long sleeved"), ("has", "full length sleeves")),
}
_NECKLINES: dict[str, tuple[Predicate, ...]] = {
    "round": (("has", "a round neck"), ("has", "a crew neck"), ("has", "a scoop neck"), ("has", "a rounded neckline")),
    "v-neck": (("has", "a v neck"), ("has", "a v neckline"), ("is", "v necked"), ("has", "a deep v")),
    "collared": (("has", "a collar"), ("is", "collared"), ("has", "a collared neck")),
}
_DRESS_LENGTHS: dict[str, tuple[Predicate, ...]] = {
    "short": (("is", "a mini"), ("is", "short"), ("has", "a short skirt"), ("has", "a hem above the knee")),
    "medium": (("is", "knee length"), ("is", "of medium length"), ("has", "a knee length skirt")),
    "long": (("is", "floor length"), ("is", "a maxi"), ("has", "a long skirt"), ("is", "ankle length")),
}
_TOP_LENGTHS: dict[str, tuple[Predicate, ...]] = {
    "short": (("is", "cropped"), ("is", "a crop style"), ("has", "a cropped hem")),
    "medium": (("is", "hip length"), ("is", "of medium length"), ("has", "a hip length hem")),
    "long": (("is", "tunic length"), ("is", "a tunic"), ("has", "a long hem")),
}

#: Comparatives, only where reference and word together leave one value: (attribute, old, new).
_COMPARATIVES: dict[tuple[str, str, str], tuple[Predicate, ...]] = {
    ("sleeve", "short", "long"): (("has", "longer sleeves"),),
    ("sleeve", "long", "short"): (("has", "shorter sleeves"),),
    ("length", "short", "medium"): (("is", "a bit longer"), ("is", "slightly longer")),
    ("length", "medium", "long"): (("is", "longer"), ("is", "longer in length")),
    ("length", "short", "long"): (("is", "much longer"), ("is", "a lot longer")),
    ("length", "long", "medium"): (("is", "a bit shorter"), ("is", "slightly shorter")),
    ("length", "medium", "short"): (("is", "shorter"), ("is", "shorter in length")),
    ("length", "long", "short"): (("is", "much shorter"), ("is", "a lot shorter")),
}


def relative_captions(
    category: str, reference: Vector, target: Vector, changed: Sequence[int], chance: Chance
) -> list[str]:
    """What two annotators say about the way from reference to target: each change is named by at least one."""
    named: tuple[list[int], list[int]] = ([], [])
    for attribute in chance.shuffled(changed):
        first, second = chance.choice(((True, False), (False, True), (True, True)))
        for says, by in ((first, 0), (second, 1)):
            if says:
                named[by].append(attribute)
    for by in (0, 1):
        if not named[by]:
            named[by].append(chance.choice(changed))
    return [_caption(category, reference, target, attributes, chance) for attributes in named]


def full_caption(category: str, vector: Vector, chance: Chance) -> str:
    """A description that names every attribute."""
    look = GARMENTS.described(vector)
    noun = chance.choice(_NOUNS[category])
    colour = chance.choice(_SPELLINGS.get(look["colour"], (look["colour"],)))
    predicates = chance.shuffled(
        [_absolute(name, category, look[name], chance) for name in ("pattern", "sleeve", "length", "neckline")]
    )
    has = [words for verb, words in predicates if verb == "has"]
    described = [words for verb, words in predicates if verb == "is"]
    adjectives = [words for words in described if not words.startswith(("a ", "of "))]
    rest = [words for words in described if words.startswith(("a ", "of "))]
    start = " ".join((*adjectives, colour, noun))
    extra = f" with {_listed(has)}" if has else ""
    after = f" that is {_listed(rest)}" if rest else ""
    return chance.choice(
        (
            f"a {start}{after}{extra}",
            f"{start}{after}{extra}",
            f"this is a {start}{after}{extra}",
            f"a woman wearing a {start}{after}{extra}",
            f"the {noun} is {_listed([colour, *adjectives, *rest])}" + (f" and has {_listed(has)}" if has else ""),
            f"a {noun} in {colour}" + extra + (f", {_listed([*adjectives, *rest])}" if adjectives or rest else ""),
        )
    )


def _caption(category: str, reference: Vector, target: Vector, attributes: Sequence[int], chance: Chance) -> str:
    predicates = [_change(category, reference, target, attribute, chance) for attribute in attributes]
    if chance.happens(18):
        predicates += _impression(reference, target)[:1]
    described = [words for verb, words in predicates if verb == "is"]
    has = [words for verb, words in predicates if verb == "has"]
    return _as_typed(_sentence(chance.choice(_NOUNS[category]), described, has, chance), chance)


def _sentence(noun: str, described: list[str], has: list[str], chance: Chance) -> str:
    looks, parts = " and ".join(described), " and ".join(has)
    if not has:
        return chance.choice((f"is {looks}", f"is {looks}", f"it is {looks}", f"the {noun} is {looks}", looks))
    if not described:
        has_forms = (f"has {parts}", f"has {parts}", f"it has {parts}", f"the {noun} has {parts}", f"with {parts}")
        return chance.choice(has_forms)
    return chance.choice(
        (
            f"is {looks} with {parts}",
            f"is {looks} and has {parts}",
            f"has {parts} and is {looks}",
            f"the {noun} is {looks} with {parts}",
            f"{looks} with {parts}",
        )
    )


def _change(category: str, reference: Vector, target: Vector, attribute: int, chance: Chance) -> Predicate:
    name = GARMENTS.names[attribute]
    old, new = GARMENTS.values[attribute][reference[attribute]], GARMENTS.values[attribute][target[attribute]]
    comparatives = _COMPARATIVES.get((name, old, new), ())
    if comparatives and chance.happens(55):
        return chance.choice(comparatives)
    return _absolute(name, category, new, chance)


def _absolute(name: str, category: str, value: str, chance: Chance) -> Predicate:
    if name == "colour":
        colour = chance.choice(_SPELLINGS.get(value, (value,)))
        plain = ("is", colour)
        return chance.choice(
            (plain, plain, ("is", f"{colour} in color"), ("is", f"{colour} colored"), ("has", f"a {colour} color"))
        )
    lengths = _DRESS_LENGTHS if category == "dress" else _TOP_LENGTHS
    tables = {"pattern": _PATTERNS, "sleeve": _SLEEVES, "length": lengths, "neckline": _NECKLINES}
    return chance.choice(tables[name][value])


def _impression(reference: Vector, target: Vector) -> list[Predicate]:
    """True but vague words, as people add them."""
    colours = GARMENTS.values[0]
    step = brightness(PALETTE[colours[target[0]]]) - brightness(PALETTE[colours[reference[0]]])
    said: list[Predicate] = []
    if abs(step) > 40:
        said.append(("is", "lighter" if step > 0 else "darker"))
    if reference[1] == 0 and target[1] > 0:
        said.append(("is", "less plain"))
    if reference[1] > 0 and target[1] == 0:
        said.append(("is", "more plain"))
    return said


def _as_typed(caption: str, chance: Chance) -> str:
    """Capitals, full stops and stray spaces as people leave them."""
    if chance.happens(15):
        caption = caption[0].upper() + caption[1:]
    if chance.happens(15):
        caption += "."
    return " " + caption if chance.happens(3) else caption


def _listed(words: Sequence[str]) -> str:
    """
    >>> _listed(["a", "b", "c"])
    'a, b and c'
    """
    return " and ".join((", ".join(words[:-1]), words[-1])) if len(words) > 1 else "".join(words)

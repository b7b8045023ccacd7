"""Every attribute can be seen, and nothing else than nuisance differs between two pictures of the same attributes."""

from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from qure.catalogue.attributes import GARMENTS, SCENES, Kind, Vector
from qure.catalogue.chance import Chance
from qure.catalogue.garments import draw_garment
from qure.catalogue.scenes import draw_scene

Draw = Callable[[Vector, Chance], Image.Image]

DRAWERS: dict[str, tuple[Kind, Draw]] = {
    "dress": (GARMENTS, lambda vector, chance: draw_garment("dress", vector, 64, chance)),
    "shirt": (GARMENTS, lambda vector, chance: draw_garment("shirt", vector, 64, chance)),
    "toptee": (GARMENTS, lambda vector, chance: draw_garment("toptee", vector, 64, chance)),
    "scene": (SCENES, lambda vector, chance: draw_scene(vector, 64, chance)),
}


def pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image, dtype=np.int32)


def changed_pixels(one: np.ndarray, other: np.ndarray) -> int:
    """Pixels that differ by more than the strongest grain and JPEG could explain."""
    return int((np.abs(one - other).max(axis=2) > 40).sum())


@pytest.mark.parametrize("name", DRAWERS)
def test_every_value_of_every_attribute_changes_the_picture(name: str) -> None:
    kind, draw = DRAWERS[name]
    chance = Chance(1, name)
    for attribute, values in enumerate(kind.values):
        for value in range(1, len(values)):
            for repeat in range(3):
                vector = [chance.below(len(options)) for options in kind.values]
                pictures = []
                for chosen in (value - 1, value):
                    vector[attribute] = chosen
                    pictures.append(pixels(draw(tuple(vector), Chance(2, name, repeat))))
                assert changed_pixels(*pictures) >= 20, (kind.names[attribute], values[value], vector)


@pytest.mark.parametrize("name", DRAWERS)
def test_pictures_of_the_same_attributes_differ_by_nuisance(name: str) -> None:
    kind, draw = DRAWERS[name]
    vector = (1,) * len(kind.names)
    first, second = (pixels(draw(vector, Chance(seed, name))) for seed in (1, 2))
    assert changed_pixels(first, second) >= 100
    assert (first == pixels(draw(vector, Chance(1, name)))).all()


@pytest.mark.parametrize(("colour", "channel"), [("red", 0), ("green", 1), ("blue", 2)])
def test_colours_are_what_their_names_say(colour: str, channel: int) -> None:
    code = GARMENTS.values[0].index(colour)
    for category in ("dress", "shirt", "toptee"):
        chest = pixels(draw_garment(category, (code, 0, 1, 1, 0), 64, Chance(3, category)))[22:26, 26:30]
        assert chest.mean(axis=(0, 1)).argmax() == channel


def test_longer_garments_cover_more() -> None:
    """Same chance, only the length differs: the red area grows with it."""
    red = GARMENTS.values[0].index("red")
    for category in ("dress", "shirt", "toptee"):
        areas = []
        for length in range(3):
            picture = pixels(draw_garment(category, (red, 0, 0, length, 0), 64, Chance(4, category)))
            areas.append(int(((picture[..., 0] > 130) & (picture[..., 1] < 80) & (picture[..., 2] < 90)).sum()))
        assert areas[0] < areas[1] < areas[2]


def test_counts_are_counted_by_area() -> None:
    """Same chance and size: the area of purple grows with the number of objects."""
    purple = SCENES.values[2].index("purple")
    for seed in range(5):
        areas = []
        for count in range(4):
            picture = pixels(draw_scene((0, count, purple, 0, 0), 64, Chance(seed, "count")))
            above_green = picture - picture[..., 1:2]
            areas.append(int(((above_green[..., 2] > 50) & (above_green[..., 0] > 30)).sum()))
        assert areas == sorted(areas)
        assert areas[3] > 3 * areas[0]

"""Draws a scene of countable objects: shape, count, colour, background and size can be told by eye."""

from collections.abc import Callable

from PIL import Image

from qure.catalogue.attributes import SCENES, Vector
from qure.catalogue.canvas import UNITS, Canvas, Colour, Point, brightness, shaded, varied
from qure.catalogue.chance import Chance

PALETTE: dict[str, Colour] = {
    "black": (26, 26, 30),
    "white": (246, 246, 244),
    "red": (206, 26, 34),
    "orange": (244, 126, 16),
    "yellow": (250, 218, 34),
    "green": (12, 104, 44),
    "blue": (30, 70, 190),
    "purple": (124, 36, 150),
}

#: Radius of an object by size.
_RADII = {"small": 23, "large": 35}

#: Where objects stand, by their number, before each is moved a little.
_PLACES: tuple[tuple[tuple[Point, ...], ...], ...] = (
    (((128, 140),), ((92, 128),), ((168, 150),)),
    (((78, 134), (180, 134)), ((128, 76), (128, 182)), ((80, 84), (178, 178))),
    (((128, 76), (74, 176), (182, 176)), ((50, 132), (128, 132), (206, 132)), ((76, 78), (180, 78), (128, 180))),
    (((74, 76), (182, 76), (74, 182), (182, 182)), ((128, 52), (52, 128), (204, 128), (128, 204))),
)


def draw_scene(vector: Vector, size: int, chance: Chance) -> Image.Image:
    """A picture of `size` pixels a side; everything but the attributes is drawn from `chance`."""
    look = SCENES.described(vector)
    canvas = Canvas(size, (0, 0, 0))
    _BACKGROUNDS[look["background"]](canvas, chance)
    canvas.place((chance.between(-10, 10), chance.between(-8, 8)), chance.between(88, 102))
    colour = varied(PALETTE[look["colour"]], chance, 10)
    edge = shaded(colour, 50) if brightness(colour) > 70 else (210, 210, 214)
    radius = _RADII[look["size"]] * chance.between(94, 106) // 100
    for x, y in chance.choice(_PLACES[vector[1]]):
        centre = (x + chance.between(-7, 7), y + chance.between(-7, 7))
        _SHAPES[look["shape"]](canvas, centre, radius + 4, edge)
        _SHAPES[look["shape"]](canvas, centre, radius, colour)
    return canvas.finished(chance, light=chance.between(93, 107), grain=chance.between(3, 8))


def _meadow(canvas: Canvas, chance: Chance) -> None:
    _ground(canvas, varied((168, 208, 236), chance, 10), varied((118, 186, 84), chance, 12), chance.between(80, 120))
    for _ in range(12):
        x, y = chance.below(UNITS), chance.between(130, 250)
        canvas.line([(x, y), (x + chance.between(-5, 5), y - 14)], (84, 150, 62), 4)


def _night(canvas: Canvas, chance: Chance) -> None:
    canvas.rectangle((0, 0), (UNITS, UNITS), varied((44, 48, 92), chance, 10))
    for _ in range(26):
        canvas.ellipse((chance.below(UNITS), chance.below(UNITS)), (3, 3), (206, 206, 170))


def _beach(canvas: Canvas, chance: Chance) -> None:
    sea = chance.between(60, 100)
    _ground(canvas, varied((186, 224, 240), chance, 8), varied((234, 208, 156), chance, 10), sea)
    canvas.rectangle((0, sea - 26), (UNITS, sea), varied((70, 160, 190), chance, 10))


def _wall(canvas: Canvas, chance: Chance) -> None:
    brick = varied((178, 108, 86), chance, 12)
    canvas.rectangle((0, 0), (UNITS, UNITS), brick)
    joint = shaded(brick, 72)
    for row, y in enumerate(range(chance.below(30), UNITS, 30)):
        canvas.rectangle((0, y), (UNITS, y + 4), joint)
        for x in range(26 * (row % 2), UNITS, 52):
            canvas.rectangle((x, y), (x + 4, y + 30), joint)


def _snow(canvas: Canvas, chance: Chance) -> None:
    _ground(canvas, varied((176, 186, 200), chance, 8), varied((226, 230, 236), chance, 6), chance.between(90, 130))
    for _ in range(24):
        canvas.ellipse((chance.below(UNITS), chance.below(UNITS)), (4, 4), (252, 252, 255))


def _ground(canvas: Canvas, sky: Colour, ground: Colour, horizon: int) -> None:
    canvas.rectangle((0, 0), (UNITS, horizon), sky)
    canvas.rectangle((0, horizon), (UNITS, UNITS), ground)


def _circle(canvas: Canvas, centre: Point, radius: int, colour: Colour) -> None:
    canvas.ellipse(centre, (radius, radius), colour)


def _square(canvas: Canvas, centre: Point, radius: int, colour: Colour) -> None:
    x, y = centre
    half = radius * 88 // 100
    canvas.rectangle((x - half, y - half), (x + half, y + half), colour)


#: Outlines in hundredths of the radius.
_TRIANGLE = ((0, -104), (100, 80), (-100, 80))
_STAR = (
    (0, -112), (28, -36), (106, -34), (44, 14), (66, 90), (0, 44), (-66, 90), (-44, 14), (-106, -34), (-28, -36),
)  # fmt: skip
_HEART = ((-96, -6), (96, -6), (0, 106))


def _outlined(points: tuple[Point, ...]) -> "Callable[[Canvas, Point, int, Colour], None]":
    def draw(canvas: Canvas, centre: Point, radius: int, colour: Colour) -> None:
        canvas.polygon([(centre[0] + x * radius // 100, centre[1] + y * radius // 100) for x, y in points], colour)

    return draw


def _heart(canvas: Canvas, centre: Point, radius: int, colour: Colour) -> None:
    x, y = centre
    lobe = radius * 54 // 100
    for side in (-1, 1):
        canvas.ellipse((x + side * radius * 48 // 100, y - radius * 36 // 100), (lobe, lobe), colour)
    _outlined(_HEART)(canvas, centre, radius, colour)


def _moon(canvas: Canvas, centre: Point, radius: int, colour: Colour) -> None:
    """A crescent: a disc without a second disc moved to the right."""
    x, y = centre
    moon = canvas.layer(0)
    moon.ellipse(centre, (radius, radius), 255)
    shadow = canvas.layer(0)
    shadow.ellipse((x + radius * 55 // 100, y - radius * 10 // 100), (radius * 82 // 100, radius * 82 // 100), 255)
    moon.without(shadow)
    canvas.paste(colour, moon)


_BACKGROUNDS: dict[str, Callable[[Canvas, Chance], None]] = {
    "meadow": _meadow,
    "night": _night,
    "beach": _beach,
    "wall": _wall,
    "snow": _snow,
}
_SHAPES: dict[str, Callable[[Canvas, Point, int, Colour], None]] = {
    "circle": _circle,
    "square": _square,
    "triangle": _outlined(_TRIANGLE),
    "star": _outlined(_STAR),
    "heart": _heart,
    "moon": _moon,
}

"""Draws a garment on a mannequin: category, colour, pattern, sleeve, length and neckline can be told by eye."""

from PIL import Image

from qure.catalogue.attributes import GARMENTS, Vector
from qure.catalogue.canvas import Canvas, Colour, Point, brightness, clipped, shaded, varied
from qure.catalogue.chance import Chance

PALETTE: dict[str, Colour] = {
    "black": (34, 34, 38),
    "white": (244, 244, 242),
    "grey": (134, 136, 140),
    "red": (200, 30, 36),
    "orange": (240, 126, 22),
    "yellow": (246, 214, 40),
    "green": (38, 140, 62),
    "blue": (36, 84, 190),
    "purple": (118, 46, 146),
    "pink": (246, 146, 186),
}

_SKIN: tuple[Colour, ...] = ((240, 208, 180), (224, 180, 146), (190, 138, 100), (138, 92, 64), (96, 64, 46))
_BACKDROPS: tuple[Colour, ...] = (
    (226, 222, 212),
    (208, 216, 222),
    (214, 208, 220),
    (200, 212, 200),
    (180, 186, 194),
    (222, 206, 196),
    (168, 160, 150),
)
_TROUSERS: tuple[Colour, ...] = ((58, 62, 84), (96, 92, 88), (150, 134, 108), (70, 84, 112), (52, 50, 52))

#: What a mask is drawn with.
_WHITE = 255
_MIDDLE = 128

#: Cloth below this brightness has lines and collars lighter than itself.
_DARK = 90

#: Where the hem is, by category and length.
_HEMS = {"dress": (158, 198, 240), "shirt": (124, 160, 198), "toptee": (122, 156, 194)}

#: Half the body's width at heights: shoulder, chest, waist, hip.
_BODY = ((46, 40), (78, 36), (118, 30), (156, 40))


def draw_garment(category: str, vector: Vector, size: int, chance: Chance) -> Image.Image:
    """A picture of `size` pixels a side; everything but the attributes is drawn from `chance`."""
    look = GARMENTS.described(vector)
    canvas = _backdrop(size, chance)
    canvas.place((chance.between(-14, 14), chance.between(-8, 8)), chance.between(88, 104))
    skin = varied(chance.choice(_SKIN), chance, 8)
    colour = _dyed(look["colour"], chance)
    _mannequin(canvas, skin)
    if category != "dress":
        _trousers(canvas, varied(chance.choice(_TROUSERS), chance, 10))
    where = canvas.layer(0)
    _silhouette(where, category, vector[3], look["sleeve"])
    opening = _opening(canvas, category, look["neckline"])
    where.without(opening)
    _outline(canvas, where, colour)
    canvas.paste(_cloth(canvas, colour, look["pattern"], chance), where)
    _details(canvas, category, vector[3], look, colour)
    return canvas.finished(chance, light=chance.between(92, 108), grain=chance.between(3, 9))


def _backdrop(size: int, chance: Chance) -> Canvas:
    """A plain wall, or a wall and a floor."""
    colour = varied(chance.choice(_BACKDROPS), chance, 12)
    canvas = Canvas(size, colour)
    if chance.happens(45):
        canvas.rectangle((0, chance.between(196, 236)), (256, 256), shaded(colour, chance.between(78, 92)))
    if chance.happens(20):
        left = chance.between(0, 190)
        canvas.rectangle((left, 0), (left + chance.between(20, 60), 256), shaded(colour, chance.between(92, 106)))
    return canvas


def _dyed(name: str, chance: Chance) -> Colour:
    """A named colour a little off in hue, the colourless ones only in brightness."""
    if name in ("black", "white", "grey"):
        return varied(shaded(PALETTE[name], chance.between(92, 106)), chance, 3)
    return varied(PALETTE[name], chance, 11)


def _mannequin(canvas: Canvas, skin: Colour) -> None:
    shade = shaded(skin, 88)
    canvas.rectangle((_MIDDLE - 13, -40), (_MIDDLE + 13, 52), shade)
    canvas.ellipse((_MIDDLE, -2), (24, 30), skin)
    for side in (-1, 1):
        canvas.polygon(_mirrored(side, [(30, 44), (46, 48), (82, 164), (68, 170), (34, 84)]), skin)
        canvas.ellipse((_MIDDLE + side * 75, 172), (9, 12), skin)
        canvas.polygon(_mirrored(side, [(3, 150), (38, 150), (31, 300), (7, 300)]), shade)
    left = [(_MIDDLE - width, height) for height, width in _BODY]
    right = [(_MIDDLE + width, height) for height, width in reversed(_BODY)]
    canvas.polygon(left + right, skin)


def _trousers(canvas: Canvas, colour: Colour) -> None:
    for side in (-1, 1):
        canvas.polygon(_mirrored(side, [(-3, 142), (39, 142), (41, 158), (36, 300), (5, 300), (-3, 176)]), colour)


def _silhouette(where: Canvas, category: str, length: int, sleeve: str) -> None:
    hem = _HEMS[category][length]
    half = {"dress": _dress, "shirt": _shirt, "toptee": _toptee}[category](hem, sleeve == "sleeveless")
    where.polygon(half + [(2 * _MIDDLE - x, y) for x, y in reversed(half)], _WHITE)
    if category == "toptee":
        where.ellipse((_MIDDLE, hem - 2), (half[-1][0] - _MIDDLE, 10), _WHITE)
    if sleeve != "sleeveless":
        for side in (-1, 1):
            where.polygon(_mirrored(side, _sleeve(category, sleeve == "long")), _WHITE)


def _dress(hem: int, sleeveless: bool) -> list[Point]:
    """Right half from neck to hem: fitted bodice, flared skirt that widens with its length."""
    shoulder = 34 if sleeveless else 46
    flare = 52 + (hem - 158) * 24 // 82
    return _right([(14, 42), (shoulder, 46), (40, 78), (33, 112), (flare, hem)])


def _shirt(hem: int, sleeveless: bool) -> list[Point]:
    """Straight and wide."""
    shoulder = 42 if sleeveless else 52
    return _right([(14, 40), (shoulder, 46), (50, 80), (50, hem)])


def _toptee(hem: int, sleeveless: bool) -> list[Point]:
    """Narrow straps or shoulders, close at the chest, swinging out to a curved hem."""
    shoulder = 30 if sleeveless else 44
    return _right([(16, 42), (shoulder, 45), (37, 80), (36, 100), (46 + (hem - 122) // 6, hem)])


def _sleeve(category: str, long: bool) -> list[Point]:
    """Right sleeve along the arm; a shirt's is wider."""
    ease = 6 if category == "shirt" else 2
    if long:
        return [(32, 42), (50, 46), (84 + ease, 158), (66 - ease, 166), (34, 90)]
    return [(32, 42), (50, 46), (66 + ease, 92), (46 - ease, 102), (34, 86)]


def _opening(canvas: Canvas, category: str, neckline: str) -> Canvas:
    """What the neckline leaves free."""
    opening = canvas.layer(0)
    if neckline == "round":
        opening.ellipse((_MIDDLE, 40), (24, 20), _WHITE)
    elif neckline == "v-neck":
        opening.polygon([(_MIDDLE - 25, 30), (_MIDDLE + 25, 30), (_MIDDLE, 98)], _WHITE)
    else:
        opening.polygon([(_MIDDLE - 12, 30), (_MIDDLE + 12, 30), (_MIDDLE, 56)], _WHITE)
    return opening


def _outline(canvas: Canvas, where: Canvas, colour: Colour) -> None:
    """A thin edge, dark on light cloth and light on dark cloth, so that no garment melts into its backdrop."""
    edge = shaded(colour, 55) if brightness(colour) > _DARK else (92, 92, 98)
    canvas.paste(edge, where.spread(3))


def _cloth(canvas: Canvas, colour: Colour, pattern: str, chance: Chance) -> Canvas:
    """The whole canvas in the garment's colour and pattern."""
    cloth = canvas.layer(colour)
    mark = _mark(colour)
    start = chance.below(16)
    if pattern == "striped":
        for top in range(start, 256, 22):
            cloth.rectangle((0, top), (256, top + 8), mark)
    elif pattern == "checked":
        for offset in range(start, 256, 28):
            cloth.rectangle((offset, 0), (offset + 5, 256), mark)
            cloth.rectangle((0, offset), (256, offset + 5), mark)
    elif pattern == "dotted":
        for row, y in enumerate(range(start, 256, 20)):
            for x in range(start + 12 * (row % 2), 256, 24):
                cloth.ellipse((x, y), (6, 6), mark)
    elif pattern == "graphic":
        _print(cloth, mark, colour, chance.below(3))
    return cloth


def _print(cloth: Canvas, mark: Colour, colour: Colour, motif: int) -> None:
    """One big print on the chest: a disc, a diamond or a block."""
    centre = (_MIDDLE, 94)
    if motif == 0:
        cloth.ellipse(centre, (25, 25), mark)
        cloth.ellipse(centre, (12, 12), colour)
    elif motif == 1:
        cloth.polygon([(_MIDDLE, 66), (_MIDDLE + 27, 94), (_MIDDLE, 122), (_MIDDLE - 27, 94)], mark)
    else:
        cloth.rectangle((_MIDDLE - 25, 74), (_MIDDLE + 25, 116), mark)
        cloth.rectangle((_MIDDLE - 17, 90), (_MIDDLE + 17, 99), colour)


def _details(canvas: Canvas, category: str, length: int, look: dict[str, str], colour: Colour) -> None:
    """Collar flaps; a shirt's button placket; a dress's waist."""
    seam = shaded(colour, 62) if brightness(colour) > _DARK else _lighter(colour, 70)
    if category == "shirt":
        top = 98 if look["neckline"] == "v-neck" else 60
        bottom = _HEMS[category][length] - 2
        canvas.line([(_MIDDLE, top), (_MIDDLE, bottom)], seam, 4)
        for button in range(top + 6, bottom, 18):
            canvas.ellipse((_MIDDLE + 7, button), (3, 3), seam)
    if category == "dress":
        canvas.line([(_MIDDLE - 33, 112), (_MIDDLE + 33, 112)], seam, 5)
    if look["neckline"] == "collared":
        flap = shaded(colour, 80) if brightness(colour) > _DARK else _lighter(colour, 45)
        for side in (-1, 1):
            canvas.polygon(_mirrored(side, [(10, 28), (22, 34), (32, 62), (12, 70), (0, 54)]), flap)
            canvas.line(_mirrored(side, [(22, 34), (32, 62), (12, 70), (0, 54)]), seam, 3)


def _lighter(colour: Colour, levels: int) -> Colour:
    return clipped(*(channel + levels for channel in colour))


def _mark(colour: Colour) -> Colour:
    """The pattern's colour: light on dark and strong colours, dark on light ones."""
    return (250, 248, 240) if brightness(colour) < 165 else (62, 62, 74)


def _right(half: list[Point]) -> list[Point]:
    return [(_MIDDLE + x, y) for x, y in half]


def _mirrored(side: int, points: list[Point]) -> list[Point]:
    """Points given by their distance from the middle, on the left (-1) or right (1) side."""
    return [(_MIDDLE + side * x, y) for x, y in points]

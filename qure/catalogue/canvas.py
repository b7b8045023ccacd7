"""A drawing surface in units of 1/256 of the picture, drawn four times too large and averaged down.

Everything after the drawing is whole-number arithmetic, so that a picture has the same bytes everywhere.
"""

import io
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageChops, ImageDraw

from qure.catalogue.chance import Chance

#: Height and width of every picture in drawing units.
UNITS = 256

_OVERSAMPLING = 4

Colour = tuple[int, int, int]
Point = tuple[int, int]


class Canvas:
    """A picture under construction, with a nuisance placement: everything drawn is moved and scaled by it."""

    def __init__(self, size: int, background: Colour | int) -> None:
        self.size = size
        self.pixels = size * _OVERSAMPLING
        self.image = Image.new("L" if isinstance(background, int) else "RGB", (self.pixels, self.pixels), background)
        self._draw = ImageDraw.Draw(self.image)
        self._shift: Point = (0, 0)
        self._scale = 100

    def place(self, shift: Point, scale: int) -> None:
        """Moves what is drawn from now on by `shift` units and scales it by `scale` percent about the centre."""
        self._shift, self._scale = shift, scale

    def polygon(self, points: Sequence[Point], colour: Colour | int) -> None:
        """A filled polygon."""
        self._draw.polygon([self._at(point) for point in points], fill=colour)

    def line(self, points: Sequence[Point], colour: Colour | int, width: int) -> None:
        """A line of `width` units through the points."""
        self._draw.line([self._at(point) for point in points], fill=colour, width=self._length(width), joint="curve")

    def ellipse(self, centre: Point, radii: Point, colour: Colour | int) -> None:
        """A filled ellipse."""
        (x, y), (across, down) = centre, radii
        self._draw.ellipse([self._at((x - across, y - down)), self._at((x + across, y + down))], fill=colour)

    def rectangle(self, corner: Point, opposite: Point, colour: Colour | int) -> None:
        """A filled rectangle."""
        self._draw.rectangle([self._at(corner), self._at(opposite)], fill=colour)

    def layer(self, background: Colour | int) -> "Canvas":
        """Another canvas with the same placement: a colour for cloth, 0 for a mask to draw on with 255."""
        other = Canvas(self.size, background)
        other.place(self._shift, self._scale)
        return other

    def paste(self, other: "Canvas | Colour", where: "Canvas") -> None:
        """Takes over another canvas or a colour where the mask `where` is white."""
        box = where.image.getbbox()
        if box:
            source = other.image.crop(box) if isinstance(other, Canvas) else other
            self.image.paste(source, box, where.image.crop(box))

    def spread(self, distance: int) -> "Canvas":
        """A mask grown by `distance` units to all four sides."""
        grown = Canvas(self.size, 0)
        step = max(1, distance * self.pixels // UNITS)
        for move in ((-step, 0), (step, 0), (0, -step), (0, step)):
            moved = Canvas(self.size, 0)
            moved.image.paste(self.image, move)
            grown.image = ImageChops.lighter(grown.image, moved.image)
        return grown

    def without(self, other: "Canvas") -> None:
        """Blackens a mask wherever another mask is white."""
        self.image.paste(0, mask=other.image)

    def finished(self, chance: Chance, *, light: int, grain: int) -> Image.Image:
        """The picture at its final size.

        Args:
            chance: where the grain comes from.
            light: brightness in percent, at most 128 (the arithmetic has 16 bits).
            grain: half-width of the uniform noise, in grey levels, at most 63.
        """
        small = np.asarray(self.image.reduce(_OVERSAMPLING), dtype=np.int16)
        noise = np.frombuffer(chance.noise(small.size), dtype=np.uint8).reshape(small.shape).astype(np.int16)
        lit = small * light // 100 + (noise * (2 * grain + 1) >> 8) - grain
        return Image.fromarray(np.clip(lit, 0, 255).astype(np.uint8))

    def _at(self, point: Point) -> Point:
        half = UNITS // 2
        x, y = (
            half + (value - half) * self._scale // 100 + shift for value, shift in zip(point, self._shift, strict=True)
        )
        return x * self.pixels // UNITS, y * self.pixels // UNITS

    def _length(self, length: int) -> int:
        return max(1, length * self._scale * self.pixels // (100 * UNITS))


def varied(colour: Colour, chance: Chance, spread: int) -> Colour:
    """A colour with each channel moved by up to `spread` levels."""
    return clipped(*(channel + chance.between(-spread, spread) for channel in colour))


def shaded(colour: Colour, percent: int) -> Colour:
    """A colour made darker (below 100) or lighter (above 100)."""
    return clipped(*(channel * percent // 100 for channel in colour))


def brightness(colour: Colour) -> int:
    """Perceived brightness, 0 to 255."""
    red, green, blue = colour
    return (299 * red + 587 * green + 114 * blue) // 1000


def clipped(red: int, green: int, blue: int) -> Colour:
    """Channels limited to 0..255."""
    return min(255, max(0, red)), min(255, max(0, green)), min(255, max(0, blue))


def jpeg(image: Image.Image) -> bytes:
    """JPEG with full colour resolution, so that thin patterns survive 64 pixels."""
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=92, subsampling=0)
    return stream.getvalue()


def png(image: Image.Image) -> bytes:
    """PNG coded by Huffman only: match searching differs between zlib builds and processors, this does not."""
    stream = io.BytesIO()
    image.save(stream, "PNG", compress_type=2)
    return stream.getvalue()

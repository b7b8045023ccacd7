"""What garments and scenes can look like, and how often: skewed, so that different images share all attributes."""

from dataclasses import dataclass

from qure.catalogue.chance import Chance

#: An image's attributes: one value number per attribute of its kind.
Vector = tuple[int, ...]


@dataclass(frozen=True)
class Kind:
    """A kind of picture.

    Attributes:
        names: attributes in the order of a vector.
        values: per attribute its values.
        weights: per attribute how often each value is drawn, before a group's own taste.
    """

    names: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]
    weights: tuple[tuple[int, ...], ...]

    def draw(self, chance: Chance, taste: "tuple[tuple[int, ...], ...]") -> Vector:
        """A vector; `taste` holds a group's weights, see `taste_of`."""
        return tuple(chance.weighted(weights) for weights in taste)

    def taste_of(self, chance: Chance) -> "tuple[tuple[int, ...], ...]":
        """A group's own popularity of values: the weights, dealt to the values in random order."""
        return tuple(tuple(chance.shuffled(weights)) for weights in self.weights)

    def described(self, vector: Vector) -> dict[str, str]:
        """A vector in words."""
        return {name: values[value] for name, values, value in zip(self.names, self.values, vector, strict=True)}


COLOURS = ("black", "white", "grey", "red", "orange", "yellow", "green", "blue", "purple", "pink")

GARMENTS = Kind(
    names=("colour", "pattern", "sleeve", "length", "neckline"),
    values=(
        COLOURS,
        ("solid", "striped", "dotted", "checked", "graphic"),
        ("sleeveless", "short", "long"),
        ("short", "medium", "long"),
        ("round", "v-neck", "collared"),
    ),
    weights=(
        (26, 19, 14, 11, 8, 7, 5, 4, 3, 3),
        (48, 21, 14, 10, 7),
        (52, 30, 18),
        (52, 30, 18),
        (52, 30, 18),
    ),
)

SCENES = Kind(
    names=("shape", "count", "colour", "background", "size"),
    values=(
        ("circle", "square", "triangle", "star", "heart", "moon"),
        ("one", "two", "three", "four"),
        ("black", "white", "red", "orange", "yellow", "green", "blue", "purple"),
        ("meadow", "night", "beach", "wall", "snow"),
        ("small", "large"),
    ),
    weights=(
        (36, 24, 15, 11, 8, 6),
        (40, 28, 20, 12),
        (34, 22, 14, 10, 7, 5, 4, 4),
        (40, 25, 16, 11, 8),
        (64, 36),
    ),
)


def differing(first: Vector, second: Vector) -> tuple[int, ...]:
    """The attributes in which two vectors differ.

    >>> differing((1, 2, 3), (1, 0, 4))
    (1, 2)
    """
    return tuple(index for index, (one, other) in enumerate(zip(first, second, strict=True)) if one != other)

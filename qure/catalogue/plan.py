"""What a benchmark's plan holds before anything is drawn or written: files as text and pictures by their attributes."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from qure.catalogue.attributes import Vector
from qure.catalogue.chance import Chance

_ASIN = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"


@dataclass(frozen=True, slots=True)
class PlannedPicture:
    """One image to draw.

    Attributes:
        path: where it goes, relative to the data root; its suffix tells the format.
        category: a garment's category, "" for a scene.
        vector: its attributes.
    """

    path: str
    category: str
    vector: Vector


@dataclass(slots=True)
class Plan:
    """One benchmark: pictures and files, both relative to the data root."""

    pictures: list[PlannedPicture] = field(default_factory=list)
    files: dict[str, str] = field(default_factory=dict)

    def add_json(self, path: str, value: Any, indent: int | None = None) -> None:
        """Adds a JSON file; without `indent` compact."""
        separators = (",", ":") if indent is None else None
        self.files[path] = json.dumps(value, indent=indent, separators=separators) + "\n"


def scaled(count: int, scale: float, least: int) -> int:
    """A default count at a scale, never below what the benchmark needs to make sense.

    >>> scaled(600, 0.1, 12), scaled(600, 0.001, 12)
    (60, 12)
    """
    return max(least, round(count * scale))


def asins(chance: Chance, count: int) -> list[str]:
    """Different ids in the manner of the shop that FashionIQ's images come from."""
    found: dict[str, None] = {}
    while len(found) < count:
        found["B00" + "".join(chance.choice(_ASIN) for _ in range(7))] = None
    return list(found)


def truth_document(
    names: Sequence[str],
    values: Sequence[Sequence[str]],
    must: Sequence[str],
    images: dict[str, dict[str, list[int]]],
    queries: dict[str, dict[str, list[int]]],
) -> dict[str, Any]:
    """The content of truth.json, as `qure.datasets.truth` reads it.

    Args:
        names, values: attributes and their values, in the order of the code lists.
        must: attributes without which an image has no relevance at all.
        images: group (split, or "all") -> image id -> value numbers.
        queries: split -> query id -> wanted value numbers, -1 where any will do.
    """
    return {
        "format": "qure-truth",
        "version": 1,
        "attributes": {name: list(options) for name, options in zip(names, values, strict=True)},
        "must": list(must),
        "images": images,
        "queries": queries,
    }

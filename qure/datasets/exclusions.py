"""Rows and images that validation found broken and the user tolerates: every later stage leaves them out alike."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from qure.datasets.types import Gallery, PreferencePair, Triplet
from qure.errors import BadInput


@dataclass(frozen=True, slots=True)
class Exclusions:
    """What to leave out of one benchmark.

    Attributes:
        images: image ids; a triplet or preference pair that names one goes as well.
        queries: `query_key` of a triplet ("train/dress/17"), or a bare query id, which then means every split.
    """

    images: frozenset[str] = frozenset()
    queries: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.images or self.queries)

    def keep(self, triplets: Iterable[Triplet]) -> list[Triplet]:
        """The triplets that stay; an excluded image also leaves a query's answers and image set."""
        return [self._without_images(triplet) for triplet in triplets if not self._drops(triplet)]

    def keep_gallery(self, gallery: Gallery) -> Gallery:
        """The gallery without excluded images."""
        return replace(gallery, ids=tuple(self.keep_ids(gallery.ids)))

    def keep_pairs(self, pairs: Iterable[PreferencePair]) -> list[PreferencePair]:
        """The preference pairs that stay: a set of five with a hole in it cannot be compared."""
        return [
            pair
            for pair in pairs
            if pair.query_id not in self.queries
            and self.images.isdisjoint((pair.reference, pair.target, *pair.set_1, *pair.set_2))
        ]

    def keep_ids(self, ids: Iterable[str]) -> list[str]:
        """The image ids that stay, in order."""
        return [image_id for image_id in ids if image_id not in self.images]

    def _drops(self, triplet: Triplet) -> bool:
        return (
            triplet.query_id in self.queries
            or query_key(triplet) in self.queries
            or triplet.reference in self.images
            or triplet.target in self.images
        )

    def _without_images(self, triplet: Triplet) -> Triplet:
        if self.images.isdisjoint(triplet.members) and self.images.isdisjoint(triplet.answers):
            return triplet
        return replace(
            triplet, members=tuple(self.keep_ids(triplet.members)), answers=tuple(self.keep_ids(triplet.answers))
        )


def query_key(triplet: Triplet) -> str:
    """A triplet's name across splits: FashionIQ numbers the queries of every split from 0.

    >>> query_key(Triplet("dress/0", "a", "is red", split="val"))
    'val/dress/0'
    """
    return f"{triplet.split}/{triplet.query_id}"


def exclusions_in(result: Any, benchmark: str, file: Path) -> Exclusions:
    """What a validation result says to leave out of a benchmark itself.

    Args:
        result: content of a validation folder's result.json; its key "excluded" is read:
            {benchmark: {"images": [...], "queries": [...]}}.
        benchmark: its name.
        file: what messages call the result.

    Raises:
        BadInput: the result has another shape.
    """
    excluded = result.get("excluded", {}) if isinstance(result, dict) else None
    chosen = excluded.get(benchmark, {}) if isinstance(excluded, dict) else None
    if not isinstance(chosen, dict):
        raise BadInput("must map benchmarks to their excluded images and queries", file=file, field="excluded")
    return Exclusions(_names(chosen, "images", file, benchmark), _names(chosen, "queries", file, benchmark))


def _names(chosen: dict[str, Any], key: str, path: Path, benchmark: str) -> frozenset[str]:
    values = chosen.get(key, [])
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise BadInput("must be a list of strings", file=path, field=f"excluded.{benchmark}.{key}")
    return frozenset(values)

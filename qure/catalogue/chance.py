"""Randomness that is the same on every machine: SHA-seeded integer draws, no floating point, no hash seed."""

import hashlib
import random
from collections.abc import Sequence
from itertools import accumulate
from typing import TypeVar

import numpy as np

Item = TypeVar("Item")


class Chance:
    """A stream of draws that depends only on its name, so images can be drawn in any order or process.

    >>> Chance(7, "image", "B001").below(1000) == Chance(7, "image", "B001").below(1000)
    True
    """

    def __init__(self, seed: int, *name: object) -> None:
        self._name = "/".join(map(str, (seed, *name)))
        self._random = random.Random(hashlib.sha256(self._name.encode()).digest())

    def below(self, limit: int) -> int:
        """A whole number in [0, limit), each as likely to within one part in four thousand million."""
        return self._random.getrandbits(32) * limit >> 32

    def between(self, lowest: int, highest: int) -> int:
        """A whole number in [lowest, highest], each as likely."""
        return lowest + self.below(highest - lowest + 1)

    def happens(self, percent: int) -> bool:
        """True with that probability."""
        return self.below(100) < percent

    def choice(self, items: Sequence[Item]) -> Item:
        """One item, each as likely."""
        return items[self.below(len(items))]

    def weighted(self, weights: Sequence[int]) -> int:
        """An index, as likely as its whole-number weight."""
        point = self.below(sum(weights))
        return next(index for index, end in enumerate(accumulate(weights)) if point < end)

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in random order (Fisher-Yates)."""
        result = list(items)
        for last in range(len(result) - 1, 0, -1):
            other = self.below(last + 1)
            result[last], result[other] = result[other], result[last]
        return result

    def some(self, items: Sequence[Item], count: int) -> list[Item]:
        """That many different items, or all when there are fewer."""
        return self.shuffled(items)[:count]

    def bell(self, spread: int) -> int:
        """A bell-shaped whole number around 0 with standard deviation `spread`."""
        return int(self.bells(1, spread)[0])

    def bells(self, count: int, spread: int) -> np.ndarray:
        """That many bell-shaped whole numbers (int64): sums of twelve uniform bytes, whose deviation is 256."""
        draws = np.frombuffer(self._random.randbytes(12 * count), dtype=np.uint8).reshape(count, 12)
        centred: np.ndarray = draws.sum(axis=1, dtype=np.int64) - 12 * 255 // 2
        return centred * spread >> 8

    def noise(self, size: int) -> bytes:
        """That many uniform bytes."""
        return hashlib.shake_128(self._name.encode()).digest(size)

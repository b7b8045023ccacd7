"""Draws by weight."""

from collections import Counter

import pytest

from qure.catalogue.chance import Chance


def test_an_index_is_as_likely_as_its_weight_and_never_drawn_without_one() -> None:
    chance = Chance(0, "weights")
    drawn = Counter(chance.weighted([0, 3, 0, 1, 4, 0]) for _ in range(8000))
    assert drawn.keys() == {1, 3, 4}
    for index, share in ((1, 3 / 8), (3, 1 / 8), (4, 4 / 8)):
        assert drawn[index] / 8000 == pytest.approx(share, abs=0.02)

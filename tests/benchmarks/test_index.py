"""The index benchmark in small: what it compares is compared with exact search, whatever it says of the time."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from benchmarks.index import Clustered


def test_a_synthetic_gallery_is_the_same_in_whatever_parts() -> None:
    gallery = Clustered(9000, 3, 8)
    whole = gallery.read(0, 9000)
    assert whole.shape == (9000, 3, 8)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=2), 1, atol=1e-5)
    assert np.array_equal(
        np.concatenate([gallery.read(0, 4000), gallery.read(4000, 8200), gallery.read(8200, 9000)]), whole
    )


def test_both_sides_are_measured_at_every_size(bench: Callable[..., dict[str, Any]]) -> None:
    pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'qure[index]'")
    found = bench("index", "--sizes", "3000x4x16", "--queries", 5, "--bytes", 8)
    found = bench("index", "--sizes", "2600x4x16", "--queries", 5, "--bytes", 8, "--hold", 0, "--add")
    assert list(found["sizes"]) == ["2600x4x16", "3000x4x16"]
    assert [one["exact"]["held"] for one in found["sizes"].values()] == [False, True]
    for one in found["sizes"].values():
        near, far = one["search"]["default"], one["search"]["four_times_as_far"]
        assert 0.5 < near["recall_at_10"] <= far["recall_at_10"] <= 1
        assert one["build"]["bytes_an_image"] >= 4 * (8 + 8)

"""The benchmark of collapsed models: embeddings are damaged as it says."""

import numpy as np

from benchmarks.collapse import _damaged


def test_damage_is_what_its_name_says() -> None:
    draw = np.random.default_rng(0)
    queries, candidates = (
        (vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)).astype(np.float32)
        for vectors in (draw.standard_normal((20, 8)), draw.standard_normal((30, 3, 8)))
    )
    found = {name: (asked, given) for name, asked, given in _damaged(queries, candidates)}
    assert found["as trained"] == (queries, candidates)
    for asked, given in found.values():
        np.testing.assert_allclose(np.linalg.norm(asked, axis=-1), 1, rtol=1e-5)
        np.testing.assert_allclose(np.linalg.norm(given, axis=-1), 1, rtol=1e-5)
    same = found["one vector for all candidates, noise of 0%"][1]
    np.testing.assert_array_equal(same, np.broadcast_to(same[0, 0], same.shape))
    spreads = [
        np.var(found[f"candidates moved together, {share} of their differences left"][1], axis=0).sum()
        for share in ("30%", "10%", "3%", "1%")
    ]
    assert spreads == sorted(spreads, reverse=True)

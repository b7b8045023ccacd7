"""Ranking against plain sorting, with ties, in blocks."""

from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qure.errors import BadInput
from qure.evaluation.ranking import scores as module
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.scores import Needed, query_vectors, ranks, score_pairs, score_rows, top, without


def sorted_columns(line: np.ndarray) -> list[int]:
    """Best first; equal scores in gallery order."""
    return sorted(range(len(line)), key=lambda column: (-float(line[column]), column))


def some(count: int, tokens: int, dimension: int = 8, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, tokens, dimension)).astype(np.float32)


scores = st.integers(1, 12).flatmap(
    lambda width: st.lists(
        st.lists(st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.25, 0.5]), min_size=width, max_size=width),
        min_size=1,
        max_size=70,
    )
)


@given(scores, st.integers(1, 15))
def test_top_and_ranks_are_plain_sorting(lines: list[list[float]], count: int) -> None:
    values = np.array(lines, dtype=np.float32)
    best = top(values, count)
    everything = np.tile(np.arange(values.shape[1]), (len(values), 1))
    found = ranks(values, everything)
    for line, columns, places in zip(values, best, found, strict=True):
        expected = sorted_columns(line)
        assert columns.tolist() == expected[:count]
        assert [expected.index(column) + 1 for column in range(len(line))] == places.tolist()


def test_what_is_left_out_ranks_last() -> None:
    values = np.array([[0.3, 0.9, 0.5], [0.3, 0.9, 0.5]], dtype=np.float32)
    left = without(values, np.array([1, -1]))
    assert top(left, 2).tolist() == [[2, 0], [1, 2]]
    assert values[0, 1] == np.float32(0.9), "the caller's scores stay as they are"


@pytest.mark.parametrize("tokens", [1, 5])
@pytest.mark.parametrize(("block_bytes", "rows_bytes"), [(1, 1), (3000, 300), (1 << 20, 1 << 20)])
def test_scores_are_the_largest_product_in_any_blocks(tokens: int, block_bytes: int, rows_bytes: int) -> None:
    queries, candidates = some(7, 1)[:, 0], some(30, tokens, seed=1)
    ids = [f"i{number}" for number in range(30)]
    asked = ids[::-1][:20]
    gallery = Embeddings(ids, candidates)
    found = np.full((7, 20), np.nan, dtype=np.float32)
    for chosen, rows in score_rows(queries, gallery, asked, block_bytes=block_bytes, rows_bytes=rows_bytes):
        found[chosen] = rows
    for query in range(7):
        for column, identifier in enumerate(asked):
            own = candidates[ids.index(identifier)]
            expected = max(float(np.dot(token.astype(float), queries[query].astype(float))) for token in own)
            assert found[query, column] == np.float32(expected)


def test_equal_candidates_have_equal_scores_wherever_they_stand() -> None:
    """Float32 products of equal rows differ in their last bits by place and block size; these must not."""
    generator = np.random.default_rng(3)
    queries = generator.standard_normal((40, 256)).astype(np.float32)
    distinct = generator.standard_normal((5, 3, 256)).astype(np.float32)
    copies = generator.integers(0, 5, size=101)
    gallery = Embeddings([str(number) for number in range(101)], distinct[copies])
    for size in (1 << 14, 1 << 18, 1 << 24):
        ((_, rows),) = score_rows(queries, gallery, gallery.ids, block_bytes=size)
        for number in range(5):
            own = rows[:, copies == number]
            assert (own == own[:, :1]).all()


def galleries(kind: str) -> np.ndarray:
    """(300, 3, 256) candidates whose float32 sums are easily told apart, or not."""
    generator = np.random.default_rng(5)
    free = generator.standard_normal((300, 3, 256)).astype(np.float32)
    one = free[:1]
    return {
        "apart": free,
        "copies": free[generator.integers(0, 40, size=300)],
        "close": (one + 1e-6 * free).astype(np.float32),
        "of any length": (free * 10.0 ** generator.uniform(-6, 6, size=(300, 1, 1))).astype(np.float32),
        "half precision": free.astype(np.float16).astype(np.float32),
        "zero": free * (np.arange(300) % 3 == 0)[:, None, None],
    }[kind]


@pytest.mark.parametrize("kind", ["apart", "copies", "close", "of any length", "half precision", "zero"])
@pytest.mark.parametrize("block_bytes", [1 << 18, 1 << 27])
def test_what_is_needed_is_exact_and_other_scores_are_near(
    kind: str, block_bytes: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_MOSTLY", 1.0)
    lengths = 10.0 ** np.random.default_rng(7).uniform(-3, 3, size=(150, 1))
    queries, candidates = (some(150, 1, 256, seed=6)[:, 0] * lengths).astype(np.float32), galleries(kind)
    gallery = Embeddings([str(number) for number in range(300)], candidates)
    columns = [np.random.default_rng(row).integers(0, 300, size=1 + row % 4) for row in range(150)]
    ((_, exact),) = score_rows(queries, gallery, gallery.ids)
    passes = score_rows(
        queries, gallery, gallery.ids, needed=Needed(7, columns), block_bytes=block_bytes, rows_bytes=4 * 300 * 64
    )
    for chosen, found in passes:
        best = top(exact[chosen], 7)
        assert np.array_equal(top(found, 7), best)
        assert np.array_equal(np.take_along_axis(found, best, 1), np.take_along_axis(exact[chosen], best, 1))
        for own, line, right in zip(columns[chosen], found, exact[chosen], strict=True):
            assert np.array_equal(line[own], right[own])
            assert np.array_equal(ranks(line[None], own[None]), ranks(right[None], own[None]))
        largest = np.linalg.norm(queries[chosen], axis=1) * np.linalg.norm(candidates, axis=2).max()
        assert (np.abs(found - exact[chosen]) <= 1e-4 * largest[:, None]).all()


def test_close_candidates_are_in_another_order_in_single_precision() -> None:
    """What the test above would not notice were float32 as good."""
    queries, candidates = some(150, 1, 256, seed=6)[:, 0], galleries("close")
    gallery = Embeddings([str(number) for number in range(300)], candidates)
    ((_, exact),) = score_rows(queries, gallery, gallery.ids)
    single = np.einsum("qd,ntd->qnt", queries, candidates).max(axis=2)
    assert (top(single, 7) != top(exact, 7)).any()


@pytest.mark.parametrize(("kind", "share"), [("apart", 0.06), ("close", 1.0)])
def test_little_is_scored_exactly_unless_everything_is_close(
    kind: str, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs, of_pairs = list[int](), module._pair_scores
    monkeypatch.setattr(module, "_pair_scores", lambda *these: (pairs.append(len(these[1])), of_pairs(*these))[1])
    queries, gallery = some(150, 1, 256, seed=6)[:, 0], Embeddings([str(n) for n in range(300)], galleries(kind))
    needed = Needed(7, np.arange(150)[:, None])
    ((_, found),) = score_rows(queries, gallery, gallery.ids, needed=needed)
    if share == 1.0:
        ((_, exact),) = score_rows(queries, gallery, gallery.ids)
        assert not pairs
        assert np.array_equal(found, exact)
    else:
        assert sum(pairs) < share * found.size


def test_pairs_have_the_same_scores_as_rows() -> None:
    queries, candidates = some(9, 1)[:, 0], some(25, 4, seed=1)
    gallery = Embeddings([str(number) for number in range(25)], candidates)
    ((_, rows),) = score_rows(queries, gallery, gallery.ids)
    generator = np.random.default_rng(2)
    asked, columns = generator.integers(0, 9, size=60), generator.integers(0, 25, size=60)
    found = score_pairs(queries, asked, gallery, [str(column) for column in columns])
    assert np.array_equal(found, rows[asked, columns])


def test_another_dimension_is_named() -> None:
    gallery = Embeddings(["a", "b"], some(2, 1, dimension=6), name="gallery.safetensors")
    with pytest.raises(BadInput, match=r"gallery.safetensors.* dimension 6, but the queries' have dimension 8"):
        list(score_rows(some(3, 1)[:, 0], gallery, ["a"]))


def test_a_query_has_one_vector() -> None:
    queries = Embeddings(["a", "b"], some(2, 3), name="queries.safetensors")
    with pytest.raises(BadInput, match=r"queries.safetensors.*3 vectors per query"):
        query_vectors(queries, ["a"])


class Recorded:
    """Rows in memory that remember how many of them are asked for at once."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows, self.shape, self.asked = rows, rows.shape, list[int]()

    def read(self, start: int, stop: int) -> np.ndarray:
        self.asked.append(stop - start)
        return self.rows[start:stop]


@pytest.mark.parametrize("tokens", [1, 6])
@pytest.mark.parametrize("queries", [3, 40])
def test_memory_stays_within_its_bounds(tokens: int, queries: int) -> None:
    """Blocks take what is allowed, and not much less: a needlessly small block costs time."""
    stored = Recorded(some(2000, tokens))
    gallery = Embeddings([str(number) for number in range(2000)], stored)
    block_bytes, rows_bytes = 60_000, 90_000
    passes = list(
        score_rows(some(queries, 1)[:, 0], gallery, gallery.ids, block_bytes=block_bytes, rows_bytes=rows_bytes)
    )
    held = [rows.nbytes for _, rows in passes]
    assert max(held) <= rows_bytes
    assert len(held) == -(-queries // (rows_bytes // (4 * 2000))), "no more passes over the gallery than needed"
    at_once = len(passes[0][1])
    products = [8 * tokens * at_once * count for count in stored.asked]
    candidates = [8 * tokens * 8 * count for count in stored.asked]
    taken = [sum(both) for both in zip(products, candidates, strict=True)]
    assert block_bytes / 3 < max(taken) <= block_bytes


@pytest.mark.parametrize("needed", [None, Needed(3)])
def test_progress_is_told_block_by_block(needed: Needed | None, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[tuple[str, int, int]] = []

    def track(blocks: Iterator[object], title: str, total: int) -> Iterator[object]:
        every = list(blocks)
        told.append((title, len(every), total))
        return iter(every)

    monkeypatch.setattr(module, "track", track)
    gallery = Embeddings([str(number) for number in range(100)], some(100, 2))
    list(score_rows(some(4, 1)[:, 0], gallery, gallery.ids, needed=needed, block_bytes=5000, title="dresses"))
    assert told
    assert all(title == "dresses" and blocks == total > 1 for title, blocks, total in told)


def test_memory_of_pairs_stays_within_its_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qure.evaluation.ranking.scores.BLOCK_BYTES", 20_000)
    stored = Recorded(some(2000, 4))
    gallery = Embeddings([str(number) for number in range(2000)], stored)
    score_pairs(some(5, 1)[:, 0], np.zeros(2000, dtype=np.int64), gallery, gallery.ids)
    as_float64 = 8 * 4 * 8 * max(stored.asked)
    assert 20_000 / 3 < as_float64 <= 20_000


def test_a_bound_smaller_than_one_row_still_ranks() -> None:
    stored = Recorded(some(5, 2))
    gallery = Embeddings([str(number) for number in range(5)], stored)
    passes = list(score_rows(some(3, 1)[:, 0], gallery, gallery.ids, block_bytes=1, rows_bytes=1))
    assert [chosen for chosen, _ in passes] == [slice(0, 1), slice(1, 2), slice(2, 3)]
    assert set(stored.asked) == {1}

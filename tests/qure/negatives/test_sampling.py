import subprocess
import sys
from collections import Counter
from itertools import permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from qure.errors import BadInput
from qure.negatives.sampling import draw, permuted, shared_mask
from qure.negatives.sets import HardNegatives, offsets_of, whole_corpus


def sets_of_sizes(sizes: list[int]) -> HardNegatives:
    """Row r holds 1000 r, 1000 r + 2, 1000 r + 4, ..."""
    columns = [1000 * row + 2 * place for row, size in enumerate(sizes) for place in range(size)]
    return HardNegatives(offsets_of(sizes), columns)


@given(size=st.integers(1, 400), key=st.integers(0, 2**64 - 1))
@settings(max_examples=60, deadline=None)
def test_permuted_is_a_permutation_for_any_size(size: int, key: int) -> None:
    image = permuted(np.arange(size), np.array([size]), np.array([key], dtype=np.uint64))
    assert sorted(image.tolist()) == list(range(size))


@given(
    sizes=st.lists(st.integers(1, 30), min_size=1, max_size=8),
    seed=st.integers(-5, 2**70),
    mining=st.integers(0, 9),
    per_query=st.integers(1, 7),
)
@settings(max_examples=25, deadline=None)
def test_no_negative_repeats_until_all_are_used(sizes: list[int], seed: int, mining: int, per_query: int) -> None:
    """Also when a set is used up in the middle of an epoch's draws."""
    hard = sets_of_sizes(sizes)
    epochs = 2 * max(sizes)
    drawn = np.concatenate(
        [draw(hard, seed=seed, mining=mining, epoch=epoch, per_query=per_query) for epoch in range(epochs)], axis=1
    )
    for row, size in enumerate(sizes):
        members = hard.of(row).tolist()
        for first in range(0, drawn.shape[1] - size + 1, size):
            assert sorted(drawn[row, first : first + size].tolist()) == members


def test_a_cycle_has_its_own_order() -> None:
    hard = sets_of_sizes([40])
    first, second = (draw(hard, seed=3, mining=1, epoch=cycle, per_query=40)[0].tolist() for cycle in (0, 1))
    assert sorted(first) == sorted(second)
    assert first != second


def test_a_draw_depends_on_its_query_and_on_no_other() -> None:
    """Subsets, order of the batch and the other queries' sets change nothing."""
    hard = sets_of_sizes([30, 7, 90, 1, 12])
    whole = draw(hard, seed=5, mining=2, epoch=3, per_query=2)
    rows = [4, 0, 2, 0]
    np.testing.assert_array_equal(draw(hard, seed=5, mining=2, epoch=3, per_query=2, rows=rows), whole[rows])
    other = sets_of_sizes([3, 8, 90, 2, 60])
    assert draw(other, seed=5, mining=2, epoch=3, per_query=2)[2].tolist() == whole[2].tolist()


def test_every_part_of_the_key_matters() -> None:
    hard = sets_of_sizes([5000] * 3)
    base = {"seed": 1, "mining": 1, "epoch": 1}
    draws = {tuple(draw(hard, **{**base, name: 2})[:, 0] % 1000) for name in base} | {
        tuple(draw(hard, **base)[:, 0] % 1000)
    }
    assert len(draws) == 4
    assert all(len(set(row)) == 3 for row in draws)


@pytest.mark.parametrize("seed", [3 + 2**64, 3 + 5 * 2**65, 3 - 2**64])
def test_of_a_seed_the_last_64_bits_count(seed: int) -> None:
    hard = sets_of_sizes([50, 60])
    wanted = draw(hard, seed=3, mining=1, epoch=0, per_query=5)
    assert draw(hard, seed=seed, mining=1, epoch=0, per_query=5).tolist() == wanted.tolist()


def test_stored_draws_stay_as_they_are() -> None:
    """A changed draw would make a resumed run another run than the one that was stopped."""
    drawn = draw(sets_of_sizes([10, 100, 450, 3]), seed=7, mining=2, epoch=1, per_query=3)
    assert drawn.tolist() == STORED
    warm_up = draw(whole_corpus([0, 5, 11], 12), seed=7, mining=0, epoch=4)
    assert warm_up.tolist() == STORED_WARM_UP


def test_another_process_draws_the_same() -> None:
    code = (
        "from qure.negatives.sampling import draw\n"
        "from qure.negatives.sets import whole_corpus\n"
        "print(draw(whole_corpus([3, 4], 1000), seed=9, mining=1, epoch=2, per_query=3).tolist())"
    )
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert printed.strip() == str(draw(whole_corpus([3, 4], 1000), seed=9, mining=1, epoch=2, per_query=3).tolist())


@pytest.mark.parametrize("size", [2, 3, 7, 64, 100])
@pytest.mark.parametrize("epoch", [0, 1])
def test_draws_are_uniform_over_the_set(size: int, epoch: int) -> None:
    queries = 20_000
    drawn = draw(whole_corpus(np.zeros(queries), size + 1), seed=11, mining=1, epoch=epoch)[:, 0]
    assert stats.chisquare(np.bincount(drawn - 1, minlength=size)).pvalue > 1e-4


@pytest.mark.parametrize("size", [3, 4])
def test_every_order_is_equally_likely(size: int) -> None:
    queries = 12_000
    drawn = draw(whole_corpus(np.zeros(queries), size + 1), seed=2, mining=3, epoch=0, per_query=size)
    counts = Counter(tuple(row) for row in drawn.tolist())
    orders = list(permutations(range(1, size + 1)))
    assert set(counts) == set(orders)
    assert stats.chisquare([counts[order] for order in orders]).pvalue > 1e-4


def test_seeds_and_minings_are_independent() -> None:
    """Joint draws of neighbouring seeds and minings fill a table evenly."""
    corpus = whole_corpus(np.zeros(20_000), 9)
    base = draw(corpus, seed=4, mining=1, epoch=0)[:, 0]
    for other in (draw(corpus, seed=5, mining=1, epoch=0), draw(corpus, seed=4, mining=2, epoch=0)):
        table = np.histogram2d(base, other[:, 0], bins=8)[0]
        assert stats.chisquare(table.ravel()).pvalue > 1e-4


def test_an_empty_set_is_an_error_that_names_the_query() -> None:
    with pytest.raises(BadInput, match="row 1: the query has no negative"):
        draw(sets_of_sizes([3, 0, 2]), seed=0, mining=1, epoch=0)
    with pytest.raises(BadInput, match="row 4: the query has no negative"):
        draw(sets_of_sizes([3, 1, 2, 1, 0]), seed=0, mining=1, epoch=0, rows=[2, 4])


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_shared_negatives_are_members_and_never_the_target(data: st.DataObject) -> None:
    targets = data.draw(st.lists(st.integers(0, 14), min_size=2, max_size=6))
    rows = [data.draw(st.sets(st.integers(0, 14))) - {target} for target in targets]
    hard = HardNegatives(offsets_of([len(row) for row in rows]), [column for row in rows for column in sorted(row)])
    batch = data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, max_size=5))
    columns = [targets[row] for row in batch] + data.draw(st.lists(st.integers(0, 14), max_size=6))
    mask = shared_mask(hard, batch, columns)
    assert mask.tolist() == [[column in rows[row] for column in columns] for row in batch]
    assert not any(mask[place, place] for place in range(len(batch)))


STORED = [[10, 0, 16], [1036, 1028, 1014], [2300, 2298, 2832], [3002, 3004, 3000]]
STORED_WARM_UP = [[5], [6], [0]]

"""The data order: complete, shuffled, and a function of seed and epoch alone."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qure.training.order import epoch_batches, held_out, micro_batches, part_of, permutation


def test_is_the_recorded_order() -> None:
    # Constants: a change of this order would change every resumed and every compared run.
    assert permutation(8, 1, 0, 0).tolist() == [2, 0, 1, 4, 5, 6, 7, 3]
    assert permutation(8, 1, 0, 1).tolist() == [3, 6, 5, 7, 4, 1, 2, 0]
    categories = np.array([0, 0, 0, 0, 1, 1, 1, 1, 2, 2])

    def batches(size: int, one_category: bool) -> list[list[int]]:
        cut = epoch_batches(categories, batch_size=size, seed=7, epoch=2, one_category=one_category)
        return [batch.tolist() for batch in cut]

    assert batches(4, False) == [[8, 0, 4, 6], [2, 3, 1, 9], [7, 5]]
    assert batches(3, True) == [[8, 9], [0, 2, 3], [4, 6, 7], [1], [5]]
    assert np.flatnonzero(held_out(categories, share=0.5, seed=7)).tolist() == [0, 3, 4, 5, 9]


@given(
    st.lists(st.integers(0, 3), min_size=1, max_size=60),
    st.integers(1, 9),
    st.integers(0, 2**31),
    st.integers(0, 99),
    st.booleans(),
)
def test_every_triplet_once_an_epoch(
    categories: list[int], batch_size: int, seed: int, epoch: int, one_category: bool
) -> None:
    numbers = np.array(categories)
    batches = epoch_batches(numbers, batch_size=batch_size, seed=seed, epoch=epoch, one_category=one_category)
    assert sorted(np.concatenate(batches).tolist()) == list(range(len(categories)))
    assert max(map(len, batches)) <= batch_size
    if one_category:
        assert all(len(np.unique(numbers[batch])) == 1 for batch in batches)
    else:
        assert [len(batch) for batch in batches[:-1]] == [batch_size] * (len(batches) - 1)


def test_epochs_and_seeds_differ() -> None:
    categories = np.zeros(100, dtype=int)
    orders = {
        tuple(np.concatenate(epoch_batches(categories, batch_size=10, seed=seed, epoch=epoch, one_category=False)))
        for seed in range(3)
        for epoch in range(3)
    }
    assert len(orders) == 9


def test_one_category_batches_alternate() -> None:
    categories = np.repeat([0, 1, 2], 100)
    batches = epoch_batches(categories, batch_size=10, seed=0, epoch=0, one_category=True)
    sequence = [int(categories[batch[0]]) for batch in batches]
    assert sequence != sorted(sequence)


@given(st.integers(1, 40), st.integers(1, 5))
def test_processes_share_a_batch_evenly_and_wholly(count: int, world: int) -> None:
    rows = np.arange(count) + 100
    parts = [part_of(rows, rank=rank, world=world) for rank in range(world)]
    assert len({len(part) for part, _ in parts}) == 1
    kept = np.concatenate([part[weight > 0] for part, weight in parts])
    assert kept.tolist() == rows.tolist()


@given(st.integers(1, 40), st.integers(1, 8))
def test_micro_batches_lose_nothing(count: int, steps: int) -> None:
    parts = micro_batches(np.arange(count), steps)
    assert np.concatenate(parts).tolist() == list(range(count))
    assert len(parts) == min(count, steps)


@pytest.mark.parametrize("share", [0.01, 0.2])
def test_held_out_queries_come_from_every_category(share: float) -> None:
    categories = np.repeat([0, 1, 2], [50, 30, 5])
    chosen = held_out(categories, share=share, seed=1)
    assert [int(chosen[categories == category].sum()) for category in range(3)] == [
        max(1, int(share * count)) for count in (50, 30, 5)
    ]
    assert (chosen == held_out(categories, share=share, seed=1)).all()
    assert (held_out(categories, share=0.2, seed=1) != held_out(categories, share=0.2, seed=2)).any()

"""Draws from the sets of negatives: without repetition until a set is used up, as a function of numbers alone.

The published code keeps what was drawn in the data loader's workers and loses it each epoch. Here the k-th draw of
a query since the last mining is entry k of a permutation of its set, and the permutation is computed, not stored:
nothing but (seed, mining, query, k) decides it, so neither workers, order, resumption nor library versions can
change it.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from qure.errors import BadInput
from qure.negatives.sets import Integers, Mask, NegativeSets

Words = NDArray[np.uint64]

#: After this many rounds one entry is within 2^-64 of uniform: a round leaves it with probability one half exactly
#: uniform, whatever it was before. Groups of entries mix at a similar pace.
ROUNDS = 64

#: 2^64 over the golden ratio: multiples of it differ in about half of their bits.
_STEP = 0x9E3779B97F4A7C15


def draw(
    negatives: NegativeSets,
    *,
    seed: int,
    mining: int,
    epoch: int,
    per_query: int = 1,
    rows: ArrayLike | None = None,
) -> Integers:
    """Draws negatives uniformly, per query without repetition until its set is used up, then in a new order.

    Args:
        seed: the run's seed.
        mining: how many minings lie before; 0 = warm-up. A new mining starts new draws.
        epoch: epochs since that mining (0-based).
        per_query: draws per query and epoch.
        rows: only these queries, as (R,) row numbers; the result is that part of the whole draw. Default: all.

    Returns:
        (R, per_query) int64 corpus columns.

    Raises:
        BadInput: a query without any negative; names its row.

    >>> from qure.negatives.sets import HardNegatives
    >>> hard = HardNegatives([0, 3], [4, 5, 6])
    >>> sorted(int(draw(hard, seed=1, mining=0, epoch=epoch)[0, 0]) for epoch in range(3))
    [4, 5, 6]
    """
    chosen = np.arange(len(negatives), dtype=np.int64) if rows is None else np.asarray(rows, dtype=np.int64)
    sizes = negatives.sizes[chosen][:, None]
    if not sizes.all():
        row = int(chosen[sizes.argmin()])
        raise BadInput("the query has no negative to draw: its corpus is the target alone", row=row)
    steps = epoch * per_query + np.arange(per_query, dtype=np.int64)[None, :]
    cycles, positions = np.divmod(steps, sizes)
    keys = _keys(seed, mining, chosen[:, None], cycles)
    return negatives.at(chosen, permuted(positions, sizes, keys))


def shared_mask(negatives: NegativeSets, query_rows: ArrayLike, candidate_columns: ArrayLike) -> Mask:
    """Which candidates that a batch has encoded anyway are negatives of which of its queries.

    Args:
        query_rows: (B,) rows of the batch's queries.
        candidate_columns: (C,) corpus columns of the batch's candidates.

    Returns:
        (B, C) bool. A query's target is never marked: no set contains it. A column that occurs twice is marked twice.

    >>> from qure.negatives.sets import HardNegatives
    >>> hard = HardNegatives([0, 2, 3], [1, 2, 0])
    >>> shared_mask(hard, [0, 1], [0, 2]).tolist()
    [[False, True], [True, False]]
    """
    return negatives.contains(query_rows, candidate_columns)


def permuted(positions: Integers, sizes: Integers, keys: Words) -> Integers:
    """Where keyed permutations of range(size) send `positions`; all arguments broadcast together.

    Swap-or-not (Hoang, Morris and Rogaway, 2012): a round pairs x with (pivot - x) mod size, the pivot and one
    coin per pair come from the key, and heads swaps the pair. Each round is its own inverse, so the whole is a
    permutation for any size, without tables and without walking back into range.

    >>> key = np.array([7], dtype=np.uint64)
    >>> sorted(permuted(np.arange(5), np.array([5]), key).tolist())
    [0, 1, 2, 3, 4]
    """
    size = np.asarray(sizes).astype(np.uint64)
    value, size, key = np.broadcast_arrays(np.asarray(positions).astype(np.uint64), size, keys)
    for round_number in range(ROUNDS):
        round_key = _mixed(key + np.uint64((round_number + 1) * _STEP % 2**64))
        partner = (round_key % size + size - value) % size
        heads = _mixed(round_key ^ np.maximum(value, partner)) >> np.uint64(63)
        value = np.where(heads == 1, partner, value)
    return value.astype(np.int64)


def _keys(seed: int, mining: int, rows: Integers, cycles: Integers) -> Words:
    """One 64-bit key per (seed, mining, query, cycle)."""
    key = np.zeros((1, 1), dtype=np.uint64)
    for word in (np.uint64(seed % 2**64), np.uint64(mining), rows.astype(np.uint64), cycles.astype(np.uint64)):
        key = _mixed((key ^ word) + np.uint64(_STEP))
    return key


def _mixed(words: Words) -> Words:
    """SplitMix64's finaliser: every input bit moves about half of the output bits."""
    words = (words ^ (words >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    words = (words ^ (words >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return words ^ (words >> np.uint64(31))

"""The order of the training data: pure functions of the seed and the epoch, the same on every machine.

Orders come from sorting the raw output of a counter-based generator (Philox), whose stream numpy guarantees, so
neither the numpy version nor the number of processes nor a resumption changes them.
"""

from collections.abc import Sequence

import numpy as np

#: Separates the streams drawn from one seed.
_ORDER, _BATCHES, _HELD_OUT = 1, 2, 3


def permutation(count: int, *stream: int) -> np.ndarray:
    """A permutation of `range(count)`, int64, that depends on `stream` (numbers >= 0) alone.

    >>> permutation(5, 0, 1).tolist() == permutation(5, 0, 1).tolist()
    True
    >>> sorted(permutation(5, 0, 2).tolist())
    [0, 1, 2, 3, 4]
    """
    key = np.random.SeedSequence(stream).generate_state(2, np.uint64)
    return np.argsort(np.random.Philox(key=key).random_raw(count), kind="stable")


def epoch_batches(
    categories: np.ndarray, *, batch_size: int, seed: int, epoch: int, one_category: bool
) -> list[np.ndarray]:
    """The batches of one epoch: every triplet exactly once, in a new order each epoch.

    No triplet is left out: the last batch (with `one_category` the last one of each category) is smaller
    when the numbers do not divide. Its loss is the mean over its own rows, as for every other batch.

    Args:
        categories: (N,) category number of each triplet.
        batch_size: triplets a batch.
        seed: the run's seed.
        epoch: 0-based.
        one_category: every batch holds triplets of one category only, so that candidates can be shared between
            its queries; the order of the batches is shuffled, so categories alternate.

    Returns:
        int64 arrays of triplet numbers.

    >>> categories = np.array([0, 0, 0, 1, 1])
    >>> batches = epoch_batches(categories, batch_size=2, seed=0, epoch=0, one_category=True)
    >>> sorted(len(batch) for batch in batches), {len(set(categories[batch])) for batch in batches}
    ([1, 2, 2], {1})
    """
    order = permutation(len(categories), _ORDER, seed, epoch)
    if not one_category:
        return _cut(order, batch_size)
    batches = [
        batch for category in np.unique(categories) for batch in _cut(order[categories[order] == category], batch_size)
    ]
    return [batches[place] for place in permutation(len(batches), _BATCHES, seed, epoch)]


def held_out(categories: np.ndarray, *, share: float, seed: int) -> np.ndarray:
    """Which triplets are kept out of training to judge its epochs: (N,) bool, `share` of each category, at least
    one triplet of each when share > 0.

    >>> held_out(np.array([0, 0, 0, 0, 1, 1]), share=0.25, seed=0).sum()
    np.int64(2)
    >>> held_out(np.array([0, 1]), share=0.0, seed=0).any()
    np.False_
    """
    chosen = np.zeros(len(categories), dtype=bool)
    if share > 0:
        order = permutation(len(categories), _HELD_OUT, seed)
        for category in np.unique(categories):
            members = order[categories[order] == category]
            chosen[members[: max(1, int(share * len(members)))]] = True
    return chosen


def part_of(rows: np.ndarray, *, rank: int, world: int, length: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """One process's equal share of a batch, and the weight of each of its rows.

    Every process gets the same number of rows, so that gathered tensors have one shape; where the batch does not
    divide, or has fewer rows than `length` a process, the last row is repeated with weight 0.

    >>> [[part.tolist() for part in part_of(np.array([7, 8, 9]), rank=rank, world=2)] for rank in (0, 1)]
    [[[7, 8], [1.0, 1.0]], [[9, 9], [1.0, 0.0]]]
    >>> [part.tolist() for part in part_of(np.array([7]), rank=1, world=2)]
    [[7], [0.0]]
    >>> [part.tolist() for part in part_of(np.array([7]), rank=0, world=1, length=3)]
    [[7, 7, 7], [1.0, 0.0, 0.0]]
    """
    each = max(-(-len(rows) // world), length or 0)
    places = np.arange(rank * each, (rank + 1) * each)
    return rows[np.minimum(places, len(rows) - 1)], (places < len(rows)).astype(np.float32)


def micro_batches(rows: np.ndarray, steps: int) -> Sequence[np.ndarray]:
    """A batch cut into at most `steps` parts of nearly equal size, none empty, for gradient accumulation.

    >>> [part.tolist() for part in micro_batches(np.arange(5), 2)]
    [[0, 1, 2], [3, 4]]
    >>> [part.tolist() for part in micro_batches(np.arange(1), 2)]
    [[0]]
    """
    return [part for part in np.array_split(rows, steps) if len(part)]


def _cut(rows: np.ndarray, size: int) -> list[np.ndarray]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]

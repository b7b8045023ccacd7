"""Where a ranking falls off: the two steep drops after the target, by the released and by the paper's rule.

A drop is the difference between the scores at two neighbouring ranks; drop j lies between ranks j and j + 1
(0-based). Only drops between two images that both rank after the target count, so the drop from the target to
its successor is not a candidate.
"""

from typing import Literal

import torch
from torch import Tensor

Rule = Literal["reference", "paper"]

#: Rows that have not found their pair after this many steps (smooth, nearly monotone drops) are sorted whole.
QUICK_STEPS = 8


def steep_drops(
    scores: Tensor,
    target_ranks: Tensor,
    *,
    rule: Rule = "reference",
    consecutive_threshold: int = 1,
    search_window: int | None = None,
) -> tuple[Tensor, Tensor]:
    """The two drops that bound the hard negatives of each query.

    `paper` (eq. 5-7): the two largest drops. `reference` (released code): the drops from the largest down are
    looked at in adjacent pairs (1st and 2nd, 2nd and 3rd, ...); the first pair whose ranks are more than
    `consecutive_threshold` apart. Equal drops are taken in the order of their ranks. Drops that only grow or only
    shrink down the list, and fewer than four images after the target, have no such pair.

    Args:
        scores: (q, N) descending along each row.
        target_ranks: (q,) int64, the 0-based rank of each query's target.
        search_window: only drops inside the first so many ranks after the target count; None = all of them.

    Returns:
        start, end: (q,) int64. The hard negatives are the images at ranks start + 1 .. end; -1 and -1 where the
        rule defines no range.

    >>> scores = torch.tensor([[1.0, 0.9, 0.85, 0.5, 0.48, 0.47, 0.1, 0.09]])
    >>> [rank.item() for rank in steep_drops(scores, torch.tensor([0]))]
    [2, 5]
    """
    drops = drops_after_target(scores, target_ranks, search_window)
    if drops.shape[1] < 2:
        none = torch.full_like(target_ranks, -1)
        return none, none.clone()
    if rule == "paper":
        return _first_pair_apart(drops, threshold=0, steps=1)
    if rule == "reference":
        return _first_pair_apart(drops, threshold=consecutive_threshold, steps=drops.shape[1])
    raise ValueError(f"rule must be 'reference' or 'paper', not {rule!r}")


def drops_after_target(scores: Tensor, target_ranks: Tensor, search_window: int | None = None) -> Tensor:
    """Score differences between neighbouring ranks after the target; -inf where no drop may be taken.

    >>> drops_after_target(torch.tensor([[1.0, 0.75, 0.5, 0.0]]), torch.tensor([0])).tolist()
    [[-inf, 0.25, 0.5]]
    """
    drops = scores[:, :-1] - scores[:, 1:]
    upper = torch.arange(drops.shape[1], device=scores.device)
    target = target_ranks[:, None]
    counts = upper > target
    if search_window is not None:
        counts &= upper < target + search_window
    return drops.masked_fill_(~counts, float("-inf"))


def _first_pair_apart(
    drops: Tensor, threshold: int, steps: int, *, asking: bool | None = None
) -> tuple[Tensor, Tensor]:
    """Walks the drops from the largest down; consumes `drops`.

    Args:
        asking: after each step whether every row has its pair; default: on a CPU, where the answer is there at once.
    """
    asking = drops.device.type == "cpu" if asking is None else asking
    start = torch.full((len(drops),), -1, dtype=torch.int64, device=drops.device)  # (q,)
    end = start.clone()
    rows = torch.arange(len(drops), device=drops.device)  # (p,): the rows that have not found their pair, at first all
    previous = _take_largest(drops)[0]  # (p,), as are following, exists, found, pending; drops is (p, N - 1)
    quick = min(steps, QUICK_STEPS)
    if not asking and quick > 1:
        start, end, pending, previous = _quick_steps(drops, previous, threshold, quick)
        if steps <= QUICK_STEPS or not bool(pending.any()):
            return start, end
        drops, rows, previous, quick = drops[pending], rows[pending], previous[pending], 0
    for _ in range(quick):
        following, exists = _take_largest(drops)
        found = exists & ((following - previous).abs() > threshold)
        start[rows[found]] = torch.minimum(previous, following)[found]
        end[rows[found]] = torch.maximum(previous, following)[found]
        pending = exists & ~found
        if not bool(pending.any()):
            return start, end
        drops, rows, previous = drops[pending], rows[pending], following[pending]
    if steps > QUICK_STEPS:
        first, second, found = _sorted_pairs(drops, previous, threshold)
        start[rows[found]] = torch.minimum(first, second)[found]
        end[rows[found]] = torch.maximum(first, second)[found]
    return start, end


def _quick_steps(drops: Tensor, previous: Tensor, threshold: int, steps: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The first steps of that walk for all rows alike: no answer is waited for, so a GPU never stands idle.

    Returns:
        start, end as far as found; (q,) bool of the rows that must walk on; where they are.
    """
    start = torch.full_like(previous, -1)
    end = start.clone()
    pending = torch.ones_like(previous, dtype=torch.bool)
    for _ in range(steps):
        following, exists = _take_largest(drops)
        found = pending & exists & ((following - previous).abs() > threshold)
        start = torch.where(found, torch.minimum(previous, following), start)
        end = torch.where(found, torch.maximum(previous, following), end)
        pending = pending & exists & ~found
        previous = following
    return start, end, pending, previous


def _take_largest(drops: Tensor) -> tuple[Tensor, Tensor]:
    """The rank of each row's largest drop (the first of equal ones) and whether there is one; takes it out."""
    largest = drops.argmax(1)
    exists = drops.gather(1, largest[:, None])[:, 0] > float("-inf")
    drops.scatter_(1, largest[:, None], float("-inf"))
    return largest, exists


def _sorted_pairs(drops: Tensor, previous: Tensor, threshold: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same walk in one go: sorts the drops that are left and compares neighbours in that order."""
    ordered = torch.sort(drops, dim=1, descending=True, stable=True)
    following = ordered.indices  # (p, N - 1) ranks, largest drop first
    leading = torch.cat([previous[:, None], following[:, :-1]], dim=1)
    apart = ((following - leading).abs() > threshold) & (ordered.values > float("-inf"))
    place = apart.to(torch.uint8).argmax(1)[:, None]  # (p, 1): the first pair that is apart
    return leading.gather(1, place)[:, 0], following.gather(1, place)[:, 0], apart.any(1)

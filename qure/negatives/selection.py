"""From what a strategy chooses to a query's negatives: never its target, copies once, no query without any.

Where a strategy leaves a query without any negative, the released code reuses the previous query's range or fails; here
the query falls back to all images after its target, and, when there are none, to the whole corpus except its target.
"""

from dataclasses import dataclass
from enum import IntEnum

import torch
from torch import Tensor

import qure.negatives.published  # noqa: F401 (registers them; found by name elsewhere, but here they are run)
from qure.config import NegativeSettings
from qure.errors import BadInput
from qure.negatives.places import Marks, Span
from qure.negatives.ranked import Ranked
from qure.strategies import Choice, Range, Ranking, choose


class Fallback(IntEnum):
    """What a query's negatives are instead of the strategy's."""

    NONE = 0
    AFTER_TARGET = 1
    WHOLE_CORPUS = 2


@dataclass(frozen=True)
class Selection:
    """The negatives of a block of queries.

    Attributes:
        places: at which ranks they lie (copies not yet merged).
        members: (q, N) bool, whether a corpus column is a negative.
        sizes: (q,) int64, how many are.
        target_ranks: (q,) int64, 0-based.
        start, end: (q,) int64 ranks of the two steep drops, -1 where there are none or the strategy has none.
        fallback: (q,) int64, values of `Fallback`.
    """

    places: Marks | Span
    members: Tensor
    sizes: Tensor
    target_ranks: Tensor
    start: Tensor
    end: Tensor
    fallback: Tensor


@dataclass(frozen=True)
class Copies:
    """Corpus columns that show the same image.

    Attributes:
        image: (N,) int64, the image a column shows, numbered 0, 1, ... by first column.
        first: (images,) int64, the first column that shows it.
    """

    image: Tensor
    first: Tensor


def select(
    ranked: Ranked,
    targets: Tensor,
    settings: NegativeSettings,
    *,
    copies: Copies | None = None,
    exclude: Tensor | None = None,
) -> Selection:
    """Applies the strategy of the settings to ranked scores.

    Args:
        ranked: q queries, N images.
        targets: (q,) int64 columns.
        copies: columns that show the same image: copies of the target are never negatives, and of the copies of
            another image only its first column is one.
        exclude: (q, E) int64 columns that are never negatives of a query; -1 = none.

    Raises:
        BadInput: a query whose corpus holds nothing but its target (and excluded images), or a user's strategy failed.
    """
    target_ranks = ranked.ranks_of(targets)  # (q,)
    ranking = Ranking(ranked.scores, lambda: ranked.order, target_ranks)
    chosen = choose(settings, ranking)
    none = torch.full_like(target_ranks, -1)
    start, end = (none if drops is None else drops for drops in (chosen.start, chosen.end))
    places: Marks | Span
    if isinstance(chosen, Range) and ranked.values_first and copies is None and exclude is None:
        places, fallback = _span(chosen, target_ranks, ranked.scores.shape[1])
        members = ranked.members(places.start, places.stop)
        members.scatter_(1, targets[:, None], False)
        return Selection(places, members, places.size(), target_ranks, start, end, fallback)
    marks = chosen.ranked if isinstance(chosen, Choice) else _marks(chosen, ranking.ranks)
    allowed = _allowed(ranked.order, targets, copies, exclude)  # (q, N) by rank
    marks = marks & allowed
    fallback = _fall_back(marks, allowed, target_ranks)  # (q,)
    members = torch.zeros_like(marks).scatter_(1, ranked.order, marks)  # (q, N) by column
    if copies is not None:
        members = _merged(members, copies)
    return Selection(Marks(marks), members, members.sum(1), target_ranks, start, end, fallback)


def copies_of(images: Tensor) -> Copies | None:
    """Columns grouped by an (N,) integer image identity; None when every column shows its own image.

    >>> copies_of(torch.tensor([7, 5, 7])).first.tolist()
    [0, 1]
    """
    values, group, counts = torch.unique(images, return_inverse=True, return_counts=True)
    if len(values) == len(images):
        return None
    first = torch.argsort(group, stable=True)[torch.cumsum(counts, 0) - counts]
    by_first = torch.argsort(first)
    number = torch.empty_like(by_first)
    number[by_first] = torch.arange(len(first), device=images.device)
    return Copies(number[group], first[by_first])


def _allowed(order: Tensor, targets: Tensor, copies: Copies | None, exclude: Tensor | None) -> Tensor:
    """(q, N) bool by rank: not the target, nor a copy of it, nor excluded."""
    image = order if copies is None else copies.image[order]  # (q, N)
    own = targets if copies is None else copies.image[targets]  # (q,)
    allowed = image != own[:, None]
    if exclude is None or not exclude.shape[1]:
        return allowed
    # One column more than the corpus has takes the entries of -1.
    excluded = torch.zeros((len(order), order.shape[1] + 1), dtype=torch.bool, device=order.device)
    excluded.scatter_(1, exclude.where(exclude >= 0, torch.full_like(exclude, order.shape[1])), True)
    return allowed & ~excluded.gather(1, order)


def _marks(chosen: Range, ranks: Tensor) -> Tensor:
    """(q, N) bool by rank."""
    return (ranks >= chosen.first[:, None]) & (ranks < chosen.stop[:, None])


def _span(chosen: Range, target_ranks: Tensor, size: int) -> tuple[Span, Tensor]:
    """The ranks of a choice without the target's, where there are any; what `_fall_back` takes where there are none."""
    span = Span(chosen.first.clamp(0, size), chosen.stop.clamp(0, size), target_ranks)
    empty = (span.stop <= span.start) | (span.size() == 0)  # (q,)
    after = target_ranks + 1 < size
    if size == 1 and bool(empty.any()):
        raise _no_negative(int(empty.nonzero()[0]))
    start = torch.where(empty, torch.where(after, target_ranks + 1, 0), span.start)
    fallback = torch.where(empty, torch.where(after, int(Fallback.AFTER_TARGET), int(Fallback.WHOLE_CORPUS)), 0)
    return Span(start, torch.where(empty, size, span.stop), target_ranks), fallback


def _fall_back(ranked: Tensor, allowed: Tensor, target_ranks: Tensor) -> Tensor:
    """Fills the rows of `ranked` without any image, and says how."""
    fallback = torch.full_like(target_ranks, Fallback.NONE)
    empty = (~ranked.any(1)).nonzero()[:, 0]  # (e,) rows
    if not len(empty):
        return fallback
    ranks = torch.arange(ranked.shape[1], device=ranked.device)
    after = allowed[empty] & (ranks > target_ranks[empty][:, None])  # (e, N)
    any_after = after.any(1)  # (e,)
    ranked[empty] = torch.where(any_after[:, None], after, allowed[empty])
    fallback[empty] = torch.where(any_after, int(Fallback.AFTER_TARGET), int(Fallback.WHOLE_CORPUS))
    nothing = (~ranked[empty].any(1)).nonzero()
    if len(nothing):
        raise _no_negative(int(empty[nothing[0, 0]]))
    return fallback


def _no_negative(row: int) -> BadInput:
    return BadInput("the query has no negative: its corpus holds nothing but its target and excluded images", row=row)


def _merged(members: Tensor, copies: Copies) -> Tensor:
    """The first column of every image of which any copy was selected."""
    images = torch.zeros((len(members), len(copies.first)), dtype=torch.int32, device=members.device)  # (q, images)
    images.index_add_(1, copies.image, members.int())
    merged = torch.zeros_like(members)
    merged[:, copies.first] = images > 0
    return merged

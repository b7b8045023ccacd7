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
from qure.strategies import Ranking, choose


class Fallback(IntEnum):
    """What a query's negatives are instead of the strategy's."""

    NONE = 0
    AFTER_TARGET = 1
    WHOLE_CORPUS = 2


@dataclass(frozen=True)
class Selection:
    """The negatives of a block of queries.

    Attributes:
        ranked: (q, N) bool, whether the image at a rank was selected (copies not yet merged).
        members: (q, N) bool, whether a corpus column is a negative.
        target_ranks: (q,) int64, 0-based.
        start, end: (q,) int64 ranks of the two steep drops, -1 where there are none or the strategy has none.
        fallback: (q,) int64, values of `Fallback`.
    """

    ranked: Tensor
    members: Tensor
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
    scores: Tensor,
    order: Tensor,
    targets: Tensor,
    settings: NegativeSettings,
    *,
    copies: Copies | None = None,
    exclude: Tensor | None = None,
) -> Selection:
    """Applies the strategy of the settings to ranked scores.

    Args:
        scores: (q, N) descending.
        order: (q, N) int64, the column at each rank.
        targets: (q,) int64 columns.
        copies: columns that show the same image: copies of the target are never negatives, and of the copies of
            another image only its first column is one.
        exclude: (q, E) int64 columns that are never negatives of a query; -1 = none.

    Raises:
        BadInput: a query whose corpus holds nothing but its target (and excluded images), or a user's strategy failed.
    """
    target_ranks = (order == targets[:, None]).to(torch.uint8).argmax(1)  # (q,)
    chosen = choose(settings, Ranking(scores, order, target_ranks))
    allowed = _allowed(order, targets, copies, exclude)  # (q, N) by rank
    ranked = chosen.ranked & allowed  # (q, N) by rank
    fallback = _fall_back(ranked, allowed, target_ranks)  # (q,)
    members = torch.zeros_like(ranked).scatter_(1, order, ranked)  # (q, N) by column
    if copies is not None:
        members = _merged(members, copies)
    return Selection(ranked, members, target_ranks, chosen.start, chosen.end, fallback)


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
        raise BadInput(
            "the query has no negative: its corpus holds nothing but its target and excluded images",
            row=int(empty[nothing[0, 0]]),
        )
    return fallback


def _merged(members: Tensor, copies: Copies) -> Tensor:
    """The first column of every image of which any copy was selected."""
    images = torch.zeros((len(members), len(copies.first)), dtype=torch.int32, device=members.device)  # (q, images)
    images.index_add_(1, copies.image, members.int())
    merged = torch.zeros_like(members)
    merged[:, copies.first] = images > 0
    return merged

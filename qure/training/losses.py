"""The reward objective of QuRe (section 4.1 of the paper) and the in-batch contrastive baseline.

Scores are relevances divided by the temperature, float32. Every loss is returned per query, because a batch may be
spread over processes: who averages must know the size of the whole batch.
"""

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

SeveralNegatives = Literal["mean", "softmax"]


def bradley_terry(
    positive: Tensor, negative: Tensor, mask: Tensor | None = None, *, several: SeveralNegatives = "mean"
) -> Tensor:
    """`-log sigmoid(s(query, target) - s(query, negative))` of each query: the Bradley-Terry reward model.

    With one negative this is the published loss (the released code writes it as the KL divergence of a two-way
    softmax from [1, 0]). With several there are two readings, equal for one negative:

    - `mean`: the mean of the pairs' losses; every negative pulls, however far it has been left behind.
    - `softmax`: `-log softmax` of the target among target and negatives (Plackett-Luce first choice); the
      negatives that score highest pull most.

    Args:
        positive: scores of the targets, (B,).
        negative: scores of the negatives, (B, K).
        mask: (B, K) bool, False where a query has fewer than K negatives; None: all count.
        several: how several negatives are combined.

    Returns:
        (B,) losses; 0 where a query has no negative at all.

    >>> bradley_terry(torch.tensor([2.0]), torch.tensor([[2.0]]))
    tensor([0.6931])
    >>> positive, negative = torch.tensor([1.0]), torch.tensor([[0.0, 3.0]])
    >>> bradley_terry(positive, negative), bradley_terry(positive, negative, several="softmax")
    (tensor([1.2201]), tensor([2.1698]))
    >>> bradley_terry(positive, negative, torch.tensor([[True, False]]))
    tensor([0.3133])
    """
    difference = negative - positive[:, None]
    if mask is None:
        mask = torch.ones_like(difference, dtype=torch.bool)
    if several == "softmax":
        # softplus(logsumexp) = log(1 + sum of exp) keeps the digits of small losses, which log-softmax loses; the
        # lowest finite number instead of -inf keeps the gradient of a query without negatives at 0 instead of NaN.
        masked = difference.masked_fill(~mask, torch.finfo(difference.dtype).min)
        return functional.softplus(torch.logsumexp(masked, dim=1))
    pairs = functional.softplus(difference).masked_fill(~mask, 0.0)
    return pairs.sum(dim=1) / mask.sum(dim=1).clamp(min=1)


def contrastive(scores: Tensor, target: Tensor, mask: Tensor | None = None) -> Tensor:
    """In-batch contrast (InfoNCE) from queries to images: cross-entropy of the target among the batch's targets.

    Args:
        scores: (B, C) scores of every query against every candidate of the batch.
        target: (B,) column of each query's own target.
        mask: (B, C) bool, False for candidates that are no negatives of a query, such as another query's target
            that is the same image; the query's own column always counts. None: all count.

    Returns:
        (B,) losses.

    >>> scores = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> contrastive(scores, torch.tensor([0, 1]))
    tensor([0.3133, 0.3133])
    >>> contrastive(scores, torch.tensor([0, 1]), torch.tensor([[True, False], [True, True]])).abs()
    tensor([0.0000, 0.3133])
    """
    if mask is not None:
        own = functional.one_hot(target, scores.shape[1]).bool()
        scores = scores.masked_fill(~(mask | own), float("-inf"))
    return functional.cross_entropy(scores, target, reduction="none")


def pairs_won(positive: Tensor, negative: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """How many (target, negative) pairs the target wins, and how many there are; a tie is not won.

    Args:
        positive: (B,) scores of the targets.
        negative: (B, K) scores of the negatives.
        mask: (B, K) bool, False where there is no negative; None: all count.

    >>> pairs_won(torch.tensor([1.0, 1.0]), torch.tensor([[0.0, 1.0], [0.5, 2.0]]))
    (tensor(2), tensor(4))
    """
    if mask is None:
        mask = torch.ones_like(negative, dtype=torch.bool)
    return ((positive[:, None] > negative) & mask).sum(), mask.sum()

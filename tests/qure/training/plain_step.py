"""A training step's losses as the paper and the settings define them, in plain loops: what `qure.training.step` is
compared with.

The encoders are the model's own; scores, sets, duplicates, dropout masks and losses are done anew and one by one.
"""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from qure.config import TrainingSettings
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.training.batches import EpochNegatives
from qure.training.data import TrainingData


@dataclass(frozen=True)
class Plain:
    """Each row's loss; pairs that the target wins; pairs."""

    losses: list[float]
    won: int
    pairs: int


def plain_step(
    model: QureModel,
    data: TrainingData,
    store: FeatureStore,
    negatives: EpochNegatives,
    settings: TrainingSettings,
    rows: list[int],
    *,
    seed: int | None = None,
) -> Plain:
    """A step over `rows` in one process; with a seed the model drops units, without one it must be in eval mode."""
    columns = [int(data.targets[row]) for row in rows]
    for number in range(negatives.drawn.shape[1]):
        columns += [int(negatives.drawn[row, number]) for row in rows]
    with torch.no_grad(), _dropout_by_definition():
        if seed is not None:
            torch.manual_seed(seed)
        ids, mask = data.input_ids[rows], data.attention_mask[rows]
        used = mask.any(dim=0)  # padding of every row is left out, and drops nothing
        queries = model.encode_queries(store.read(data.references[rows]), ids[:, used], mask[:, used])
        candidates = model.encode_images(store.read(data.corpus[columns]))
        temperature = float(model.temperature)

    def score(query: int, candidate: int) -> float:
        return float((candidates[candidate].double() @ queries[query].double()).max()) / temperature

    losses, won, pairs = [], 0, 0
    for query, row in enumerate(rows):
        positive = score(query, query)
        chosen = _chosen(query, row, rows, columns, data, negatives, settings)
        others = [score(query, candidate) for candidate in chosen]
        won += sum(positive > other for other in others)
        pairs += len(others)
        losses.append(_loss(positive, others, settings))
    return Plain(losses, won, pairs)


def _chosen(
    query: int,
    row: int,
    rows: list[int],
    columns: list[int],
    data: TrainingData,
    negatives: EpochNegatives,
    settings: TrainingSettings,
) -> list[int]:
    """Places in `columns` of the candidates that a query is compared with; an image that is there twice: its first."""
    if settings.loss != "contrastive" and not settings.negatives.shared_negatives:
        return list(range(len(rows) + query, len(columns), len(rows)))
    found: dict[int, int] = {}
    for place, column in enumerate(columns):
        found.setdefault(int(data.corpus[column]), place)
    if settings.loss == "contrastive":
        target = int(data.corpus[data.targets[row]])
        return [place for image, place in found.items() if image != target]
    assert negatives.sets is not None
    members = {int(data.corpus[column]) for column in negatives.sets.of(row)}
    return [place for image, place in found.items() if image in members]


def _loss(positive: float, others: list[float], settings: TrainingSettings) -> float:
    if settings.loss == "contrastive" or settings.several_negatives == "softmax":
        everything = math.exp(positive) + sum(math.exp(other) for other in others)
        return -math.log(math.exp(positive) / everything)
    return float(np.mean([-math.log(1 / (1 + math.exp(other - positive))) for other in others])) if others else 0.0


@contextmanager
def _dropout_by_definition() -> Iterator[None]:
    """Each number is dropped with probability p, the others are divided by 1 - p; one uniform number each, in order."""

    def dropped(values: Tensor, p: float) -> Tensor:
        return torch.where(torch.rand(values.shape) < p, 0.0, values / (1 - p))

    def dropout(input: Tensor, p: float = 0.5, training: bool = True, inplace: bool = False) -> Tensor:
        return dropped(input, p) if training and p > 0 else input

    def attention(query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None, **options: Any) -> Tensor:
        scores = torch.einsum("...qd,...kd->...qk", query, key) * (options.get("scale") or query.shape[-1] ** -0.5)
        if attn_mask is not None:
            scores = torch.where(attn_mask, scores, -torch.inf) if attn_mask.dtype == torch.bool else scores + attn_mask
        weights = scores.softmax(-1)
        p = options.get("dropout_p", 0.0)
        return (dropped(weights, p) if p > 0 else weights) @ value

    with (
        patch.object(functional, "dropout", dropout),
        patch.object(functional, "scaled_dot_product_attention", attention),
    ):
        yield

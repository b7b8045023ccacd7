"""One training step's forward pass: a batch's triplets to the loss."""

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from qure.config import TrainingSettings
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.models.relevance import relevance
from qure.training.distributed import Processes
from qure.training.dropout import BatchDropout
from qure.training.losses import bradley_terry, contrastive, pairs_won


@dataclass(frozen=True)
class Batch:
    """One process's rows of a batch, on its device. b rows, K own negatives a query.

    Attributes:
        references: (b, tokens, width) features of the reference images.
        input_ids, attention_mask: (b, L).
        candidates: ((1 + K) * b, tokens, width) features of the targets, then of each round of negatives.
        weights: (b,) 1, or 0 for a row that only fills up this process's share.
        rows: (b,) places of the rows in the whole batch.
        size: rows of the whole batch, over all processes.
        shared: (b, processes * (1 + K) * b) bool, which of all processes' candidates are negatives of which
            query; None: each query has its own negatives alone.
    """

    references: Tensor
    input_ids: Tensor
    attention_mask: Tensor
    candidates: Tensor
    weights: Tensor
    rows: Tensor
    size: int
    shared: Tensor | None


@dataclass(frozen=True)
class StepResult:
    """What a forward pass gives.

    Attributes:
        loss: this process's sum of its rows' losses, with gradient.
        counts: (3,) float64 without gradient: that sum, pairs won by the target, pairs compared.
    """

    loss: Tensor
    counts: Tensor


class TripletLoss(nn.Module):
    """Model and loss in one module, whose forward pass is all of a step that has gradients.

    One pass of the Q-Former encodes targets and negatives together; the reference with its text takes another.
    Scores and losses are float32 whatever the precision.

    Args:
        model: the model to train.
        settings: loss, temperature and how negatives are combined.
        policy: what the encoders compute in.
        group: over which processes candidates are shared.
        own_dropout: torch draws the dropout masks itself, inside its fused attention too; else they are drawn for the
            whole batch, so that they do not depend on how many processes share it.
    """

    def __init__(
        self,
        model: QureModel,
        settings: TrainingSettings,
        policy: PrecisionPolicy,
        group: Processes,
        *,
        own_dropout: bool = False,
    ) -> None:
        super().__init__()
        self.model = model
        self._settings, self._policy, self._group = settings, policy, group
        self._dropout: BatchDropout | None = None
        self._own_dropout = own_dropout
        if settings.gradient_checkpointing:
            # Recomputed layers must drop the units they dropped first: see BatchDropout.contexts.
            keywords = {"use_reentrant": False, "context_fn": self._recomputing}
            model.qformer.activation_checkpointing_enable(keywords)

    def forward(self, batch: Batch) -> StepResult:
        """The loss of one process's rows.

        Dropout draws from the default generator: seed it before each call, alike on every process.
        """
        with self._dropping(batch), self._policy.autocast(), self.model.sharing_weights():
            queries = self.model.encode_queries(batch.references, batch.input_ids, batch.attention_mask)  # (b, D)
            candidates = self.model.encode_images(batch.candidates)  # ((1 + K) * b, T, D)
        with torch.autocast(queries.device.type, enabled=False):
            losses, positive, negative, mask = self._losses(queries, candidates, batch)
            counted = batch.weights > 0
            mask = counted[:, None].expand_as(negative) if mask is None else mask & counted[:, None]
            won, pairs = pairs_won(positive, negative, mask)
            loss = (losses * batch.weights).sum()
        return StepResult(loss, torch.stack([loss.detach().double(), won.double(), pairs.double()]))

    def _losses(
        self, queries: Tensor, candidates: Tensor, batch: Batch
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        temperature = self.model.temperature
        several = self._settings.several_negatives
        if batch.shared is None:
            own = _own_scores(queries, candidates) / temperature  # (b, 1 + K)
            positive, negative = own[:, 0], own[:, 1:]  # (b,), (b, K)
            return bradley_terry(positive, negative, several=several), positive, negative, None
        everyone = self._group.gather(candidates)  # (processes * (1 + K) * b, T, D)
        scores = relevance(queries, everyone) / temperature  # (b, processes * (1 + K) * b)
        # A process's candidates begin with its own targets, query by query.
        own_column = len(candidates) * self._group.rank + torch.arange(len(queries), device=scores.device)
        positive = scores.gather(1, own_column[:, None])[:, 0]  # (b,)
        if self._settings.loss == "contrastive":
            losses = contrastive(scores, own_column, batch.shared)
        else:
            losses = bradley_terry(positive, scores, batch.shared, several=several)
        return losses, positive, scores, batch.shared

    def _dropping(self, batch: Batch) -> AbstractContextManager[object]:
        if self._own_dropout or not self.model.config.qformer.dropout:
            return nullcontext()
        self._dropout = BatchDropout(batch.rows, batch.size)
        return self._dropout

    def _recomputing(self) -> tuple[AbstractContextManager[object], AbstractContextManager[object]]:
        return self._dropout.contexts() if self._dropout is not None else (nullcontext(), nullcontext())


def _own_scores(queries: Tensor, candidates: Tensor) -> Tensor:
    """Relevance of each query's own target and negatives, (b, 1 + K)."""
    rounds = candidates.unflatten(0, (-1, len(queries)))  # (1 + K, b, T, D)
    return torch.einsum("bd,kbtd->bkt", queries, rounds).amax(dim=-1)

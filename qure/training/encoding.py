"""Embeddings of all training queries and of the corpus, as mining and the held-out queries need them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.models.precision import PrecisionPolicy
from qure.models.text import longest_text
from qure.negatives.relevance import relevance_block
from qure.progress import track
from qure.training.data import Integers, TrainingData
from qure.training.distributed import Processes

#: Images or queries encoded at once. Fixed: embeddings must not depend on who encodes them or how many there are.
BLOCK = 128


@contextmanager
def evaluating(model: QureModel) -> Iterator[None]:
    """Evaluation mode (no dropout) without gradients; training mode afterwards if it was on before."""
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(training)


class TrainingEncoder:
    """Encodes in blocks that the processes share; every process gets the whole.

    Args:
        model: its current weights are used, in whatever mode it is.
        features: of reference and corpus images.
        policy: what to compute in.
        group: processes that take turns.
    """

    def __init__(self, model: QureModel, features: FeatureStore, policy: PrecisionPolicy, group: Processes) -> None:
        self._model, self._features, self._policy, self._group = model, features, policy, group

    def images(self, data: TrainingData) -> list[str]:
        """Image ids of the joint corpus."""
        return [self._features.ids[row] for row in data.corpus.tolist()]

    def corpus(self, data: TrainingData) -> Tensor:
        """Candidate embeddings of the joint corpus, (C, T, D) fp32."""
        config = self._model.config

        def encode(places: Integers) -> Tensor:
            return self._model.encode_images(self._read(data.corpus[places]))

        return self._blocks(encode, len(data.corpus), (config.query_tokens, config.embedding), "encode corpus")

    def queries(self, data: TrainingData) -> Tensor:
        """Query embeddings of the triplets, (N, D) fp32."""

        def encode(places: Integers) -> Tensor:
            tokens = longest_text(data.attention_mask[places])
            ids, mask = data.input_ids[places, :tokens], data.attention_mask[places, :tokens]
            device = self._group.device
            return self._model.encode_queries(self._read(data.references[places]), ids.to(device), mask.to(device))

        return self._blocks(encode, len(data), (self._model.config.embedding,), "encode queries")

    def _read(self, rows: Integers) -> Tensor:
        return self._features.read(rows).to(self._group.device)

    def _blocks(
        self, encode: Callable[[Integers], Tensor], count: int, shape: tuple[int, ...], description: str
    ) -> Tensor:
        result = torch.zeros((count, *shape), device=self._group.device)
        blocks = [np.arange(start, min(start + BLOCK, count)) for start in range(0, count, BLOCK)]
        own = blocks[self._group.rank :: self._group.world]
        with self._model.sharing_weights():
            for places in track(own, description) if self._group.main else own:
                with self._policy.autocast():
                    result[int(places[0]) : int(places[-1]) + 1] = encode(places)
        return self._group.sum(result)


def recall(encoder: TrainingEncoder, data: TrainingData, rank: int = 10) -> float:
    """Share of the triplets whose target is among the first `rank` of its category's corpus; ties count against it.

    Call it inside `evaluating`.
    """
    candidates, queries = encoder.corpus(data), encoder.queries(data)
    found = 0
    for category in range(len(data.names)):
        rows = np.flatnonzero(data.categories == category)
        corpus = data.corpus_of(category)
        for start in range(0, len(rows), BLOCK):
            part = rows[start : start + BLOCK]
            scores = relevance_block(queries[part], candidates[corpus])
            columns = torch.from_numpy(data.targets[part] - corpus.start).to(scores.device)
            target = scores.gather(1, columns[:, None])
            found += int(((scores >= target).sum(dim=1) <= rank).sum())
    return found / len(data)

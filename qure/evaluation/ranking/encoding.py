"""From precomputed features to query and candidate embeddings."""

import logging
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch

from qure.datasets.types import Question
from qure.errors import StageFailed
from qure.evaluation.ranking.embeddings import Embeddings, Floats, read_embeddings, write_embeddings
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.progress import track

logger = logging.getLogger(__name__)

#: Galleries larger than this many bytes of embeddings are kept in a scratch file instead of in memory.
IN_MEMORY_BYTES = 2 << 30


class Encoder:
    """A model with the features of the images it is asked about.

    Args:
        model: in evaluation mode; computes in fp32, whatever it was trained in.
        stores: image set -> its features, computed with the model's own vision tower.
        batch_size: images or queries at once.
        scratch: folder for galleries that are larger than memory should hold; files there may be large.
    """

    def __init__(self, model: QureModel, stores: Mapping[str, FeatureStore], batch_size: int, scratch: Path) -> None:
        self._model, self._stores, self._batch_size, self._scratch = model, stores, batch_size, scratch

    @torch.no_grad()
    def queries(self, image_set: str, questions: Sequence[Question], name: str) -> Embeddings:
        """Query embeddings: one unit vector per question.

        Raises:
            BadInput: a reference image without features.
            StageFailed: the model gives numbers that are not finite.
        """
        tokenizer = self._model.tokenizer
        assert tokenizer is not None  # a loaded model has one
        store = self._stores[image_set]
        rows = store.rows([question.reference for question in questions])
        parts: list[Floats] = []
        for start in track(range(0, len(questions), self._batch_size), f"encoding queries of {name}"):
            batch = slice(start, start + self._batch_size)
            tokens, mask = tokenizer([question.text for question in questions[batch]])
            features = store.read(rows[batch]).to(self._model.device)
            encoded = self._model.encode_queries(features, tokens.to(self._model.device), mask.to(self._model.device))
            parts.append(encoded.float().cpu().numpy())
        ids, called = [question.query_id for question in questions], f"queries of {name}"
        return Embeddings(ids, _finite(np.concatenate(parts), called), name=called)

    def gallery(self, image_set: str, ids: Sequence[str], name: str) -> Embeddings:
        """Candidate embeddings: T unit vectors per image, in memory or in a scratch file.

        Raises:
            BadInput: an image without features.
            StageFailed: the model gives numbers that are not finite.
        """
        rows = _EncodedRows(self._model, self._stores[image_set], ids, self._batch_size, f"gallery of {name}")
        size = 4 * int(np.prod(rows.shape))
        if size <= IN_MEMORY_BYTES:
            return Embeddings(ids, rows.read(0, len(ids)), name=rows.name)
        # Its own name: several encoders share the scratch folder.
        path = Path(tempfile.mkdtemp(dir=self._scratch)) / "gallery.safetensors"
        logger.info("%s: %d MB of embeddings go through %s", name, size >> 20, path)
        write_embeddings(path, ids, rows)
        return read_embeddings(path)


class _EncodedRows:
    """Candidate embeddings that are computed when they are read."""

    def __init__(self, model: QureModel, store: FeatureStore, ids: Sequence[str], batch_size: int, name: str) -> None:
        self._model, self._store, self._batch_size, self.name = model, store, batch_size, name
        self._rows = store.rows(ids)
        self.shape = (len(ids), model.config.query_tokens, model.config.embedding)

    @torch.no_grad()
    def read(self, start: int, stop: int) -> Floats:
        result = np.empty((stop - start, *self.shape[1:]), dtype=np.float32)
        for first in track(range(start, stop, self._batch_size), f"encoding {self.name}"):
            last = min(first + self._batch_size, stop)
            features = self._store.read(self._rows[first:last]).to(self._model.device)
            result[first - start : last - start] = self._model.encode_images(features).float().cpu().numpy()
        return _finite(result, self.name)


def _finite(vectors: Floats, name: str) -> Floats:
    if not np.isfinite(vectors).all():
        raise StageFailed(f"the model gives NaN or infinity for {name}: its weights are broken")
    return vectors

"""A trained model with a gallery: image and text in, ranked image ids out."""

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import read_embeddings
from qure.files import read_json
from qure.images import normalise, prepare_image
from qure.models import QureModel

logger = logging.getLogger(__name__)

EMBEDDINGS, GROUPS = "embeddings.safetensors", "groups.json"
#: Candidates scored at once.
BLOCK = 4096
BATCH = 32

Ranked = list[tuple[str, float]]


class Retriever:
    """Ranks a gallery for composed queries.

    Args:
        model: with vision tower and tokenizer.
        ids: the gallery's N image ids.
        embeddings: (N, T, D) candidate embeddings, fp16 or fp32, from the same model.
        groups: name -> image ids; a query can be restricted to one, for example FashionIQ's category.
    """

    def __init__(
        self, model: QureModel, ids: Sequence[str], embeddings: torch.Tensor, groups: dict[str, list[str]]
    ) -> None:
        self.ids = tuple(ids)
        self._model, self._embeddings = model, embeddings
        row_of = {identifier: row for row, identifier in enumerate(self.ids)}
        self._rows = {name: torch.tensor([row_of[one] for one in members]) for name, members in groups.items()}

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that a query can be restricted to."""
        return tuple(self._rows)

    @classmethod
    def load(cls, model: Path, gallery: Path, device: str | torch.device = "cpu") -> "Retriever":
        """Reads a model folder and a gallery folder (`embeddings.safetensors`, `groups.json`).

        Raises:
            BadInput: a file is missing or damaged.
        """
        stored = read_embeddings(Path(gallery) / EMBEDDINGS)
        embeddings = torch.from_numpy(stored.vectors.astype(np.float16)).to(device)
        return cls(QureModel.load(Path(model), device), stored.ids, embeddings, read_json(Path(gallery) / GROUPS))

    def retrieve(
        self,
        references: Sequence[bytes],
        texts: Sequence[str],
        *,
        top_k: Sequence[int],
        groups: Sequence[str | None],
        exclude: Sequence[str | None],
    ) -> list[Ranked]:
        """The best candidates of each query, best first; equal scores in the gallery's order.

        Args:
            references: image files.
            texts: modification texts.
            top_k: how many candidates each query gets.
            groups: the part of the gallery that each query searches; None for all of it.
            exclude: an image id that each query must not get, for example its own reference.

        Raises:
            BadInput: an image that cannot be decoded, an empty text, a group that is unknown, `top_k` below 1.
        """
        for row, (count, group) in enumerate(zip(top_k, groups, strict=True)):
            if count < 1:
                raise BadInput(f"{count} is not a number of results", row=row, field="top_k", remedy="Use 1 or more")
            if group is not None and group not in self._rows:
                known = ", ".join(sorted(self._rows)) or "none"
                raise BadInput(f"no group {group!r} in the gallery", row=row, field="group", remedy=f"Groups: {known}")
        scores = self._scores(self.embed_queries(references, texts))
        rows = zip(scores, top_k, groups, exclude, strict=True)
        return [self._best(one, count, group, without) for one, count, group, without in rows]

    @torch.no_grad()
    def embed_queries(self, references: Sequence[bytes], texts: Sequence[str]) -> torch.Tensor:
        """Query embeddings: (B, D) unit rows, fp32."""
        tokenizer = self._model.tokenizer
        assert tokenizer is not None  # a loaded model has one
        for row, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip():
                raise BadInput(f"{text!r} is not a modification text", row=row, field="text")
        parts = []
        for start in range(0, len(texts), BATCH):
            tokens, mask = (part.to(self._model.device) for part in tokenizer(list(texts[start : start + BATCH])))
            features = self._features(references[start : start + BATCH], start)
            parts.append(self._model.encode_queries(features, tokens, mask))
        return torch.cat(parts)

    @torch.no_grad()
    def embed_images(self, images: Sequence[bytes]) -> torch.Tensor:
        """Candidate embeddings: (B, T, D) unit rows, fp32."""
        parts = [
            self._model.encode_images(self._features(images[start : start + BATCH], start))
            for start in range(0, len(images), BATCH)
        ]
        return torch.cat(parts)

    def _features(self, images: Sequence[bytes], first: int) -> torch.Tensor:
        size = self._model.config.vision.image_size
        pixels = []
        for row, data in enumerate(images, start=first):
            if not isinstance(data, bytes | bytearray | memoryview):
                problem = f"not the bytes of an image file but {type(data).__name__}"
                raise BadInput(problem, row=row, field="reference")
            pixels.append(prepare_image(bytes(data), size, name=f"row {row}, field 'reference'"))
        return self._model.encode_vision(normalise(np.stack(pixels)).to(self._model.device))

    @torch.no_grad()
    def _scores(self, queries: torch.Tensor) -> torch.Tensor:
        blocks = self._embeddings.split(BLOCK)
        return torch.cat([QureModel.relevance(queries, block.float()) for block in blocks], dim=1).cpu()

    def _best(self, scores: torch.Tensor, count: int, group: str | None, without: str | None) -> Ranked:
        rows = self._rows[group] if group is not None else torch.arange(len(self.ids))
        order = torch.argsort(scores[rows], descending=True, stable=True)
        ranked = ((self.ids[row], float(scores[row])) for row in rows[order].tolist())
        kept = (pair for pair in ranked if pair[0] != without)
        return [pair for pair, _ in zip(kept, range(count), strict=False)]

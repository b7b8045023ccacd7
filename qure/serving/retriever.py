"""A trained model with a gallery: image and text in, ranked image ids out."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from qure.config import Precision
from qure.datasets.ids import first_few, shown, unsafe_to_print
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings, read_embeddings
from qure.evaluation.ranking.flat_index import FlatIndex
from qure.features.computing import encode_pixels
from qure.files import read_json
from qure.images import prepare_image
from qure.models import QureModel
from qure.models.precision import DTYPES
from qure.serving.ivf_index import INDEX, IvfIndex, SearchIndex, has_index

EMBEDDINGS, GROUPS, FEATURES = "embeddings.safetensors", "groups.json", "features.json"
BATCH = 32

Ranked = list[tuple[str, float]]


class Retriever:
    """Ranks a gallery for composed queries, as evaluation ranked it, or approximately where it has an index.

    Args:
        model: with vision tower and tokenizer.
        ids: the gallery's N image ids.
        index: of the gallery's candidate embeddings, from the same model.
        groups: name -> image ids; a query can be restricted to one, for example FashionIQ's category.
        features: what a reference image's features are rounded to: the dtype of the store that the model was trained
            and evaluated with.
    """

    def __init__(
        self,
        model: QureModel,
        ids: Sequence[str],
        index: SearchIndex,
        groups: dict[str, list[str]],
        features: Precision = "fp32",
    ) -> None:
        self.ids = tuple(ids)
        self._model, self._index, self._features = model, index, features
        self._row_of = {identifier: row for row, identifier in enumerate(self.ids)}
        self._rows = {
            name: torch.tensor([self._row_of[one] for one in members], dtype=torch.int64)
            for name, members in groups.items()
        }

    @property
    def groups(self) -> tuple[str, ...]:
        """Names of the groups that a query can be restricted to."""
        return tuple(self._rows)

    @classmethod
    def load(cls, model: Path, gallery: Path, device: str | torch.device = "cpu") -> "Retriever":
        """Reads a model folder and a gallery folder (`qure.serving.gallery` says what is in it).

        Raises:
            BadInput: a file is missing or damaged, or an embedding is NaN or infinite; the gallery has an index and
                FAISS is not installed.
        """
        folder = Path(gallery)
        stored = read_embeddings(folder / EMBEDDINGS)
        return cls(
            QureModel.load(Path(model), device),
            stored.ids,
            open_index(folder, stored, device),
            read_groups(folder, stored.ids),
            read_features_dtype(folder),
        )

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
        for row, (count, group, left_out) in enumerate(zip(top_k, groups, exclude, strict=True)):
            if count < 1:
                raise BadInput(f"{count} is not a number of results", row=row, field="top_k", remedy="Use 1 or more")
            if not isinstance(left_out, str | None):
                raise BadInput(f"{shown(left_out)} is not an image id", row=row, field="exclude")
            if group is not None and (not isinstance(group, str) or group not in self._rows):
                known = ", ".join(sorted(self._rows)) or "none"
                problem = f"no group {shown(group)} in the gallery"
                raise BadInput(problem, row=row, field="group", remedy=f"Groups: {known}")
        ranked = self._index.search(
            self.embed_queries(references, texts),
            [count + (left_out in self._row_of) for count, left_out in zip(top_k, exclude, strict=True)],
            [None if group is None else self._rows[group] for group in groups],
        )
        return [
            self._ranked(rows, scores, count, left_out)
            for (rows, scores), count, left_out in zip(ranked, top_k, exclude, strict=True)
        ]

    @torch.no_grad()
    def embed_queries(self, references: Sequence[bytes], texts: Sequence[str]) -> torch.Tensor:
        """Query embeddings: (B, D) unit rows, fp32."""
        tokenizer = self._model.tokenizer
        assert tokenizer is not None  # a loaded model has one
        for row, text in enumerate(texts):
            if not isinstance(text, str) or not text.strip() or unsafe_to_print(text):
                raise BadInput(f"{shown(text)} is not a modification text", row=row, field="text")
        parts = []
        for start in range(0, len(texts), BATCH):
            tokens, mask = (part.to(self._model.device) for part in tokenizer(list(texts[start : start + BATCH])))
            features = self._encoded(references[start : start + BATCH], start)
            parts.append(self._model.encode_queries(features, tokens, mask))
        return torch.cat(parts)

    @torch.no_grad()
    def embed_images(self, images: Sequence[bytes]) -> torch.Tensor:
        """Candidate embeddings: (B, T, D) unit rows, fp32."""
        parts = [
            self._model.encode_images(self._encoded(images[start : start + BATCH], start))
            for start in range(0, len(images), BATCH)
        ]
        return torch.cat(parts)

    def _encoded(self, images: Sequence[bytes], first: int) -> torch.Tensor:
        """Features (B, tokens, width) of image files, as a feature store would hold them."""
        size = self._model.config.vision.image_size
        pixels = []
        for row, data in enumerate(images, start=first):
            if not isinstance(data, bytes | bytearray | memoryview):
                problem = f"not the bytes of an image file but {type(data).__name__}"
                raise BadInput(problem, row=row, field="reference")
            pixels.append(prepare_image(bytes(data), size, name=f"row {row}, field 'reference'"))
        return encode_pixels(self._model, torch.from_numpy(np.stack(pixels)).to(self._model.device), self._features)

    def _ranked(self, rows: torch.Tensor, scores: torch.Tensor, count: int, left_out: str | None) -> Ranked:
        pairs = zip((self.ids[row] for row in rows.tolist()), scores.tolist(), strict=True)
        return [pair for pair in pairs if pair[0] != left_out][:count]


def read_groups(gallery: Path, ids: Sequence[str]) -> dict[str, list[str]]:
    """Group -> the image ids of it, of a gallery folder.

    Args:
        gallery: the folder.
        ids: the gallery's images.

    Raises:
        BadInput: the file is missing or damaged, or names an image that the gallery does not have.
    """
    file, known = gallery / GROUPS, frozenset(ids)
    content = read_json(file)
    if not isinstance(content, dict):
        raise BadInput("must map groups to lists of image ids", file=file)
    for name, members in content.items():
        if not isinstance(members, list) or not all(isinstance(one, str) for one in members):
            raise BadInput("must be a list of image ids", file=file, field=name)
        missing = [one for one in members if one not in known]
        if missing:
            raise BadInput(f"the gallery does not have {first_few(missing)}", file=file, field=name)
    return content


def open_index(gallery: Path, embeddings: Embeddings, device: str | torch.device) -> SearchIndex:
    """The index that a gallery folder has; where it has none, its embeddings in memory, on a device.

    Raises:
        BadInput: a file of the index or a row of the embeddings is damaged, or FAISS is not installed.
    """
    if has_index(gallery):
        return IvfIndex.load(gallery / INDEX, embeddings)
    ((_, vectors),) = embeddings.blocks(embeddings.ids, len(embeddings))  # one block: checked, and never copied
    return FlatIndex(torch.from_numpy(vectors).to(device))


def read_features_dtype(gallery: Path) -> Precision:
    """What queries' features are rounded to for a gallery folder; fp32 where it does not say.

    Galleries that do not say were made before served features were rounded as stored ones are.

    Raises:
        BadInput: the folder says something else than a number format.
    """
    file = gallery / FEATURES
    if not file.is_file():
        return "fp32"
    content = read_json(file)
    dtype = content.get("dtype") if isinstance(content, dict) else None
    if dtype not in DTYPES:
        raise BadInput(f"{dtype!r} is not a number format", file=file, field="dtype", remedy=f"One of {list(DTYPES)}")
    found: Precision = dtype
    return found

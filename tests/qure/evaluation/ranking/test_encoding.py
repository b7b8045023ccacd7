"""Embeddings of queries and galleries: in batches, in order, in memory or in a file, and never without numbers.

The model and its features are formulas here; real ones are asked by tests/qure/evaluation/test_stage.py.
"""

import logging
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from qure.datasets.types import Question
from qure.errors import StageFailed
from qure.evaluation.ranking import encoding
from qure.evaluation.ranking.encoding import Encoder

IDS = ["a", "b", "c", "d", "e"]


class Store:
    """Image n of `IDS` has the feature n."""

    def rows(self, ids: Sequence[str]) -> np.ndarray:
        return np.array([IDS.index(one) for one in ids])

    def read(self, rows: np.ndarray) -> torch.Tensor:
        return torch.tensor(rows, dtype=torch.float32)


class Model:
    """Two vectors of three numbers an image; a query's numbers are its feature, its text's length, and 1."""

    config = SimpleNamespace(query_tokens=2, embedding=3)
    device = torch.device("cpu")

    def __init__(self) -> None:
        self.batches: list[int] = []
        self.factor = 1.0
        self.weight = torch.nn.Parameter(torch.ones(1))

    def tokenizer(self, texts: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
        lengths = torch.tensor([float(len(text)) for text in texts])
        return lengths, torch.ones(len(texts))

    def encode_queries(self, features: torch.Tensor, tokens: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(features))
        return self.factor * self.weight * torch.stack([features, tokens, mask], dim=1)

    def encode_images(self, features: torch.Tensor) -> torch.Tensor:
        self.batches.append(len(features))
        assert not torch.is_grad_enabled()
        return self.factor * torch.stack([features, features + 10], dim=1)[:, :, None] * torch.tensor([1.0, 2.0, 3.0])


GALLERY = np.array([[[place, 2 * place, 3 * place] for place in (number, number + 10)] for number in range(5)])


@pytest.fixture
def model() -> Model:
    return Model()


def encoder(model: Model, scratch: Path) -> Encoder:
    return Encoder(model, {"set": Store()}, 2, scratch)  # type: ignore[arg-type,dict-item]


def test_queries_are_encoded_in_batches_and_in_order(model: Model, tmp_path: Path) -> None:
    questions = [Question(f"q{image}", image, "-" * number) for number, image in enumerate("ecabd")]
    found = encoder(model, tmp_path).queries("set", questions, "val")
    assert model.batches == [2, 2, 1]
    assert (found.ids, found.name) == (("qe", "qc", "qa", "qb", "qd"), "queries of val")
    expected = [[IDS.index(image), number, 1] for number, image in enumerate("ecabd")]
    assert found.vectors[:, 0].tolist() == expected


@pytest.mark.parametrize("spare", [0, -1])
def test_a_gallery_beyond_its_bound_goes_through_a_file(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int, caplog: pytest.LogCaptureFixture
) -> None:
    """Five images of six numbers of four bytes."""
    monkeypatch.setattr(encoding, "IN_MEMORY_BYTES", 5 * 6 * 4 + spare)
    caplog.set_level(logging.INFO, "qure")
    found = encoder(model, tmp_path).gallery("set", IDS, "val")
    assert (found.ids, found.vectors.dtype) == (tuple(IDS), np.float32)
    assert np.array_equal(found.vectors, GALLERY)
    assert model.batches == [2, 2, 1]
    files = list(tmp_path.rglob("*.safetensors"))
    assert len(files) == (1 if spare else 0)
    assert ("val: 0 MB of embeddings go through" in caplog.text) == bool(spare)


def test_galleries_that_share_a_folder_have_files_of_their_own(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(encoding, "IN_MEMORY_BYTES", 0)
    one, other = (encoder(model, tmp_path).gallery("set", ids, "val") for ids in (["a", "c"], ["e"]))
    assert np.array_equal(one.vectors, GALLERY[[0, 2]])
    assert np.array_equal(other.vectors, GALLERY[[4]])


def test_how_much_of_a_gallery_memory_holds_and_how_much_is_said(
    model: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    assert encoding.IN_MEMORY_BYTES == 2 * 1024**3
    monkeypatch.setattr(encoding, "IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(encoding, "write_embeddings", lambda *_: None)
    monkeypatch.setattr(encoding, "read_embeddings", lambda path: path)
    monkeypatch.setattr(model, "config", SimpleNamespace(query_tokens=32, embedding=8192))
    caplog.set_level(logging.INFO, "qure")
    encoder(model, tmp_path).gallery("set", IDS, "val")
    assert "val: 5 MB of embeddings go through" in caplog.text


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
def test_a_model_that_gives_no_numbers_is_broken(
    model: Model, tmp_path: Path, factor: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.factor = factor
    questions = [Question("q", "a", "is red")]
    with pytest.raises(StageFailed, match="NaN or infinity for queries of val: its weights are broken"):
        encoder(model, tmp_path).queries("set", questions, "val")
    for bound in (encoding.IN_MEMORY_BYTES, 0):
        monkeypatch.setattr(encoding, "IN_MEMORY_BYTES", bound)
        with pytest.raises(StageFailed, match="NaN or infinity for gallery of val: its weights are broken"):
            encoder(model, tmp_path).gallery("set", IDS, "val")


def test_part_of_a_gallery(model: Model, tmp_path: Path) -> None:
    rows: Any = encoding._EncodedRows(model, Store(), IDS, 2, "val")  # type: ignore[arg-type]
    assert rows.shape == (5, 2, 3)
    assert np.array_equal(rows.read(1, 4), GALLERY[1:4])
    assert model.batches == [2, 1]

"""Searching a gallery on disk gives what evaluation ranks, and holds little of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from qure.errors import BadInput
from qure.evaluation.ranking import streamed
from qure.evaluation.ranking.embeddings import Embeddings, read_embeddings, write_embeddings
from qure.evaluation.ranking.scores import score_rows, top
from qure.evaluation.ranking.streamed import search_stored


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


@pytest.mark.parametrize("count", [1, 10, 1000])
@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_the_order_and_the_scores_are_evaluations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, count: int, dtype: str
) -> None:
    """Equal images lie in different blocks."""
    gallery, queries = np.concatenate([unit(100, 3, 16, seed=1)] * 3), unit(40, 16)
    ids = [str(number) for number in range(300)]
    write_embeddings(tmp_path / "gallery.safetensors", ids, gallery, dtype=dtype)
    stored = read_embeddings(tmp_path / "gallery.safetensors")
    monkeypatch.setattr(streamed, "BLOCK_BYTES", 70 * 4 * 3 * 16)
    columns, scores = search_stored(torch.from_numpy(queries), stored, count)
    ((_, everything),) = score_rows(queries, Embeddings(ids, stored.vectors), ids)
    best = top(everything, count)
    assert columns.tolist() == best.tolist()
    assert scores.tolist() == np.take_along_axis(everything, best, axis=1).tolist()


def test_a_block_at_a_time_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    gallery, read = unit(500, 2, 8), []
    monkeypatch.setattr(streamed, "BLOCK_BYTES", 64 * 4 * 2 * 8)

    class Watched:
        shape = (500, 2, 8)

        def read(self, start: int, stop: int) -> np.ndarray:
            read.append(stop - start)
            return gallery[start:stop]

    search_stored(torch.from_numpy(unit(2, 8)), Embeddings([str(row) for row in range(500)], Watched()), 5)
    assert sum(read) == 500
    assert max(read) <= 64


def test_a_row_that_cannot_be_ranked_by_is_named() -> None:
    gallery = unit(50, 2, 8)
    gallery[31, 1, 4] = np.inf
    with pytest.raises(BadInput, match=r"row 31.*NaN or infinity"):
        search_stored(torch.from_numpy(unit(2, 8)), Embeddings([str(row) for row in range(50)], gallery), 5)


def test_a_small_gallery_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """64 MiB in single precision: 65,536 rows of 256 numbers."""
    asked: list[tuple[int, int]] = []
    shown: list[tuple[str, int]] = []

    def track(blocks: Iterator[Any], title: str, total: int) -> Iterator[Any]:
        shown.append((title, total))
        return blocks

    monkeypatch.setattr(streamed, "track", track)

    class Watched:
        shape = (65_537, 4, 64)

        def read(self, start: int, stop: int) -> np.ndarray:
            asked.append((start, stop))
            return np.full((stop - start, 4, 64), 0.125, dtype=np.float32)

    columns, _ = search_stored(
        torch.from_numpy(unit(1, 64)), Embeddings([str(row) for row in range(65_537)], Watched()), 3
    )
    assert asked == [(0, 65_536), (65_536, 65_537)]
    assert shown == [("searching embeddings", 2)]
    assert columns.tolist() == [[0, 1, 2]], "equal scores in the gallery's order"

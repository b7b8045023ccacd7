"""Searching gives what ranking everything exactly gives, whatever fp32 makes of close scores."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.flat_index import FlatIndex
from qure.evaluation.ranking.scores import score_rows, top


def unit(*shape: int, seed: int = 0) -> np.ndarray:
    rows = np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
    return rows / np.linalg.norm(rows, axis=-1, keepdims=True)


def exact(queries: np.ndarray, gallery: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """As evaluation ranks: columns and scores of the best."""
    ids = [str(number) for number in range(len(gallery))]
    ((_, scores),) = score_rows(queries, Embeddings(ids, gallery), ids)
    columns = top(scores, count)
    return columns, np.take_along_axis(scores, columns, axis=1)


@pytest.fixture
def coarse_products() -> Iterator[None]:
    """What a process around this one may have allowed."""
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    yield
    torch.set_float32_matmul_precision(before)


def galleries() -> Iterator[tuple[str, np.ndarray]]:
    yield "far apart", unit(5000, 4, 32, seed=1)
    middle = unit(1, 1, 32, seed=2)
    yield "closer than fp32 can tell", (middle + 1e-7 * unit(5000, 4, 32, seed=3)).astype(np.float32)
    yield "many times the same", np.repeat(unit(40, 4, 32, seed=4), 100, axis=0)
    yield "of any length", 50 * unit(500, 1, 32, seed=5) * np.random.default_rng(6).random((500, 1, 1), np.float32)


@pytest.mark.parametrize("gallery", [pytest.param(one, id=name) for name, one in galleries()])
@pytest.mark.parametrize("count", [1, 10, 10_000])
def test_the_order_and_the_scores_are_evaluations(gallery: np.ndarray, count: int) -> None:
    queries = unit(3, 32)
    found = FlatIndex(torch.from_numpy(gallery)).search(torch.from_numpy(queries), [count] * 3, [None] * 3)
    columns, scores = exact(queries, gallery, count)
    for row, (own, values) in enumerate(found):
        assert own.tolist() == columns[row].tolist()
        assert values.tolist() == scores[row].tolist()


def test_coarser_products_change_no_order(coarse_products: None) -> None:
    queries, gallery = unit(3, 32), unit(2000, 4, 32, seed=1)
    found = FlatIndex(torch.from_numpy(gallery)).search(torch.from_numpy(queries), [10] * 3, [None] * 3)
    assert [own.tolist() for own, _ in found] == exact(queries, gallery, 10)[0].tolist()


def test_each_query_has_its_own_candidates_in_their_own_order() -> None:
    gallery = torch.ones(6, 2, 4) / 2
    gallery[3] = 0
    own, all_of_them, none = FlatIndex(gallery).search(
        torch.ones(3, 4) / 2, [3, 9, 2], [torch.tensor([5, 3, 1, 4]), None, torch.tensor([], dtype=torch.int64)]
    )
    assert own[0].tolist() == [5, 1, 4], "equal scores keep the order of the candidates"
    assert all_of_them[0].tolist() == [0, 1, 2, 4, 5, 3]
    assert none[0].tolist() == []


def test_a_query_that_says_nothing_finds_the_first() -> None:
    gallery = torch.from_numpy(unit(50, 2, 8, seed=1))
    for query, candidates in ((torch.zeros(1, 8), gallery), (torch.from_numpy(unit(1, 8)), torch.zeros(50, 2, 8))):
        ((own, scores),) = FlatIndex(candidates).search(query, [3], [None])
        assert own.tolist() == [0, 1, 2]
        assert scores.tolist() == [0.0, 0.0, 0.0]


def test_more_queries_than_share_a_pass() -> None:
    queries, gallery = unit(70, 16), unit(300, 2, 16, seed=1)
    found = FlatIndex(torch.from_numpy(gallery)).search(torch.from_numpy(queries), [5] * 70, [None] * 70)
    assert [own.tolist() for own, _ in found] == exact(queries, gallery, 5)[0].tolist()


def test_few_candidates_are_scored_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    """The point of it: a search over many reads them once, in the format they are held in."""
    counted: list[int] = []
    plain = FlatIndex._exact
    monkeypatch.setattr(
        FlatIndex, "_exact", lambda self, query, columns: counted.append(len(columns)) or plain(self, query, columns)
    )
    FlatIndex(torch.from_numpy(unit(20_000, 4, 32, seed=1))).search(torch.from_numpy(unit(1, 32)), [10], [None])
    assert 10 <= sum(counted) < 20

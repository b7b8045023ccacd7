"""A row for every query, and its best candidates, against plain sorting in double precision."""

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking import queries as module
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.queries import (
    rank_queries,
    recall_columns,
    require_embeddings,
    required_targets,
)
from qure.evaluation.ranking.scores import score_rows

IDS = [f"image-{number:02d}" for number in range(60)]
TRIPLETS = [
    Triplet(f"q/{number}", IDS[7 * number], f"text {number}", target=IDS[number + 1], category="dress")
    for number in range(3)
]


def unit(count: int, tokens: int, seed: int) -> np.ndarray:
    values = np.random.default_rng(seed).standard_normal((count, tokens, 6))
    return (values / np.linalg.norm(values, axis=2, keepdims=True)).astype(np.float32)


QUERIES = Embeddings([one.query_id for one in TRIPLETS], unit(3, 1, 0))
CANDIDATES = Embeddings(IDS, unit(60, 2, 1))


def plain_scores(query: int) -> np.ndarray:
    products = CANDIDATES.take(IDS).astype(np.float64) @ QUERIES.take([f"q/{query}"])[0, 0].astype(np.float64)
    return np.asarray(products.max(axis=1))


def ranked(count: int = 60, **more: Any) -> tuple[Any, Any, list[tuple[slice, np.ndarray]]]:
    """Table, best candidates, and what `from_scores` was called with."""
    seen: list[tuple[slice, np.ndarray]] = []

    def from_scores(chosen: slice, scores: np.ndarray) -> dict[str, np.ndarray]:
        seen.append((chosen, scores.copy()))
        return {"first": np.arange(chosen.start, chosen.stop), "target_score": scores[:, 1]}

    gallery = Gallery("g", tuple(IDS[:count]))
    table, best = rank_queries(TRIPLETS, gallery, QUERIES, CANDIDATES, from_scores, **more)
    return table, best, seen


@pytest.fixture
def one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores come in blocks of one query."""
    monkeypatch.setattr(module, "score_rows", functools.partial(score_rows, rows_bytes=4 * 60))


def test_a_row_for_every_query_in_order() -> None:
    table, _, seen = ranked()
    assert list(table) == ["query_id", "category", "reference", "target", "text", "first", "target_score"]
    assert table.drop(columns="target_score").to_numpy().tolist() == [
        [one.query_id, "dress", one.reference, one.target, one.text, number] for number, one in enumerate(TRIPLETS)
    ]
    assert [chosen for chosen, _ in seen] == [slice(0, 3)]
    assert table["target_score"].to_numpy() == pytest.approx([plain_scores(query)[1] for query in range(3)], abs=1e-6)


@pytest.mark.parametrize("drop_reference", [False, True])
@pytest.mark.parametrize(("count", "kept"), [(60, 50), (51, 50), (50, 50), (20, 20)])
def test_the_best_are_those_of_a_plain_sort(drop_reference: bool, count: int, kept: int) -> None:
    _, best, _ = ranked(count, drop_reference=drop_reference)
    assert list(best) == [one.query_id for one in TRIPLETS]
    for query, triplet in enumerate(TRIPLETS):
        scores = plain_scores(query)[:count]
        order = [place for place in np.argsort(-scores) if not (drop_reference and IDS[place] == triplet.reference)]
        found = best[triplet.query_id]
        assert [image for image, _ in found] == [IDS[place] for place in order[:kept]]
        assert [score for _, score in found] == pytest.approx(scores[order[:kept]].tolist(), abs=1e-6)


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("drop_reference", [False, True])
def test_blocks_are_put_together(drop_reference: bool) -> None:
    table, best, seen = ranked(drop_reference=drop_reference)
    assert [chosen for chosen, _ in seen] == [slice(0, 1), slice(1, 2), slice(2, 3)]
    for query, (_, scores) in enumerate(seen):
        dropped = np.flatnonzero(np.isneginf(scores[0])).tolist()
        assert dropped == ([7 * query] if drop_reference else [])
    assert table["first"].tolist() == [0, 1, 2]
    for query, triplet in enumerate(TRIPLETS):
        expected = plain_scores(query)
        if drop_reference:
            expected[7 * query] = -np.inf
        assert best[triplet.query_id][0][0] == IDS[int(expected.argmax())]


@pytest.mark.parametrize("drop_reference", [False, True])
def test_what_is_asked_for_is_exact_though_not_all_is(drop_reference: bool) -> None:
    """All scores exact, and those of column 1 and of the best: the same to the bit."""
    every, every_best, _ = ranked(drop_reference=drop_reference)
    some, some_best, _ = ranked(drop_reference=drop_reference, columns=np.full((3, 1), 1))
    assert some.equals(every)
    assert some_best == every_best


class Truth:
    """Image n is relevant to query q by a share that a formula gives."""

    def relevance_matrix(self, query_ids: Sequence[str], image_ids: Sequence[str]) -> np.ndarray:
        return np.array([[self.share(int(query[2:]), image) for image in image_ids] for query in query_ids], np.float32)

    @staticmethod
    def share(query: int, image: str) -> float:
        return (22 - int(image[-2:]) * (query + 1)) % 23 / 22


@pytest.mark.usefixtures("one_at_a_time")
@pytest.mark.parametrize("drop_reference", [False, True])
def test_true_relevance_of_the_best_ten(drop_reference: bool) -> None:
    table, best, _ = ranked(drop_reference=drop_reference, truth=Truth())
    for query, triplet in enumerate(TRIPLETS):
        gains = [Truth.share(query, image) for image, _ in best[triplet.query_id][:10]]
        there = [image for image in IDS if not (drop_reference and image == triplet.reference)]
        ideal = sorted((Truth.share(query, image) for image in there), reverse=True)[:10]
        found, possible = (
            sum(gain / np.log2(rank) for rank, gain in enumerate(one, start=2)) for one in (gains, ideal)
        )
        row = table.iloc[query, 7:].tolist()
        assert row == pytest.approx([found / possible, np.mean(gains), gains.count(1.0) / 10])


def test_recall_is_at_the_published_depths() -> None:
    columns = recall_columns(np.array([1, 5, 6, 10, 50, 51]))
    assert {name: values.tolist() for name, values in columns.items()} == {
        "recall_at_1": [1, 0, 0, 0, 0, 0],
        "recall_at_5": [1, 1, 0, 0, 0, 0],
        "recall_at_10": [1, 1, 1, 1, 0, 0],
        "recall_at_50": [1, 1, 1, 1, 1, 0],
    }
    assert list(recall_columns(np.array([1]), (2,), "share_at")) == ["share_at_2"]


def test_targets_that_are_withheld_are_refused_by_query() -> None:
    assert required_targets(TRIPLETS, "cirr", "val") == [one.target for one in TRIPLETS]
    withheld = Triplet("q/9", "a", "text", source="cap.json, row 9")
    with pytest.raises(BadInput, match=r"cap\.json.*split 'test1' of 'cirr' has no answers \(query 'q/9'\)"):
        required_targets([*TRIPLETS, withheld], "cirr", "test1")
    with pytest.raises(BadInput, match=r"^split 'test1' of"):
        required_targets([Triplet("q/9", "a", "text")], "cirr", "test1")


def test_all_that_is_needed_is_there_before_anything_is_ranked() -> None:
    names = [one.query_id for one in TRIPLETS]
    require_embeddings(QUERIES, CANDIDATES, names, [*IDS, IDS[0]])
    with pytest.raises(BadInput, match="no query to evaluate"):
        require_embeddings(QUERIES, CANDIDATES, [], IDS)
    with pytest.raises(BadInput, match="'q/9'"):
        require_embeddings(QUERIES, CANDIDATES, [*names, "q/9"], IDS)
    with pytest.raises(BadInput, match="'nowhere'"):
        require_embeddings(QUERIES, CANDIDATES, names, [*IDS, "nowhere"])
    with pytest.raises(BadInput, match="dimension"):
        require_embeddings(QUERIES, Embeddings(IDS, np.ones((60, 5), np.float32)), names, IDS)

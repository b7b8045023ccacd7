"""Ranks and members found by values against those of a stable sort, ties included."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qure.config import NegativeSettings
from qure.negatives.mining import negatives_from_scores
from qure.negatives.ranked import Ranked, rank
from qure.negatives.selection import select
from qure.negatives.statistics import observe


@given(st.lists(st.sampled_from([-1.0, -0.0, 0.0, 0.25, 0.5]), min_size=1, max_size=60))
@settings(max_examples=100, deadline=None)
def test_equal_scores_keep_the_order_of_the_corpus(row: list[float]) -> None:
    scores, order = rank(torch.tensor([row]))
    wanted = sorted(range(len(row)), key=lambda column: (-row[column], column))
    assert order[0].tolist() == wanted
    assert scores[0].tolist() == [row[column] for column in wanted]


@st.composite
def blocks(draw: st.DrawFn) -> torch.Tensor:
    """(q, N) scores of few levels: many are equal, zeros of both signs among them."""
    rows, size = draw(st.integers(1, 5)), draw(st.integers(1, 40))
    levels = st.sampled_from([-1.0, -0.5, -0.0, 0.0, 0.25, 0.5, 1.0][: draw(st.integers(1, 7))])
    values = draw(st.lists(levels, min_size=rows * size, max_size=rows * size))
    return torch.tensor(values).reshape(rows, size)


@given(blocks())
@settings(max_examples=150, deadline=None)
def test_values_alone_are_sorted_as_with_their_columns(scores: torch.Tensor) -> None:
    before = scores.clone()
    ranked = Ranked(scores)
    assert torch.equal(ranked.scores, rank(scores)[0])
    assert torch.equal(ranked.order, rank(scores)[1])
    assert torch.equal(scores, before)


@given(data=st.data(), scores=blocks())
@settings(max_examples=150, deadline=None)
def test_ranks_and_members_are_those_of_a_stable_sort(data: st.DataObject, scores: torch.Tensor) -> None:
    rows, size = scores.shape
    columns = data.draw(st.lists(st.integers(0, size - 1), min_size=rows, max_size=rows))
    first = data.draw(st.lists(st.integers(0, size - 1), min_size=rows, max_size=rows))
    stop = [data.draw(st.integers(one + 1, size)) for one in first]
    ranked, order = Ranked(scores), rank(scores)[1]
    assert ranked.ranks_of(torch.tensor(columns)).tolist() == [
        order[row].tolist().index(column) for row, column in enumerate(columns)
    ]
    members = ranked.members(torch.tensor(first), torch.tensor(stop))
    for row in range(rows):
        assert members[row].nonzero()[:, 0].tolist() == sorted(order[row, first[row] : stop[row]].tolist())


def test_no_row_is_sorted_with_its_columns_unless_equal_scores_lie_across_an_edge(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sorted_rows: list[int] = []

    def counted(scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        sorted_rows.append(len(scores))
        return rank(scores)

    monkeypatch.setattr("qure.negatives.ranked.rank", counted)
    distinct = torch.from_numpy(np.random.default_rng(0).permutation(600).astype(np.float32)).reshape(6, 100)
    for strategy in ("all_corpus", "top_k", "after_target_top_k", "between_steep_drops"):
        negatives_from_scores(distinct, torch.arange(6), NegativeSettings(strategy=strategy, top_k=7))
    assert sorted_rows == []
    distinct[4] = 1.0
    negatives_from_scores(distinct, torch.arange(6), NegativeSettings(strategy="after_target_top_k", top_k=7))
    assert sorted_rows == [1]


@given(data=st.data(), scores=blocks().filter(lambda scores: scores.shape[1] > 1))
@settings(max_examples=150, deadline=None)
def test_values_and_columns_lead_to_the_same_selection(data: st.DataObject, scores: torch.Tensor) -> None:
    """A GPU sorts columns along: its way, taken here on the CPU, and that by values."""
    rows, size = scores.shape
    targets = torch.tensor(data.draw(st.lists(st.integers(0, size - 1), min_size=rows, max_size=rows)))
    strategy = data.draw(st.sampled_from(["all_corpus", "top_k", "after_target_top_k", "between_steep_drops"]))
    options = NegativeSettings(strategy=strategy, top_k=data.draw(st.integers(1, 50)))
    by_value, by_column = Ranked(scores), Ranked(scores)
    by_column.values_first = False
    one, other = (select(ranked, targets, options) for ranked in (by_value, by_column))
    for name in ("members", "sizes", "target_ranks", "start", "end", "fallback"):
        assert torch.equal(getattr(one, name), getattr(other, name)), name
    for name, values in vars(observe(one)).items():
        wanted = getattr(observe(other), name)
        assert values.dtype == wanted.dtype, name
        np.testing.assert_array_equal(values, wanted, err_msg=name)

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qure.config import NegativeSettings
from qure.errors import BadInput
from qure.negatives.mining import negatives_from_scores
from qure.negatives.ranked import Ranked
from qure.negatives.selection import Fallback, copies_of, select

STRATEGIES = ["all_corpus", "top_k", "after_target_top_k", "between_steep_drops"]
#: Ranks: columns 0, 1, 2, ... in that order.
FALLING = torch.tensor([[0.9, 0.8, 0.7, 0.4, 0.35, 0.3, 0.1, 0.05]])


def negatives(target: int, scores: torch.Tensor = FALLING, **options: Any) -> list[int]:
    hard, _ = negatives_from_scores(scores, torch.tensor([target]), NegativeSettings(**options))
    return list(hard.of(0).tolist())


def test_all_corpus_is_everything_but_the_target() -> None:
    assert negatives(2, strategy="all_corpus") == [0, 1, 3, 4, 5, 6, 7]


def test_top_k_holds_images_above_the_target_and_k_of_them() -> None:
    assert negatives(2, strategy="top_k", top_k=3) == [0, 1, 3]
    assert negatives(3, strategy="top_k", top_k=3) == [0, 1, 2]
    assert negatives(2, strategy="top_k", top_k=100) == [0, 1, 3, 4, 5, 6, 7]


def test_after_target_top_k_starts_behind_the_target() -> None:
    assert negatives(2, strategy="after_target_top_k", top_k=3) == [3, 4, 5]
    assert negatives(6, strategy="after_target_top_k", top_k=3) == [7]


def test_between_steep_drops() -> None:
    assert negatives(0) == [3, 4, 5]
    assert negatives(0, search_window=5) == [2, 3]


@pytest.mark.parametrize("strategy", ["after_target_top_k", "between_steep_drops"])
def test_a_target_at_the_end_falls_back_to_the_whole_corpus(strategy: str) -> None:
    hard, chosen = negatives_from_scores(FALLING, torch.tensor([7]), NegativeSettings(strategy=strategy))
    assert hard.of(0).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert chosen.fallback.tolist() == [Fallback.WHOLE_CORPUS]


def test_no_range_falls_back_to_all_images_after_the_target() -> None:
    hard, chosen = negatives_from_scores(FALLING, torch.tensor([4]), NegativeSettings())
    assert hard.of(0).tolist() == [5, 6, 7]
    assert chosen.fallback.tolist() == [Fallback.AFTER_TARGET]


def test_one_query_never_gets_another_ones_range() -> None:
    """The released loop reuses the previous query's range where a query has none."""
    scores = torch.cat([FALLING, torch.linspace(0.9, 0.1, 8)[None].double().float().round(decimals=3)])
    together, _ = negatives_from_scores(scores, torch.tensor([0, 6]), NegativeSettings())
    assert together.of(0).tolist() == [3, 4, 5]
    assert together.of(1).tolist() == [7]


def test_copies_count_once_and_copies_of_the_target_never() -> None:
    scores = torch.tensor([[0.9, 0.3, 0.4, 0.4, 0.9, 0.35, 0.1, 0.05]])
    images = torch.tensor([5, 8, 7, 7, 5, 6, 9, 4])
    hard, _ = negatives_from_scores(scores, torch.tensor([0]), NegativeSettings(strategy="all_corpus"), images=images)
    assert hard.of(0).tolist() == [1, 2, 5, 6, 7]


def test_a_range_of_copies_of_the_target_falls_back() -> None:
    scores = torch.tensor([[0.9, 0.9, 0.7, 0.65, 0.6, 0.4, 0.39]])
    images = torch.tensor([3, 1, 2, 3, 3, 4, 5])
    plain_hard, before = negatives_from_scores(scores, torch.tensor([0]), NegativeSettings())
    assert (before.start.item(), before.end.item(), plain_hard.of(0).tolist()) == (1, 4, [2, 3, 4])
    images[2] = 3
    hard, chosen = negatives_from_scores(scores, torch.tensor([0]), NegativeSettings(), images=images)
    assert chosen.fallback.tolist() == [Fallback.AFTER_TARGET]
    assert hard.of(0).tolist() == [1, 5, 6]


def test_distinct_images_need_no_merging() -> None:
    assert copies_of(torch.tensor([4, 2, 9])) is None


def test_excluded_columns_are_never_negatives() -> None:
    exclude = torch.tensor([[3, -1, 5]])
    hard, _ = negatives_from_scores(FALLING, torch.tensor([0]), NegativeSettings(), exclude=exclude)
    assert hard.of(0).tolist() == [4]


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_a_corpus_of_the_target_alone_is_an_error_that_names_the_row(strategy: str) -> None:
    with pytest.raises(BadInput, match="row 0: the query has no negative"):
        select(Ranked(torch.tensor([[0.5], [0.7]])), torch.tensor([0, 0]), NegativeSettings(strategy=strategy))


def test_everything_excluded_is_an_error_that_names_the_row() -> None:
    scores = FALLING.repeat(3, 1)
    exclude = torch.full((3, 7), -1)
    exclude[1] = torch.tensor([1, 2, 3, 4, 5, 6, 7])
    with pytest.raises(BadInput, match="row 1: the query has no negative"):
        negatives_from_scores(scores, torch.zeros(3, dtype=torch.int64), NegativeSettings(), exclude=exclude)


@given(
    data=st.data(),
    size=st.integers(2, 30),
    levels=st.integers(1, 40),
    strategy=st.sampled_from(STRATEGIES),
    rule=st.sampled_from(["reference", "paper"]),
    window=st.none() | st.integers(4, 20),
    top_k=st.integers(1, 35),
    copied=st.booleans(),
    excluded=st.integers(0, 3),
)
@settings(max_examples=250, deadline=None)
def test_agrees_with_a_plain_loop(
    plain: Callable[..., Any],
    data: st.DataObject,
    size: int,
    levels: int,
    strategy: str,
    rule: str,
    window: int | None,
    top_k: int,
    copied: bool,
    excluded: int,
) -> None:
    """Ties, duplicates, tiny corpora, targets at any rank; every strategy and both rules."""
    options = NegativeSettings(strategy=strategy, rule=rule, search_window=window, top_k=top_k)
    rows = data.draw(st.integers(1, 4))
    raw = data.draw(st.lists(st.integers(-levels, levels), min_size=rows * size, max_size=rows * size))
    scores = np.array(raw, dtype=np.float32).reshape(rows, size) / 7
    images = data.draw(st.lists(st.integers(0, size), min_size=size, max_size=size)) if copied else None
    targets = data.draw(st.lists(st.integers(0, size - 1), min_size=rows, max_size=rows))
    if images is not None:
        targets = [images.index(images[target]) for target in targets]
    column = st.integers(-1, size - 1)
    exclude = [tuple(data.draw(st.lists(column, min_size=excluded, max_size=excluded))) for _ in range(rows)]

    def run() -> Any:
        return negatives_from_scores(
            torch.from_numpy(scores),
            torch.tensor(targets),
            options,
            images=None if images is None else torch.tensor(images),
            exclude=torch.tensor(exclude, dtype=torch.int64).reshape(rows, excluded),
        )

    wanted = [plain(scores[row], targets[row], options, images, exclude[row]) for row in range(rows)]
    empty = [row for row in range(rows) if not wanted[row].negatives]
    if empty:
        with pytest.raises(BadInput, match=f"row {empty[0]}: the query has no negative"):
            run()
        return
    hard, chosen = run()
    for row, expected in enumerate(wanted):
        assert hard.of(row).tolist() == expected.negatives
        assert int(chosen.target_ranks[row]) == expected.target_rank
        assert (int(chosen.start[row]), int(chosen.end[row])) == (expected.start, expected.end)
        assert int(chosen.fallback[row]) == expected.fallback

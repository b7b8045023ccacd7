import json
import logging
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from qure.config import NegativeSettings
from qure.errors import BadInput
from qure.negatives.mining import concatenate, mine, negatives_from_scores
from qure.negatives.relevance import BYTES_PER_PAIR, QUERY_TILE, relevance_block
from qure.negatives.sets import WholeCorpus

STRATEGIES = ["all_corpus", "top_k", "after_target_top_k", "between_steep_drops"]


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


def rows_of(hard: Any) -> list[list[int]]:
    return [hard.of(row).tolist() for row in range(len(hard))]


@given(
    data=st.data(),
    corpus=st.integers(2, 25),
    strategy=st.sampled_from(STRATEGIES),
    rule=st.sampled_from(["reference", "paper"]),
    window=st.none() | st.integers(4, 12),
)
@settings(max_examples=50, deadline=None)
def test_agrees_with_a_plain_loop(
    plain: Callable[..., Any], data: st.DataObject, corpus: int, strategy: str, rule: str, window: int | None
) -> None:
    options = NegativeSettings(strategy=strategy, rule=rule, search_window=window, top_k=5)
    candidates = unit(corpus, 3, 8, seed=data.draw(st.integers(0, 999)))
    if data.draw(st.booleans()):
        candidates[corpus // 2] = candidates[0]
    queries = unit(6, 8, seed=data.draw(st.integers(0, 999)))
    targets = data.draw(st.lists(st.integers(0, corpus - 1), min_size=6, max_size=6))
    scores = relevance_block(queries, candidates).numpy()
    mining = mine(queries, candidates, targets, options)
    for row, target in enumerate(targets):
        wanted = plain(scores[row], target, options)
        assert mining.hard.of(row).tolist() == wanted.negatives
        assert target not in wanted.negatives
        seen = mining.observations
        ranks = [wanted.order.index(column) for column in wanted.negatives]
        assert (seen.target_rank[row], seen.size[row]) == (wanted.target_rank, len(ranks))
        assert (seen.first[row], seen.last[row]) == (min(ranks), max(ranks))
        assert (seen.start[row], seen.end[row], seen.fallback[row]) == (wanted.start, wanted.end, wanted.fallback)


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_the_memory_budget_changes_nothing(strategy: str) -> None:
    queries, candidates = unit(2 * QUERY_TILE + 9, 16), unit(70, 4, 16, seed=1)
    targets = torch.arange(len(queries)) % 70
    options = NegativeSettings(strategy=strategy, top_k=10)
    tile = QUERY_TILE * 70 * BYTES_PER_PAIR
    small, large = (mine(queries, candidates, targets, options, memory_budget=budget) for budget in (tile, 1000 * tile))
    assert rows_of(small.hard) == rows_of(large.hard)
    assert json.dumps(small.statistics) == json.dumps(large.statistics)
    assert [one.query for one in small.examples] == [one.query for one in large.examples]
    assert all(
        np.array_equal(one.scores, other.scores) for one, other in zip(small.examples, large.examples, strict=True)
    )


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("size", [2, 3, 4])
def test_tiny_corpora_give_every_query_a_negative(strategy: str, size: int) -> None:
    targets = torch.arange(size)
    mining = mine(unit(size, 8), unit(size, 2, 8, seed=1), targets, NegativeSettings(strategy=strategy))
    for row in range(size):
        negatives = mining.hard.of(row).tolist()
        assert negatives
        assert row not in negatives
    assert json.loads(json.dumps(mining.statistics, allow_nan=False)) == mining.statistics


def test_a_corpus_of_one_image_is_refused() -> None:
    with pytest.raises(BadInput, match="a corpus of 1 images has no negatives"):
        mine(unit(1, 8), unit(1, 2, 8), [0], NegativeSettings())


def test_no_queries_are_refused() -> None:
    with pytest.raises(BadInput, match="no queries"):
        mine(unit(0, 8), unit(3, 2, 8), torch.zeros(0, dtype=torch.int64), NegativeSettings())


@pytest.mark.parametrize("target", [-1, 3])
def test_a_target_outside_the_corpus_is_named(target: int) -> None:
    with pytest.raises(
        BadInput, match=rf"row 1, field 'targets': the target column {target} is not in the corpus 0 .. 2"
    ):
        mine(unit(2, 8), unit(3, 2, 8), [0, target], NegativeSettings())


def test_targets_that_are_no_columns_are_refused() -> None:
    for targets in (torch.tensor([0.0, 1.0]), torch.tensor([0]), torch.tensor([[0, 1]])):
        with pytest.raises(ValueError, match="targets must be"):
            mine(unit(2, 8), unit(3, 2, 8), targets, NegativeSettings())


def test_scores_that_are_not_finite_are_refused() -> None:
    scores = torch.rand(3, 5)
    scores[2, 4] = float("nan")
    with pytest.raises(BadInput, match="row 2: a score is not finite"):
        negatives_from_scores(scores, torch.tensor([0, 0, 0]), NegativeSettings())


def test_exclusions_name_the_query_of_the_whole_run() -> None:
    """The failing query lies in the second block."""
    queries, candidates = unit(QUERY_TILE + 3, 8), unit(3, 2, 8, seed=1)
    exclude = torch.full((len(queries), 2), -1)
    exclude[QUERY_TILE + 1] = torch.tensor([1, 2])
    targets = torch.zeros(len(queries), dtype=torch.int64)
    budget = QUERY_TILE * 3 * BYTES_PER_PAIR
    with pytest.raises(BadInput, match=f"row {QUERY_TILE + 1}: the query has no negative"):
        mine(queries, candidates, targets, NegativeSettings(), exclude=exclude, memory_budget=budget)
    for outside in (3, -2):
        exclude[0, 0] = outside
        with pytest.raises(BadInput, match="row 0, field 'exclude'"):
            mine(queries, candidates, targets, NegativeSettings(), exclude=exclude)
    with pytest.raises(ValueError, match="exclude must be"):
        mine(queries, candidates, targets, NegativeSettings(), exclude=exclude[1:])


def test_whole_corpora_are_described_not_listed() -> None:
    mining = mine(unit(3, 8), unit(5, 2, 8), [0, 1, 2], NegativeSettings(strategy="all_corpus"))
    assert isinstance(mining.hard, WholeCorpus)
    excluding = mine(
        unit(3, 8), unit(5, 2, 8), [0, 1, 2], NegativeSettings(strategy="all_corpus"), exclude=[[4], [-1], [0]]
    )
    assert rows_of(excluding.hard) == [[1, 2, 3], [0, 2, 3, 4], [1, 3, 4]]


def test_examples_show_what_was_mined() -> None:
    queries, candidates = unit(40, 16), unit(60, 4, 16, seed=1)
    targets = torch.arange(40)
    mining = mine(queries, candidates, targets, NegativeSettings(), curve_examples=5)
    assert [example.query for example in mining.examples] == [0, 10, 20, 29, 39]
    scores = relevance_block(queries, candidates)
    for example in mining.examples:
        assert example.negatives.tolist() == mining.hard.of(example.query).tolist()
        assert example.scores.tolist() == sorted(scores[example.query].tolist(), reverse=True)
        assert example.scores[example.target_rank] == scores[example.query, example.query]
        assert len(example.negatives) == example.last - example.first + 1
    assert mine(queries, candidates, targets, NegativeSettings(), curve_examples=0).examples == []


def test_concatenated_minings_are_one_over_all_queries() -> None:
    """As FashionIQ's categories: own corpora, one joint corpus, queries in the triplets' order."""
    parts = [
        mine(unit(5, 8, seed=k), unit(20 + k, 3, 8, seed=9 + k), torch.arange(5), NegativeSettings(), curve_examples=2)
        for k in range(2)
    ]
    rows = [np.array([1, 3, 5, 7, 9]), np.array([0, 2, 4, 6, 8])]
    joint = concatenate(parts, corpus_offsets=[0, 20], query_rows=rows)
    for part, places, offset in zip(parts, rows, (0, 20), strict=True):
        for row, place in enumerate(places):
            assert joint.hard.of(place).tolist() == [column + offset for column in part.hard.of(row)]
            assert joint.observations.target_rank[place] == part.observations.target_rank[row]
    assert [example.query for example in joint.examples] == [1, 9, 0, 8]
    for example in joint.examples:
        assert example.negatives.tolist() == joint.hard.of(example.query).tolist()
    assert joint.statistics["queries"] == 10
    assert joint.statistics["corpus_size"] == [20, 21]
    in_order = concatenate(parts, corpus_offsets=[0, 20])
    assert rows_of(in_order.hard)[:5] == rows_of(parts[0].hard)
    alone = concatenate(parts[:1], corpus_offsets=[0])
    assert rows_of(alone.hard) == rows_of(parts[0].hard)
    assert alone.settings == parts[0].settings


def test_fallbacks_are_counted_and_logged(caplog: pytest.LogCaptureFixture) -> None:
    queries, candidates = unit(4, 8), unit(3, 2, 8, seed=1)
    with caplog.at_level(logging.INFO, logger="qure.negatives.mining"):
        mining = mine(queries, candidates, [0, 1, 2, 0], NegativeSettings())
    last = int((mining.observations.target_rank == 2).sum())
    assert mining.statistics["fallback"] == {"after_target": 4 - last, "whole_corpus": last, "share": 1.0}
    told = {"all images after the target": 4 - last, "the whole corpus": last}
    for words, queries_without in told.items():
        number = f"{queries_without} quer{'y' if queries_without == 1 else 'ies'}"
        said = f"for {number} no range was found, and {words}" in caplog.text
        assert said == (queries_without > 0), words


def test_memory_stays_within_the_budget() -> None:
    """1,000 queries x 5,000 images x 16 tokens are 305 MiB of scores at once, and the ranking 305 MiB more."""
    code = """
import resource, torch
from qure.config import NegativeSettings
from qure.negatives.mining import mine
torch.set_num_threads(1)
torch.manual_seed(0)
queries = torch.nn.functional.normalize(torch.randn(1000, 32), dim=-1)
candidates = torch.nn.functional.normalize(torch.randn(5000, 16, 32), dim=-1)
mine(queries[:1], candidates[:8], [0], NegativeSettings(), memory_budget=2**20)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
mining = mine(queries, candidates, torch.arange(1000), NegativeSettings(), memory_budget=48 * 2**20)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
result = mining.hard.indices.nbytes + mining.observations.by_share.nbytes * 2
print((after - before) / 1024, result / 2**20)
"""
    printed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    grown, result = map(float, printed.split())
    assert grown < 48 + 3 * result + 40

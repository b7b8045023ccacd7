import math

import numpy as np
import pytest
import torch

from qure.errors import BadInput
from qure.negatives import relevance
from qure.negatives.relevance import (
    BYTES_PER_PAIR,
    CANDIDATE_TILE,
    LEAST_RANKED,
    QUERY_TILE,
    default_budget,
    least_budget,
    queries_per_block,
    ranked_blocks,
    relevance_block,
)


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)


@pytest.mark.parametrize(("queries", "images", "tokens"), [(1, 1, 1), (3, 5, 2), (130, 1030, 4)])
def test_is_the_maximum_over_tokens_of_the_dot_product(queries: int, images: int, tokens: int) -> None:
    query, candidate = unit(queries, 16), unit(images, tokens, 16, seed=1)
    wanted = torch.einsum("qd,ntd->qnt", query.double(), candidate.double()).amax(-1)
    torch.testing.assert_close(relevance_block(query, candidate).double(), wanted, atol=1e-6, rtol=0)


def test_a_block_of_queries_scores_as_the_whole_to_the_last_bit() -> None:
    queries, candidates = unit(300, 64), unit(700, 8, 64, seed=1)
    whole = relevance_block(queries, candidates)
    assert torch.equal(whole[QUERY_TILE:], relevance_block(queries[QUERY_TILE:], candidates))
    assert torch.equal(whole[:1], relevance_block(queries[:1], candidates))


def test_an_image_scores_the_same_to_the_last_bit_however_many_are_left_over() -> None:
    """A product of one image is a product of a matrix with a vector, which sums in another order."""
    queries, candidates = unit(40, 64), unit(CANDIDATE_TILE + 3, 8, 64, seed=1)
    whole = relevance_block(queries, candidates)
    for left_over in (1, 2):
        assert torch.equal(
            relevance_block(queries, candidates[: CANDIDATE_TILE + left_over]), whole[:, : CANDIDATE_TILE + left_over]
        )


def test_autocast_does_not_lower_the_precision() -> None:
    queries, candidates = unit(4, 16), unit(9, 3, 16, seed=1)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        scores = relevance_block(queries, candidates)
    assert scores.dtype == torch.float32
    assert torch.equal(scores, relevance_block(queries, candidates))


def test_half_precision_candidates_are_scored_in_float32() -> None:
    queries, candidates = unit(4, 16), unit(9, 3, 16, seed=1).half()
    assert torch.equal(relevance_block(queries, candidates), relevance_block(queries, candidates.float()))


def test_the_budget_changes_the_blocks_and_nothing_else() -> None:
    queries, candidates = unit(3 * QUERY_TILE + 5, 16), unit(40, 4, 16, seed=1)
    tile = QUERY_TILE * 40 * BYTES_PER_PAIR
    small = list(ranked_blocks(queries, candidates, memory_budget=tile))
    large = list(ranked_blocks(queries, candidates, memory_budget=100 * tile))
    assert [block.rows.stop - block.rows.start for block in small] == [QUERY_TILE] * 3 + [5]
    assert len(large) == 1
    assert torch.equal(torch.cat([block.ranked.order for block in small]), large[0].ranked.order)
    assert torch.equal(torch.cat([block.ranked.scores for block in small]), large[0].ranked.scores)


def test_a_large_corpus_is_scored_together_and_ranked_a_few_queries_at_a_time() -> None:
    queries, candidates = unit(QUERY_TILE + 5, 16), unit(40, 4, 16, seed=1)
    (whole,) = ranked_blocks(queries, candidates)
    small = list(ranked_blocks(queries, candidates, memory_budget=least_budget(40)))
    assert {block.rows.stop - block.rows.start for block in small} == {LEAST_RANKED, 5}
    assert [block.rows.start for block in small[1:]] == [block.rows.stop for block in small[:-1]]
    assert small[-1].rows.stop == len(queries)
    assert torch.equal(torch.cat([block.ranked.order for block in small]), whole.ranked.order)
    assert torch.equal(torch.cat([block.ranked.scores for block in small]), whole.ranked.scores)


def test_a_budget_below_the_scores_of_one_tile_says_what_it_takes() -> None:
    needed = least_budget(6000)
    assert queries_per_block(6000, needed) == QUERY_TILE
    with pytest.raises(BadInput, match=f"at least {needed} bytes"):
        queries_per_block(6000, needed - 1)


def test_without_a_budget_a_corpus_takes_what_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relevance, "DEFAULT_MEMORY_BUDGET", 1000)
    blocks = list(ranked_blocks(unit(30, 16), unit(40, 4, 16, seed=1)))
    assert [block.rows.stop - block.rows.start for block in blocks] == [LEAST_RANKED, 30 - LEAST_RANKED]


@pytest.mark.parametrize(("free_gib", "mib"), [(0.5, 512), (1, 512), (3, 1536), (8, 4096), (80, 4096)])
def test_a_gpu_gives_half_of_what_is_free_within_bounds(
    free_gib: float, mib: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free_gib * 1024**3), 80 * 1024**3))
    assert default_budget(torch.device("cuda")) == mib * 1024**2
    assert default_budget(torch.device("cpu")) == 512 * 1024**2, "whatever a GPU beside it has"


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused_by_row(value: float) -> None:
    """Minus infinity in one token would otherwise hide behind the maximum over the others."""
    queries, candidates = unit(QUERY_TILE + 3, 8), unit(1100, 2, 8, seed=1)
    broken = candidates.clone()
    broken[1050, 1, 3] = value
    with pytest.raises(BadInput, match="row 1050: the candidate embedding is not finite"):
        list(ranked_blocks(queries, broken))
    with pytest.raises(BadInput, match="row 1050"):
        relevance_block(queries, broken)
    queries[QUERY_TILE + 1, 0] = value
    with pytest.raises(BadInput, match=f"row {QUERY_TILE + 1}: the query embedding is not finite"):
        list(ranked_blocks(queries, candidates))


def test_shapes_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="queries must be"):
        relevance_block(unit(2, 8), unit(3, 2, 9))
    with pytest.raises(ValueError, match="queries must be"):
        relevance_block(unit(2, 8), torch.from_numpy(np.zeros((3, 0, 8), dtype=np.float32)))

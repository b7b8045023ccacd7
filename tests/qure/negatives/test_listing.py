"""Blocks of membership as one list, and the GPU's way of mining, run here on the CPU, against the CPU's."""

import pytest
import torch

import qure.negatives.steep_drops
from qure.config import NegativeSettings
from qure.negatives.listing import Listing
from qure.negatives.mining import mine
from qure.negatives.relevance import CPU_TILES, Tiles
from qure.negatives.steep_drops import _first_pair_apart, _quick_steps, _take_largest, drops_after_target

CPU = torch.device("cpu")


def test_blocks_become_one_list_however_they_grow() -> None:
    generator = torch.Generator().manual_seed(0)
    # Few entries at first, many later: what the first block lets expect is far too little.
    blocks = [torch.rand(5, 40, generator=generator) < share for share in (0.05, 0.9, 0.0, 0.5)]
    with Listing(20, CPU) as listing:
        for block in blocks:
            listing.add(block, block.sum(1))
        hard = listing.hard()
    whole = torch.cat(blocks)
    assert len(hard) == 20
    assert [hard.of(row).tolist() for row in range(20)] == [row.nonzero()[:, 0].tolist() for row in whole]
    assert len(hard.indices) == int(whole.sum())
    hard._check()


@pytest.mark.parametrize("tiles", [CPU_TILES, Tiles(64, 50, tokens_at_once=True)])
def test_all_tokens_at_once_mine_the_same_sets(tiles: Tiles) -> None:
    generator = torch.Generator().manual_seed(1)

    def unit(*shape: int) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(*shape, generator=generator), dim=-1)

    queries, candidates = unit(150, 32), unit(170, 4, 32)
    targets = torch.arange(150)
    found = mine(queries, candidates, targets, NegativeSettings(), tiles=tiles).hard
    scores = torch.einsum("qd,ntd->qnt", queries.double(), candidates.double()).amax(-1)
    from qure.negatives.mining import negatives_from_scores

    wanted = negatives_from_scores(scores.float(), targets, NegativeSettings())[0]
    assert [found.of(row).tolist() for row in range(150)] == [wanted.of(row).tolist() for row in range(150)]


@pytest.mark.parametrize("threshold", [1, 3])
def test_steps_that_wait_for_no_answer_find_the_same_pairs(threshold: int, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(2)
    # Coarse scores have equal drops, smooth ones need many steps; some targets leave no drop at all.
    scores = torch.cat(
        [(torch.rand(40, 30, generator=generator) * 8).round() / 8, torch.linspace(1, 0, 30).repeat(4, 1) ** 2]
    )
    scores = scores.sort(dim=1, descending=True).values
    ranks = torch.cat([torch.arange(40) % 30, torch.tensor([0, 5, 28, 29])])
    wanted = _first_pair_apart(drops_after_target(scores, ranks), threshold, scores.shape[1])
    drops = drops_after_target(scores, ranks)
    previous = _take_largest(drops)[0]
    steps = qure.negatives.steep_drops.QUICK_STEPS
    start, end, pending, _ = _quick_steps(drops, previous, threshold, steps)
    done = ~pending
    assert pending.any()
    assert (start[done] >= 0).any()
    assert torch.equal(start[done], wanted[0][done])
    assert torch.equal(end[done], wanted[1][done])
    assert (start[pending] == -1).all()

"""Blocks of membership as one list, and the GPU's way of mining, run here on the CPU, against the CPU's."""

import threading
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

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


def test_the_list_has_room_for_the_queries_to_come() -> None:
    """Grown block by block, or once more at the end, it would lie in memory twice."""
    block = torch.ones(5, 4000, dtype=torch.bool)
    whole = 100 * 4000 * 4  # bytes
    with Listing(100, CPU) as listing:
        tracemalloc.start()
        try:
            for _ in range(20):
                listing.add(block, block.sum(1))
            hard = listing.hard()
            most = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert hard.indices.nbytes == whole
    assert whole < most < 1.5 * whole


class Events:
    """A GPU's stream as far as a listing asks it, on the CPU: its queue is empty, and it notes what it was asked.

    Copying a block waits until the one that is `ahead` of it is ranked, for `patience` seconds: so it is seen what
    overlaps.
    """

    def __init__(self) -> None:
        self.patience, self.ahead = 2.0, 1
        self.log: list[str] = []
        self.ranked = [threading.Event() for _ in range(9)]

    def record_event(self) -> int:
        number = sum(line.startswith("ranked") for line in self.log)
        self.log.append(f"ranked {number}")
        self.ranked[number].set()
        return number

    def wait_event(self, event: int) -> None:
        self.ranked[event + self.ahead].wait(self.patience)
        self.log.append(f"copying {event}")
        self.copying = event

    def synchronize(self) -> None:
        self.log.append(f"copied {self.copying}")


@pytest.fixture
def events(monkeypatch: pytest.MonkeyPatch) -> Events:
    made = Events()

    @contextmanager
    def stream(one: Events) -> Iterator[None]:
        assert one is made
        yield

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: made)
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: made)
    return made


def test_one_block_is_copied_from_a_gpu_while_one_is_ranked(events: Events) -> None:
    generator = torch.Generator().manual_seed(3)
    blocks = [torch.rand(4, 30, generator=generator) < 0.5 for _ in range(4)]
    with Listing(16, torch.device("cuda")) as listing:
        for block in blocks:
            listing.add(block, block.sum(1))
        events.ranked[len(blocks)].set()  # nothing more comes
        hard = listing.hard()
    whole = torch.cat(blocks)
    assert [hard.of(row).tolist() for row in range(16)] == [row.nonzero()[:, 0].tolist() for row in whole]
    steps = [("ranked 0",), *((f"ranked {n + 1}", f"copying {n}", f"copied {n}") for n in range(3))]
    assert events.log == [*(step for steps_ in steps for step in steps_), "copying 3", "copied 3"]
    assert not [one.name for one in threading.enumerate() if one.name.startswith("listing")]


def test_no_third_block_is_ranked_before_the_first_is_copied(events: Events) -> None:
    """Its columns would be a third that lie on the device."""
    events.patience, events.ahead = 0.3, 2
    block = torch.ones(4, 30, dtype=torch.bool)
    with Listing(16, torch.device("cuda")) as listing:
        for _ in range(3):
            listing.add(block, block.sum(1))
        listing.hard()
    assert events.log.index("copied 0") < events.log.index("ranked 2")


def test_a_copy_that_fails_ends_the_ranking(events: Events, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(event: int) -> None:
        raise RuntimeError("the device fell off the bus")

    monkeypatch.setattr(events, "wait_event", fail)
    block = torch.ones(4, 30, dtype=torch.bool)
    with Listing(8, torch.device("cuda")) as listing:
        listing.add(block, block.sum(1))
        with pytest.raises(RuntimeError, match="fell off the bus"):
            listing.add(block, block.sum(1))


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


@pytest.mark.parametrize("threshold", [0, 1, 3])
@pytest.mark.parametrize("steps", [1, 2, 8, 9, 29])
def test_a_walk_that_waits_for_no_answer_ends_as_one_that_does(threshold: int, steps: int) -> None:
    generator = torch.Generator().manual_seed(4)
    # Coarse and smooth scores, few of either and both.
    coarse = (torch.rand(40, 30, generator=generator) * 8).round() / 8
    smooth = torch.linspace(1, 0, 30).repeat(4, 1) ** 2
    # Fifteen drops side by side are larger than the one that lies apart: more steps than are quick.
    falls = torch.tensor([0.0, *range(40, 25, -1), *[0.5] * 8, 20.0, *[0.25] * 4])
    late = (torch.cat([torch.zeros(1), -falls.cumsum(0)]))[None]
    for rows in (coarse, smooth, late, torch.cat([coarse, smooth, late])):
        scores = rows.sort(dim=1, descending=True).values
        drops = drops_after_target(scores, torch.arange(len(rows)) % 30 * (rows[:, 0] > 0))
        asking, not_asking = (
            _first_pair_apart(drops.clone(), threshold, steps, asking=asking) for asking in (True, False)
        )
        assert torch.equal(torch.stack(asking), torch.stack(not_asking))
    if threshold:
        assert (int(asking[0][-1]), int(asking[1][-1])) == ((15, 24) if steps > 8 else (-1, -1))


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

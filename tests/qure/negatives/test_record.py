"""What is kept of a mining equals what a plain ranking says, over blocks, corpora and a file."""

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from qure.config import NegativeSettings
from qure.errors import BadInput
from qure.negatives.mining import Mining, concatenate, mine
from qure.negatives.record import BEST, HARD, load, positions_in, save
from qure.negatives.relevance import BYTES_PER_PAIR, QUERY_TILE, relevance_block
from qure.strategies import Range, Ranking, registry, strategy


def unit(*shape: int, seed: int = 0) -> torch.Tensor:
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed))
    return torch.nn.functional.normalize(values, dim=-1)


def mined(queries: int, size: int, seed: int = 0, budget: int | None = None) -> tuple[Mining, torch.Tensor]:
    asked, candidates = unit(queries, 16, seed=seed), unit(size, 3, 16, seed=seed + 1)
    targets = torch.arange(queries) % size
    found = mine(asked, candidates, targets, NegativeSettings(), recorded=True, memory_budget=budget)
    return found, relevance_block(asked, candidates)


@pytest.mark.parametrize("size", [30, 700])
def test_it_is_what_a_plain_ranking_says(size: int) -> None:
    queries = QUERY_TILE + 5
    mining, scores = mined(queries, size, budget=QUERY_TILE * size * BYTES_PER_PAIR)  # two blocks
    record = mining.record
    assert record is not None
    for row in (0, 7, QUERY_TILE, queries - 1):
        order = np.argsort(-scores[row].numpy(), kind="stable")
        assert record.best[row].tolist() == [*order[:BEST].tolist(), *[-1] * max(0, BEST - size)]
        assert np.array_equal(record.scores[row], scores[row].numpy()[order][positions_in(size)])
        assert record.target_rank[row] == order.tolist().index(row % size)
        hard = set(mining.hard.of(row).tolist())
        ranked = [(int(column), rank) for rank, column in enumerate(order) if int(column) in hard][:HARD]
        kept = list(zip(record.hard[row].tolist(), record.hard_ranks[row].tolist(), strict=True))
        assert kept == ranked + [(-1, -1)] * (HARD - len(ranked))
        assert record.size[row] == len(hard)
        assert record.corpus_size[row] == size
    without = record.start < 0
    assert np.count_nonzero(~without) > 0
    assert np.isnan(record.edges[without]).all()
    for row in np.flatnonzero(~without):
        start, end = int(record.start[row]), int(record.end[row])
        edges = np.sort(scores[row].numpy())[::-1][[start, start + 1, end, end + 1]]
        assert np.array_equal(record.edges[row], edges)
        assert edges[0] - edges[1] > 0


@pytest.mark.parametrize("size", [1, 199, 200, 201, 237, 238, 400, 401, 1000, 1600, 1601, 7000])
def test_relevance_is_kept_densely_and_then_at_every_quarter_octave(size: int) -> None:
    dense = list(range(min(size, 200)))
    # The fourth power of the place: of whole numbers, so that no logarithm decides about a rank at the end.
    further = [rank for rank in range(201, size) if any(rank**4 <= 200**4 * 2**k < (rank + 1) ** 4 for k in range(40))]
    assert positions_in(size).tolist() == dense + further


def test_several_corpora_become_one(tmp_path: Path) -> None:
    (one, _), (other, _) = mined(4, 30), mined(3, 700, seed=5)
    rows = [[0, 2, 4, 6], [1, 3, 5]]
    joint = concatenate([one, other], [0, 30], rows).record
    assert joint is not None
    assert one.record is not None
    assert other.record is not None
    for place, row in enumerate(rows[1]):
        assert joint.best[row].tolist() == (other.record.best[place] + 30).tolist()
        assert np.array_equal(joint.scores[row], other.record.scores[place])
    for place, row in enumerate(rows[0]):
        assert joint.best[row][:30].tolist() == one.record.best[place][:30].tolist()
        assert joint.best[row][30:].tolist() == [-1] * 20
        assert np.isnan(joint.scores[row][30:]).all()
    file = tmp_path / "record.safetensors"
    images = [f"i{number}" for number in range(730)]
    save(file, joint, queries=[f"q{number}" for number in range(7)], images=images)
    kept = load(file)
    assert np.array_equal(kept.record.scores, joint.scores, equal_nan=True)
    assert kept.queries[6] == "q6"
    assert kept.named(joint.best[1][:2]) == [images[column] for column in joint.best[1][:2]]
    assert kept.named([0, 3, -1]) == ["i0", "i3"]


def test_a_drop_behind_the_very_first_image_has_its_edges(monkeypatch: pytest.MonkeyPatch) -> None:
    """Published strategies have none there; one of a user's may."""
    monkeypatch.setattr(registry, "_registered", dict(registry._registered))

    @strategy("behind_the_first")
    def chosen(ranking: Ranking) -> Range:
        start = torch.zeros_like(ranking.target_ranks)
        return Range(start + 1, start + 4, start, start + 3)

    scores = torch.tensor([0.9, 0.5, 0.45, 0.44, 0.2, 0.1])
    candidates = torch.stack([scores, (1 - scores**2).sqrt()], dim=1)[:, None]
    settings = NegativeSettings(strategy="behind_the_first")
    mining = mine(torch.tensor([[1.0, 0.0]]), candidates, [5], settings, recorded=True)
    assert mining.record is not None
    assert (mining.record.start.tolist(), mining.record.end.tolist()) == ([0], [3])
    assert mining.record.edges[0].tolist() == pytest.approx([0.9, 0.5, 0.44, 0.2])
    assert mining.statistics["drops_share"] == 1


def test_unasked_nothing_is_kept() -> None:
    assert mine(unit(3, 8), unit(5, 2, 8), [0, 1, 2], NegativeSettings()).record is None


def test_damaged_records_are_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="does not exist"):
        load(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"\x10\0\0\0\0\0\0\0{}")
    with pytest.raises(BadInput, match="not a whole record"):
        load(tmp_path / "cut.safetensors")
    save_file({"size": np.array([3])}, tmp_path / "other.safetensors", metadata={"format": "pt"})
    with pytest.raises(BadInput, match=r"other\.safetensors: is no record of a mining.*Train the model again"):
        load(tmp_path / "other.safetensors")

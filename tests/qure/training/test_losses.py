"""Losses against their definitions, against the published one's recorded value, and against a worked case."""

import os
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.nn import functional

from qure.training.losses import bradley_terry, contrastive, pairs_won


def test_equals_the_published_loss(reference_folder: Path) -> None:
    file = Path(os.environ.get("QURE_MODEL_GOLDEN") or reference_folder / "model-golden.safetensors")
    golden = load_file(file)
    for kind, tolerance in (("out", 1e-6), ("out64", 1e-9)):
        scores = golden[f"golden.{kind}.scores"]
        loss = bradley_terry(scores[:, 0], scores[:, 1:]).mean()
        assert loss.item() == pytest.approx(golden[f"golden.{kind}.loss"].item(), abs=tolerance)


def test_is_the_divergence_from_the_certain_preference() -> None:
    scores = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    certain = torch.tensor([1.0, 0.0]).expand(7, 2)
    divergence = functional.kl_div(functional.log_softmax(scores, dim=1), certain, reduction="batchmean")
    assert torch.allclose(bradley_terry(scores[:, 0], scores[:, 1:]).mean(), divergence)


@given(st.lists(st.floats(-50, 50, width=32), min_size=2, max_size=2))
def test_one_negative_means_the_same_in_both_readings(pair: list[float]) -> None:
    positive, negative = torch.tensor(pair[:1]), torch.tensor([pair[1:]])
    assert torch.allclose(bradley_terry(positive, negative), bradley_terry(positive, negative, several="softmax"))


@pytest.mark.parametrize("several", ["mean", "softmax"])
def test_masked_negatives_neither_count_nor_pull(several: str) -> None:
    positive = torch.tensor([1.0, 2.0])
    negative = torch.tensor([[0.5, 9.0], [1.5, 0.0]], requires_grad=True)
    mask = torch.tensor([[True, False], [True, True]])
    losses = bradley_terry(positive, negative, mask, several=several)  # type: ignore[arg-type]
    alone = bradley_terry(positive[:1], torch.tensor([[0.5]]), several=several)  # type: ignore[arg-type]
    assert torch.allclose(losses[0], alone[0])
    losses.sum().backward()
    assert negative.grad is not None
    assert negative.grad[0, 1] == 0
    assert (negative.grad[mask] > 0).all()


def test_a_query_without_negatives_costs_nothing_and_stays_finite() -> None:
    positive = torch.tensor([3.0], requires_grad=True)
    none = torch.zeros(1, 2, dtype=torch.bool)
    for several in ("mean", "softmax"):
        loss = bradley_terry(positive, torch.tensor([[1.0, 2.0]]), none, several=several)
        assert loss.item() == 0
        (gradient,) = torch.autograd.grad(loss.sum(), positive)
        assert gradient.item() == 0


def test_extreme_differences_stay_finite() -> None:
    losses = bradley_terry(torch.tensor([-1e4, 1e4]), torch.tensor([[1e4], [-1e4]]))
    assert losses.tolist() == [2e4, 0.0]


def test_contrast_masks_other_rows_with_the_same_image_but_never_the_own() -> None:
    scores = torch.tensor([[2.0, 2.0, 0.0], [2.0, 2.0, 0.0], [0.0, 1.0, 4.0]])
    images = torch.tensor([5, 5, 6])
    mask = images[None, :] != images[:, None]
    losses = contrastive(scores, torch.arange(3), mask)
    expected = torch.tensor([2.0, 2.0, 4.0]) - torch.stack(
        [torch.logsumexp(row, 0) for row in (scores[0, [0, 2]], scores[1, [1, 2]], scores[2])]
    )
    assert torch.allclose(losses, -expected)


def test_ties_are_not_won() -> None:
    won, pairs = pairs_won(torch.tensor([1.0]), torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[True, True, False]]))
    assert (won.item(), pairs.item()) == (1, 2)

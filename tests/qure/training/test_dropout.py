"""Batch-wide dropout: the same units drop however a batch is shared, in proportion to p, also when recomputed."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.checkpoint import checkpoint

from qure.training.dropout import BatchDropout


class Attentive(nn.Module):
    """One attention with dropout, then a plain dropout, as in a Q-Former layer."""

    def forward(self, values: Tensor, mask: Tensor | None = None) -> Tensor:
        heads = values[:, None]
        attended = functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=mask, dropout_p=0.4)
        return functional.dropout(attended[:, 0], 0.3)


@pytest.fixture
def values() -> Tensor:
    return torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(0))


def run(values: Tensor, rows: list[int], batch: int) -> Tensor:
    torch.manual_seed(1)
    with BatchDropout(torch.tensor(rows), batch):
        return Attentive()(values)


def test_parts_of_a_batch_drop_what_the_whole_batch_drops(values: Tensor) -> None:
    whole = run(values, list(range(6)), 6)
    parts = [run(values[rows], rows, 6) for rows in ([0, 1], [2, 3], [4, 5])]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-6)
    assert not torch.allclose(torch.cat([run(values[rows], [0, 1], 2) for rows in ([0, 1], [2, 3], [4, 5])]), whole)


def test_candidates_are_rounds_of_the_rows(values: Tensor) -> None:
    # Whole batch of 3 with one negative each: rows are targets 0-2, then negatives 0-2.
    whole = run(values, [0, 1, 2], 3)
    first, second = run(values[[0, 1, 3, 4]], [0, 1], 3), run(values[[2, 2, 5, 5]], [2, 2], 3)
    assert torch.allclose(torch.stack([first[0], first[1], second[0]]), whole[:3], atol=1e-6)
    assert torch.allclose(torch.stack([first[2], first[3], second[2]]), whole[3:], atol=1e-6)


def test_drops_in_proportion_and_keeps_the_mean() -> None:
    torch.manual_seed(0)
    ones = torch.ones(50, 2000)
    with BatchDropout(torch.arange(50), 50):
        dropped = functional.dropout(ones, 0.1)
    assert (dropped == 0).float().mean().item() == pytest.approx(0.1, abs=0.005)
    assert dropped.mean().item() == pytest.approx(1.0, abs=0.005)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.9])


@pytest.mark.parametrize("boolean", [True, False])
def test_attention_without_drops_is_the_fused_one(values: Tensor, boolean: bool) -> None:
    heads = values[:, None]
    visible = torch.arange(5) < torch.tensor([5, 4, 3, 2, 1, 5])[:, None]
    mask = visible[:, None, None, :]
    given = mask if boolean else torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
    fused = functional.scaled_dot_product_attention(heads, heads, heads, attn_mask=given, scale=0.7)
    with BatchDropout(torch.arange(6), 6):
        written = functional.scaled_dot_product_attention(
            heads, heads, heads, attn_mask=given, dropout_p=1e-12, scale=0.7
        )
    assert torch.allclose(written, fused, atol=1e-6)


def test_attention_that_looks_ahead_is_not_written_out(values: Tensor) -> None:
    heads = values[:, None]
    with BatchDropout(torch.arange(6), 6), pytest.raises(NotImplementedError, match="causal"):
        functional.scaled_dot_product_attention(heads, heads, heads, dropout_p=0.4, is_causal=True)


def test_evaluation_mode_drops_nothing(values: Tensor) -> None:
    with BatchDropout(torch.arange(6), 6):
        assert functional.dropout(values, 0.5, training=False) is values


def test_recomputed_layers_drop_the_same(values: Tensor) -> None:
    gradients = []
    for recompute in (False, True):
        leaf = values.clone().requires_grad_()
        torch.manual_seed(2)
        with BatchDropout(torch.arange(6), 6) as mode:
            layer = Attentive()
            again = leaf
            for _ in range(2):
                kept = {"use_reentrant": False, "context_fn": mode.contexts}
                again = checkpoint(layer, again, **kept) if recompute else layer(again)
            again.square().sum().backward()
        assert leaf.grad is not None
        gradients.append(leaf.grad)
    assert torch.equal(*gradients)

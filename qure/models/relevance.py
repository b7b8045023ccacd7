"""Relevance, defined once: what training's loss, mining and exact ranking compute blocks of."""

import torch


def relevance(queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """Relevance of every candidate to every query: the largest of its T tokens' dot products (paper, eq. 2).

    Args:
        queries: (Q, D).
        candidates: (N, T, D).

    Returns:
        (Q, N) in the arguments' dtype, fp32 at least, also under autocast: half precision would make close scores tie.
        Q x N x T numbers are held at once: hand over blocks.

    >>> queries = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
    >>> candidates = torch.tensor([[[0.6, 0.8], [0.0, -1.0]], [[-1.0, 0.0], [0.8, -0.6]]])
    >>> relevance(queries, candidates)
    tensor([[0.6000, 0.8000],
            [0.8000, 0.0000]])
    """
    with torch.autocast(queries.device.type, enabled=False):
        flat = at_least_fp32(candidates).flatten(0, 1)  # (N * T, D)
        products = at_least_fp32(queries) @ flat.T  # (Q, N * T)
        return products.unflatten(1, tuple(candidates.shape[:2])).amax(dim=-1)


def at_least_fp32(values: torch.Tensor) -> torch.Tensor:
    """Half-precision numbers as fp32; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values

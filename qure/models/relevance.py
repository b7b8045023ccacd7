"""Relevance, defined once: what training's loss, mining and exact ranking compute blocks of."""

import torch

#: Largest relative error of one rounding: to single precision, and to what `torch.set_float32_matmul_precision` may
#: have allowed instead (TF32, bf16).
_ROUNDING = {"highest": 2.0**-24, "high": 2.0**-11, "medium": 2.0**-8}


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
        return largest_products(at_least_fp32(queries), at_least_fp32(candidates))


def largest_products(queries: torch.Tensor, candidates: torch.Tensor) -> torch.Tensor:
    """`relevance` in the arguments' own precision, outside autocast: for thousands of small blocks."""
    products = queries @ candidates.flatten(0, 1).T  # (Q, N * T)
    return products.unflatten(1, tuple(candidates.shape[:2])).amax(dim=-1)


def fp32_error(dimension: int) -> float:
    """How far relevance summed in fp32 can lie from the exact one, as a share of |query| * |longest token|.

    A sum of D products is off by no more than D roundings (Higham, Accuracy and Stability of Numerical Algorithms,
    section 3.1), the exact score is rounded once itself; twice that, to be on the safe side.

    >>> fp32_error(256) < 1e-4
    True
    """
    return 2 * (dimension + 2) * _ROUNDING[torch.get_float32_matmul_precision()]


def at_least_fp32(values: torch.Tensor) -> torch.Tensor:
    """Half-precision numbers as fp32; others as they are."""
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values

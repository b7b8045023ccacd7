"""Exact search of a gallery that is held in memory: evaluation's order at the price of one pass in single precision."""

from collections.abc import Sequence

import torch
from torch import Tensor

from qure.models.relevance import fp32_error, relevance

#: Candidates whose products are held at once.
BLOCK = 4096
#: Queries that share a pass over the gallery.
QUERIES = 32


class FlatIndex:
    """Finds the best candidates of a query, in the order and with the scores of `qure.evaluation.ranking.scores`.

    All candidates are scored in fp32, straight from where they lie. A sum of D products in fp32 is off by no more than
    D roundings of |query| * |candidate|; whatever could still be among the best within that bound is scored again in
    float64 and rounded to fp32, as evaluation does it. These are a few more candidates than were asked for.

    Args:
        vectors: (N, T, D), finite, on the device that searches; held in fp32, converted once where they are not.
    """

    def __init__(self, vectors: Tensor) -> None:
        self._vectors = vectors.float()
        self._longest = max(float(block.norm(dim=2).amax()) for block in self._vectors.split(BLOCK))

    @torch.no_grad()
    def search(
        self, queries: Tensor, counts: Sequence[int], columns: Sequence[Tensor | None]
    ) -> list[tuple[Tensor, Tensor]]:
        """The best candidates of each query.

        Args:
            queries: (Q, D).
            counts: how many candidates each query gets; it gets all when there are fewer.
            columns: the candidates of each query, int64 in the order that decides between equal scores; None: all N
                in their own order.

        Returns:
            for each query the columns (k,) int64 and their scores (k,) fp32 on the CPU, best first.
        """
        queries, found = queries.to(self._vectors.device, torch.float32), []
        for start in range(0, len(queries), QUERIES):
            part = queries[start : start + QUERIES]
            rough = torch.cat([relevance(part, block) for block in self._vectors.split(BLOCK)], dim=1)  # (q, N)
            for row, query in enumerate(part):
                found.append(self._best(query, rough[row], counts[start + row], columns[start + row]))
        return found

    def _best(self, query: Tensor, rough: Tensor, count: int, columns: Tensor | None) -> tuple[Tensor, Tensor]:
        """From rough scores (N,) to the best columns (k,) and their exact scores."""
        if columns is not None:
            columns = columns.to(rough.device)
            rough = rough[columns]
        count = min(count, len(rough))
        if not count:
            return torch.empty(0, dtype=torch.int64), torch.empty(0)
        least = rough.topk(count).values[-1] - 2 * self._error(query)
        places = (rough >= least).nonzero()[:, 0]  # ascending: equal scores keep their order
        chosen = places if columns is None else columns[places]
        exact = torch.cat([self._exact(query, block) for block in chosen.split(BLOCK)])
        scores, order = exact.sort(descending=True, stable=True)
        return chosen[order[:count]].cpu(), scores[:count].cpu()

    def _exact(self, query: Tensor, columns: Tensor) -> Tensor:
        return relevance(query.double()[None], self._vectors[columns].double())[0].float()

    def _error(self, query: Tensor) -> float:
        """How far a rough score can lie from the exact one."""
        return fp32_error(self._vectors.shape[2]) * float(query.norm()) * self._longest

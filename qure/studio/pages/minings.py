"""Minings: the relevance curve of any training query at each mining, its two drops, and the pictures in H."""

from typing import Any

import numpy as np
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from qure.errors import BadInput
from qure.negatives.record import Kept
from qure.studio.studio import Missing, Studio, address, whole_number

#: Size of the drawing, and what is left around the curve, in units of the drawing.
WIDTH, HEIGHT, MARGIN = 900, 300, 44
#: Queries listed on a page.
PAGE = 40


def routes(studio: Studio) -> list[Route]:
    """/minings lists queries; with `query` it shows one."""

    def page(request: Request) -> Response:
        epochs = list(studio.project.minings())
        if not epochs:
            return studio.page("minings_none")
        epoch = _epoch(request.query_params.get("epoch"), epochs)
        kept = studio.project.mining(epoch)
        wanted = request.query_params.get("query")
        queries = studio.project.training_queries
        if wanted is None:
            return _listing(studio, request, kept, epoch)
        if wanted not in kept.queries or wanted not in queries:
            raise Missing("That query was not mined for; it may be one of those held out.")
        row = kept.queries.index(wanted)
        return studio.page(
            "minings_query",
            query=queries[wanted],
            epoch=epoch,
            epochs=[(one, address("/minings", epoch=one, query=wanted)) for one in epochs],
            ranks=_ranks(kept, row),
            strategy=studio.project.mining_strategy(epoch),
            curve=curve(kept, row),
            hard=[
                {"id": image, "rank": int(rank) + 1}
                for image, rank in zip(kept.named(kept.record.hard[row]), kept.record.hard_ranks[row], strict=False)
            ],
            around=kept.named(kept.record.best[row][:12]),
            listing=address("/minings", epoch=epoch),
        )

    return [Route("/minings", page)]


def _listing(studio: Studio, request: Request, kept: Kept, epoch: int) -> Response:
    words = request.query_params.get("words", "")[:100].lower()
    queries = studio.project.training_queries
    listed = [
        (row, queries[name])
        for row, name in enumerate(kept.queries)
        if name in queries and (words in name.lower() or words in queries[name].text.lower())
    ]
    return studio.page(
        "minings_list",
        epoch=epoch,
        epochs=[(one, address("/minings", epoch=one)) for one in studio.project.minings()],
        words=words,
        count=len(listed),
        queries=[
            {
                "query": query,
                "ranks": _ranks(kept, row),
                "address": address("/minings", epoch=epoch, query=query.query_id),
            }
            for row, query in listed[:PAGE]
        ],
    )


def _epoch(value: str | None, epochs: list[int]) -> int:
    if value is None:
        return epochs[-1]
    number = whole_number(value)
    if number is None or number not in epochs:
        known = ", ".join(map(str, epochs))
        raise BadInput(f"no mining before epoch {value[:10]!r} is kept", field="epoch", remedy=f"There are {known}")
    return number


def _ranks(kept: Kept, row: int) -> dict[str, int]:
    """A query's numbers; ranks from 1, 0 where there is no drop."""
    record = kept.record
    return {
        "target": int(record.target_rank[row]) + 1,
        "start": int(record.start[row]) + 1,
        "end": int(record.end[row]) + 1,
        "first": int(record.first[row]) + 1,
        "last": int(record.last[row]) + 1,
        "size": int(record.size[row]),
        "corpus": int(record.corpus_size[row]),
    }


def curve(kept: Kept, row: int) -> dict[str, Any]:
    """A query's relevance by rank, as the drawing takes it: ranks on a logarithmic axis.

    Returns:
        `points` of the curve, `target` (x, y), `drops` (x of either, after the rank that it follows), `hard` (x, width)
        of the ranks from the first to the last image of H, `ranks` and `values` to be written at the axes.
    """
    record = kept.record
    scores = record.scores[row]
    known = np.isfinite(scores)
    ranks, values = record.positions[known].astype(float), scores[known].astype(float)
    target, start, end = (int(numbers[row]) for numbers in (record.target_rank, record.start, record.end))
    if start >= 0:  # where ranks are kept sparsely, a drop would look like a slope
        at = np.array([start, start + 1, end, end + 1], dtype=float)
        ranks, places = np.unique(np.concatenate([ranks, at]), return_index=True)
        values = np.concatenate([values, record.edges[row].astype(float)])[places]
    low, high = float(values.min()), float(values.max())
    widest = np.log1p(float(record.corpus_size[row] - 1)) or 1.0

    def across(rank: float) -> float:
        return round(MARGIN + (WIDTH - 2 * MARGIN) * float(np.log1p(rank)) / widest, 1)

    def down(value: float) -> float:
        share = (value - low) / (high - low) if high > low else 0.5
        return round(HEIGHT - MARGIN - (HEIGHT - 2 * MARGIN) * share, 1)

    drops = [across(start + 0.5), across(end + 0.5)] if start >= 0 else []
    left, right = across(max(float(record.first[row]) - 0.5, 0.0)), across(float(record.last[row]) + 0.5)
    marks = [1, *(10**power for power in range(1, 7) if 10**power <= record.corpus_size[row])]
    return {
        "width": WIDTH,
        "height": HEIGHT,
        "margin": MARGIN,
        "points": " ".join(f"{across(rank)},{down(value)}" for rank, value in zip(ranks, values, strict=True)),
        "target": (across(target), down(float(np.interp(target, ranks, values)))),
        "drops": drops,
        "hard": (left, round(min(right, WIDTH - MARGIN) - left, 1)),
        "ranks": [(across(mark - 1), mark) for mark in marks],
        "values": [(down(value), f"{value:.2f}") for value in (low, (low + high) / 2, high)],
    }

"""What a mining shows about itself: how large the sets are, where in the ranking they lie, how often it fell back.

On bell-shaped scores the two steepest drops lie in the far tail, where images are easy and teach nothing. A run that
trains on such sets looks healthy (its loss falls to zero), so every mining says where its sets are.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from qure.negatives.selection import Fallback, Selection
from qure.negatives.sets import Integers

#: Equal parts of a ranking, from the best to the worst rank.
SHARE_BINS = 50

#: Ranks after the target at which the bins of the second histogram begin (1 = the target's successor); before them a
#: bin for what ranks above the target. Fixed, so that minings and corpora of any size can be laid side by side.
AFTER_TARGET_EDGES = (1, 2, 3, 6, 11, 21, 51, 101, 201, 501, 1001, 2001, 5001, 10001)

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

#: Of the images after the target, the share that may rank before the median set begins. A set that begins later
#: leaves out every image that the model can still confuse with the target; one draw in ten from all images after the
#: target is nearer.
TAIL_BEGINS = 0.10

#: The same for the middle of the median set between two drops. Draws from everything after the target have theirs at
#: one half: a set that begins near the target but reaches into the tail is not hard either.
MIDDLE_IN_TAIL = 0.25

#: Share of queries without a range of their own from which the strategy is hardly what trains the model.
MANY_FALLBACKS = 0.05


@dataclass(frozen=True)
class Observations:
    """Per query, in the order of the queries.

    Attributes:
        corpus_size, target_rank, size: (Q,) int64.
        first, last: (Q,) int64, 0-based ranks of the first and last image selected.
        start, end: (Q,) int64, ranks of the two steep drops, -1 = none.
        fallback: (Q,) int64, values of `Fallback`.
        by_share: (Q, SHARE_BINS) int32, selected images in each part of the ranking.
        by_distance: (Q, len(AFTER_TARGET_EDGES) + 1) int32, selected images above the target and in each bin after it.
    """

    corpus_size: Integers
    target_rank: Integers
    size: Integers
    first: Integers
    last: Integers
    start: Integers
    end: Integers
    fallback: Integers
    by_share: NDArray[np.int32]
    by_distance: NDArray[np.int32]

    @classmethod
    def concatenate(cls, parts: Sequence["Observations"]) -> "Observations":
        """Those of several blocks or corpora, one after the other."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))

    def take(self, rows: Integers) -> "Observations":
        """Those of some queries, in that order."""
        return Observations(*(getattr(self, field.name)[rows] for field in fields(self)))


def observe(chosen: Selection) -> Observations:
    """Ranks, sizes and histograms of a block of queries."""
    places = chosen.places
    queries, corpus_size = chosen.members.shape
    device = chosen.members.device
    parts = torch.arange(SHARE_BINS + 1, device=device) * corpus_size // SHARE_BINS
    by_share = places.below(parts[None]).diff(dim=1)
    edges = torch.tensor(AFTER_TARGET_EDGES, device=device)
    distances = (chosen.target_ranks[:, None] + edges).clamp(max=corpus_size)
    counts = places.below(torch.nn.functional.pad(distances, (0, 1), value=corpus_size))
    by_distance = torch.cat([counts[:, :1], counts.diff(dim=1)], dim=1)

    def host(values: torch.Tensor) -> NDArray[Any]:
        return values.cpu().numpy()

    return Observations(
        corpus_size=np.full(queries, corpus_size, dtype=np.int64),
        target_rank=host(chosen.target_ranks),
        size=host(chosen.sizes),
        first=host(places.first()),
        last=host(places.last()),
        start=host(chosen.start),
        end=host(chosen.end),
        fallback=host(chosen.fallback),
        by_share=host(by_share),
        by_distance=host(by_distance),
    )


def statistics_of(seen: Observations) -> dict[str, Any]:
    """A summary that JSON can hold.

    Keys: `queries`; `corpus_size` (smallest, largest); `size`; `target_rank` (0 = first) and `target_share` of the
    list; `first_after_target` and `last_after_target` (ranks counted from the target, 1 = its successor, negative =
    above it); `first_share_after_target` (share of the images after the target that rank before the set's first) and
    `middle_share_after_target` (before the middle between its first and last);
    `first_share_of_list`, `last_share_of_list`; each with mean and quantiles. `fallback`: counts and their share;
    `drops_share`: share of the queries with two steep drops.
    `by_share_of_list` and `by_distance`: where one draw comes from, as probabilities (the mean over queries of the
    share of their set in each bin).
    """
    after = seen.corpus_size - 1 - seen.target_rank
    skipped = np.clip(seen.first - seen.target_rank - 1, 0, None)
    middle = np.clip((seen.first + seen.last) / 2 - seen.target_rank - 1, 0, None)
    fallen = {kind.name.lower(): int((seen.fallback == kind).sum()) for kind in Fallback if kind != Fallback.NONE}
    return {
        "queries": len(seen.size),
        "corpus_size": [int(seen.corpus_size.min()), int(seen.corpus_size.max())],
        "size": _summary(seen.size),
        "target_rank": _summary(seen.target_rank),
        "target_share": _summary(seen.target_rank / seen.corpus_size),
        "first_after_target": _summary(seen.first - seen.target_rank),
        "last_after_target": _summary(seen.last - seen.target_rank),
        "first_share_after_target": _summary(skipped / np.maximum(after, 1)),
        "middle_share_after_target": _summary(middle / np.maximum(after, 1)),
        "first_share_of_list": _summary(seen.first / seen.corpus_size),
        "last_share_of_list": _summary(seen.last / seen.corpus_size),
        "fallback": {**fallen, "share": sum(fallen.values()) / len(seen.size)},
        "drops_share": float((seen.start >= 0).mean()),
        "by_share_of_list": {"bins": SHARE_BINS, "probability": _draw_probability(seen.by_share)},
        "by_distance": {"edges": list(AFTER_TARGET_EDGES), "probability": _draw_probability(seen.by_distance)},
    }


def findings(statistics: dict[str, Any]) -> list[str]:
    """What a user must hear about a mining; empty when there is nothing. Each is one sentence for log and report."""
    found = []
    median = statistics["first_share_after_target"]["q50"]
    # Strategies without drops do not know the window.
    remedy = ": set negatives.search_window, for example to 50" if statistics["drops_share"] > 0 else ""
    if median > TAIL_BEGINS:
        found.append(
            f"hard negatives lie in the tail: half of the sets begin after {median:.1%} or more of the images that "
            f"rank below the target (median: {statistics['first_after_target']['q50']:.0f} ranks after it; more than "
            f"{TAIL_BEGINS:.0%} counts as tail). These are easy images{remedy}"
        )
    elif statistics["drops_share"] > 0.5 and statistics["middle_share_after_target"]["q50"] > MIDDLE_IN_TAIL:
        found.append(
            f"hard negatives reach into the tail: the middle of half of the sets lies after "
            f"{statistics['middle_share_after_target']['q50']:.0%} or more of the images that rank below the target, "
            f"where random draws have theirs after 50%: set negatives.search_window, for example to 50"
        )
    fallen = statistics["fallback"]
    if fallen["share"] > MANY_FALLBACKS:
        found.append(
            f"{fallen['share']:.0%} of the queries have no range of their own and fell back to all images after the "
            f"target ({fallen['after_target']}) or the whole corpus ({fallen['whole_corpus']})"
        )
    return found


def metrics(statistics: dict[str, Any]) -> dict[str, float]:
    """The numbers of a mining that are worth a curve over the run, by flat name.

    >>> sorted(metrics({"size": {"mean": 1.0, "q50": 1.0}, "first_after_target": {"q50": 2.0},
    ...     "first_share_after_target": {"q50": 0.1}, "target_rank": {"q50": 0.0}, "fallback": {"share": 0.0}}))[:2]
    ['negatives_fallback_share', 'negatives_first_after_target_median']
    """
    return {
        "negatives_size_mean": statistics["size"]["mean"],
        "negatives_size_median": statistics["size"]["q50"],
        "negatives_first_after_target_median": statistics["first_after_target"]["q50"],
        "negatives_first_share_after_target_median": statistics["first_share_after_target"]["q50"],
        "negatives_target_rank_median": statistics["target_rank"]["q50"],
        "negatives_fallback_share": statistics["fallback"]["share"],
    }


def _summary(values: NDArray[Any]) -> dict[str, float]:
    quantiles = np.quantile(values, QUANTILES)
    named = {f"q{round(share * 100):02d}": float(value) for share, value in zip(QUANTILES, quantiles, strict=True)}
    return {"mean": float(np.mean(values)), **named}


def _draw_probability(counts: NDArray[np.int32]) -> list[float]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    return [float(share) for share in shares.mean(axis=0)]

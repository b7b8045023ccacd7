"""What lies between the two steep drops of the evaluated model's rankings, for people to look at (figures 6-8).

The published strategy on the benchmark's own queries and gallery, whichever strategy the training used: what would be
chosen as negatives if the model were trained on.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qure.config import NegativeSettings
from qure.datasets.types import Gallery, Triplet
from qure.evaluation.ranking.embeddings import Embeddings, Floats, Indices
from qure.evaluation.ranking.scores import columns_of, query_vectors, score_rows
from qure.files import read_json, write_json
from qure.negatives.mining import CurveExample
from qure.negatives.ranked import Ranked
from qure.negatives.selection import select
from qure.negatives.statistics import observe

#: Queries that are ranked, and how many typical ones of them are shown.
RANKED, SHOWN = 64, 2
#: Negatives of a set that are kept to be shown, spread over it.
KEPT = 20
FILE, PICTURE = "hard-negatives.json", "steep-drops.png"


@dataclass(frozen=True, slots=True)
class DrawnRanking:
    """One query's ranking with its set.

    Attributes:
        triplet: the query.
        curve: sorted scores, target, drops, and which ranks the set takes.
        negatives: (image, 0-based rank, score) of the whole set, best first.
    """

    triplet: Triplet
    curve: CurveExample
    negatives: list[tuple[str, int, float]]


def typical_rankings(
    triplets: Sequence[Triplet],
    gallery: Gallery,
    queries: Embeddings,
    candidates: Embeddings,
    negatives: NegativeSettings,
    *,
    device: str = "cpu",
) -> list[DrawnRanking]:
    """Of some queries spread over the benchmark those whose set is nearest the mean size: neither pretty nor strange.

    Args:
        triplets: queries with targets in `gallery`.
        gallery: their candidates.
        queries, candidates: embeddings of both.
        negatives: which two drops, and within how many ranks after the target; its strategy is not looked at.
        device: where scores are computed.

    Returns:
        at most two; none without queries, and none in a gallery of one image, where nothing can be a negative.
    """
    if not triplets or len(gallery.ids) < 2:
        return []
    places = np.unique(np.linspace(0, len(triplets) - 1, min(RANKED, len(triplets))).round().astype(np.int64))
    asked = [triplets[place] for place in places]
    vectors = query_vectors(queries, [one.query_id for one in asked])
    targets = columns_of([str(one.target) for one in asked], gallery.ids, what="target")
    parts = [rows for _, rows in score_rows(vectors, candidates, gallery.ids, device=device, title=gallery.name)]
    found = rankings(asked, gallery, np.concatenate(parts), targets, negatives)
    mean = np.mean([len(one.negatives) for one in found])
    nearest = sorted(found, key=lambda one: (one.curve.start < 0, abs(len(one.negatives) - mean), one.curve.query))
    return nearest[:SHOWN]


def rankings(
    triplets: Sequence[Triplet],
    gallery: Gallery,
    scores: Floats,
    targets: Indices,
    negatives: NegativeSettings,
) -> list[DrawnRanking]:
    """The rankings of Q queries.

    Args:
        triplets: Q.
        gallery: N images.
        scores: (Q, N).
        targets: (Q,) columns.
        negatives: as `typical_rankings`.
    """
    rule = negatives.with_strategy("between_steep_drops")
    ranked = Ranked(torch.from_numpy(scores))
    selection = select(ranked, torch.from_numpy(targets), rule)
    seen = observe(selection)
    result = []
    for row, triplet in enumerate(triplets):
        members = selection.members[row]
        curve = CurveExample(
            query=_number(triplet.query_id),
            scores=ranked.scores[row].numpy(),
            target_rank=int(seen.target_rank[row]),
            start=int(seen.start[row]),
            end=int(seen.end[row]),
            first=int(seen.first[row]),
            last=int(seen.last[row]),
            negatives=members.nonzero()[:, 0].numpy(),
        )
        chosen = [
            (gallery.ids[column], place, float(ranked.scores[row, place]))
            for place, column in enumerate(ranked.order[row].tolist())
            if members[column]
        ]
        result.append(DrawnRanking(triplet, curve, chosen))
    return result


def save(found: Sequence[DrawnRanking], file: Path) -> None:
    """Writes what `load` reads: of each set at most `KEPT` images, evenly spread over its ranks."""
    write_json(file, [_record(one) for one in found])


def load(file: Path) -> list[dict[str, Any]]:
    """Per ranking: query_id, reference, text, target, target_rank, size, first, last, corpus_size, negatives."""
    return [dict(one) for one in read_json(file, remedy="Evaluate the model again")]


def _number(query_id: str) -> int:
    """What a figure calls a query: the number at the end of its id.

    >>> _number("dress/12"), _number("12063"), _number("a query")
    (12, 12063, 0)
    """
    digits = query_id[len(query_id.rstrip("0123456789")) :]
    return int(digits or 0)


def _record(found: DrawnRanking) -> dict[str, Any]:
    triplet, curve = found.triplet, found.curve
    size = len(found.negatives)
    kept = np.unique(np.linspace(0, size - 1, min(KEPT, size)).round().astype(int))
    return {
        "query_id": triplet.query_id,
        "reference": triplet.reference,
        "text": triplet.text,
        "target": triplet.target,
        "target_rank": curve.target_rank + 1,
        "size": size,
        "first": curve.first + 1,
        "last": curve.last + 1,
        "corpus_size": len(curve.scores),
        "negatives": [
            {"id": image, "rank": place + 1, "score": score}
            for image, place, score in (found.negatives[number] for number in kept)
        ],
    }

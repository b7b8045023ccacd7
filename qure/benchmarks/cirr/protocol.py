"""CIRR (Liu et al., ICCV 2021): recall in the whole split, and among the query's own image set.

The reference image is no candidate. R_subset ranks the target among the other five members of the image set.
"""

from collections.abc import Sequence

import numpy as np

from qure.config import EvaluationSettings
from qure.datasets.split import Split
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings, Floats, Indices
from qure.evaluation.ranking.queries import (
    DEPTHS,
    Columns,
    rank_queries,
    recall_columns,
    require_embeddings,
    required_targets,
)
from qure.evaluation.ranking.right_answers import answer_columns, right_columns, right_measures, several_known
from qure.evaluation.ranking.scores import Needed, columns_of, query_vectors, ranks, score_rows, top, without
from qure.evaluation.ranking.true_relevance import TrueRelevance, by_chance, truth_measures
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.results import Evaluation, questions_fingerprint, summarised

NAME = "cirr"
SUBSET_DEPTHS = (1, 2, 3)
#: How many names the evaluation server takes per query.
RECALL_NAMES, SUBSET_NAMES = 50, 3


def evaluate(
    triplets: Sequence[Triplet],
    gallery: Gallery,
    queries: Embeddings,
    candidates: Embeddings,
    *,
    settings: EvaluationSettings | None = None,
    split: str = "val",
    truth: TrueRelevance | None = None,
    device: str = "cpu",
    images: str = "",
) -> Evaluation:
    """Ranks the gallery for every query.

    Args:
        triplets: queries with their targets and image sets.
        gallery: all images of the split.
        queries: one vector per query id (the pair id).
        candidates: embeddings of the gallery's images.
        settings, split, truth, device, images: as `qure.benchmarks.fashioniq.protocol.evaluate`.

    Returns:
        metrics `recall_at_{1,5,10,50}`, `recall_subset_at_{1,2,3}`, `average` (mean of recall_at_5 and
        recall_subset_at_1), `queries`, `gallery_size`; where people marked further right answers also over all of them,
        as `qure.benchmarks.fashioniq.protocol.evaluate`.

    Raises:
        BadInput: missing embeddings, another dimension, NaN, an image outside the gallery, withheld answers.
    """
    targets = columns_of(required_targets(triplets, NAME, split), gallery.ids, what="target")
    require_embeddings(queries, candidates, [triplet.query_id for triplet in triplets], gallery.ids)
    several = several_known(triplets)
    answers = answer_columns(triplets, gallery) if several else []
    members = _member_columns(triplets, gallery)
    for triplet, columns, target in zip(triplets, members, targets, strict=True):
        if target not in columns:
            raise BadInput(
                f"target {triplet.target!r} is not one of the image set's other members", file=triplet.source or None
            )

    def from_scores(chosen: slice, scores: Floats) -> Columns:
        rank = ranks(scores, targets[chosen])
        subset_rank = _subset_ranks(scores, targets[chosen], members[chosen])
        recalls = recall_columns(rank)
        subset_recalls = recall_columns(subset_rank, SUBSET_DEPTHS, "recall_subset_at")
        average = (recalls["recall_at_5"] + subset_recalls["recall_subset_at_1"]) / 2
        over_all = right_columns(scores, answers[chosen]) if several else {}
        return {"rank": rank, "subset_rank": subset_rank, **recalls, **subset_recalls, "average": average, **over_all}

    table, best = rank_queries(
        triplets,
        gallery,
        queries,
        candidates,
        from_scores,
        columns=[np.concatenate(both) for both in zip(members, answers, strict=True)] if several else members,
        drop_reference=True,
        truth=truth,
        device=device,
    )
    counts = {"queries": len(triplets), "gallery_size": len(gallery.ids)}
    if several:
        table["answers"] = [list(triplet.answers or (str(triplet.target),)) for triplet in triplets]
        counts["corrected_queries"] = sum(len(triplet.answers) > 1 for triplet in triplets)
    return summarised(
        NAME,
        split,
        table,
        measures(judged=truth is not None, several=several),
        settings=settings or EvaluationSettings(),
        counts=counts,
        top=best,
        data_fingerprint=questions_fingerprint(triplets, [gallery], images=images),
        details={"gallery": gallery.name},
    )


def measures(*, judged: bool, several: bool = False) -> list[Measure]:
    """What is measured."""
    names = [f"recall_at_{depth}" for depth in DEPTHS]
    names += [f"recall_subset_at_{depth}" for depth in SUBSET_DEPTHS]
    further = (truth_measures() if judged else []) + (right_measures() if several else [])
    return [Measure(name, name) for name in (*names, "average")] + further


def chance(split: Split) -> dict[str, float]:
    """What a random order of the candidates scores on average, in percent; computed, not drawn."""
    gallery, triplets = split.gallery, split.triplets
    others = np.array([len(set(one.members) - {one.reference}) for one in triplets])
    values = {f"recall_at_{depth}": min(1.0, depth / (len(gallery.ids) - 1)) for depth in DEPTHS}
    values |= {f"recall_subset_at_{k}": float(np.minimum(1.0, k / others).mean()) for k in SUBSET_DEPTHS}
    values["average"] = (values["recall_at_5"] + values["recall_subset_at_1"]) / 2
    if split.truth is not None:
        references = [one.reference for one in triplets]
        values |= by_chance(split.truth, [one.query_id for one in triplets], gallery.ids, references)
    return {name: 100.0 * value for name, value in values.items()}


def predict(
    triplets: Sequence[Triplet], gallery: Gallery, queries: Embeddings, candidates: Embeddings, *, device: str = "cpu"
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """The two rankings that the evaluation server asks for: query id -> names, best first.

    Returns:
        the best 50 of the gallery, and the best 3 of the image set's other members; the reference in neither.
    """
    require_embeddings(queries, candidates, [triplet.query_id for triplet in triplets], gallery.ids)
    vectors = query_vectors(queries, [triplet.query_id for triplet in triplets])
    references = columns_of([triplet.reference for triplet in triplets], gallery.ids, what="reference")
    members = _member_columns(triplets, gallery)
    recall: dict[str, list[str]] = {}
    subset: dict[str, list[str]] = {}
    needed = Needed(RECALL_NAMES + 1, members)  # one more: the reference may be of them
    for chosen, rows in score_rows(vectors, candidates, gallery.ids, needed=needed, device=device, title=gallery.name):
        scores = without(rows, references[chosen])
        best = top(scores, min(RECALL_NAMES, len(gallery.ids) - 1))
        for triplet, line, columns, own in zip(triplets[chosen], scores, best, members[chosen], strict=True):
            recall[triplet.query_id] = [gallery.ids[column] for column in columns]
            order = np.lexsort((own, -line[own]))[:SUBSET_NAMES]
            subset[triplet.query_id] = [gallery.ids[column] for column in own[order]]
    return recall, subset


def _member_columns(triplets: Sequence[Triplet], gallery: Gallery) -> list[Indices]:
    """For each query the columns of the image set's members other than the reference, in gallery order."""
    place = {identifier: column for column, identifier in enumerate(gallery.ids)}
    result: list[Indices] = []
    for triplet in triplets:
        others = [member for member in triplet.members if member != triplet.reference]
        outside = [member for member in others if member not in place]
        if outside:
            raise BadInput(f"member {outside[0]!r} is not in the gallery", file=triplet.source or None)
        result.append(np.array(sorted(place[member] for member in others), dtype=np.int64))
    return result


def _subset_ranks(scores: Floats, targets: Indices, members: Sequence[Indices]) -> Indices:
    """1-based rank of the target among the members; ties go to the earlier one in the gallery."""
    result = np.empty(len(scores), dtype=np.int64)
    for row, (line, target, own) in enumerate(zip(scores, targets, members, strict=True)):
        better = (line[own] > line[target]) | ((line[own] == line[target]) & (own < target))
        result[row] = 1 + np.count_nonzero(better)
    return result

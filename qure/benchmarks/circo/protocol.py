"""CIRCO (Baldrati et al., ICCV 2023): mAP@k with several right answers per query.

The reference image stays in the gallery: the benchmark's own evaluation removes nothing from a ranking (its example
rankings hold references, and a reference is never a right answer).
"""

from collections.abc import Sequence

import numpy as np

from qure.config import EvaluationSettings
from qure.datasets.ids import first_few
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings, Floats
from qure.evaluation.ranking.queries import Columns, rank_queries, require_embeddings, required_targets
from qure.evaluation.ranking.right_answers import answer_columns, answer_ranks, average_precision
from qure.evaluation.ranking.scores import Needed, query_vectors, ranks, score_rows, top
from qure.evaluation.ranking.true_relevance import TrueRelevance, truth_measures
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.results import Evaluation, questions_fingerprint, summarised

NAME = "circo"
DEPTHS = (5, 10, 25, 50)
#: How many images the evaluation server takes per query.
SUBMITTED = 50


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
    partial_gallery: bool = False,
) -> Evaluation:
    """Ranks the gallery for every query.

    Args:
        triplets: queries with all their right answers.
        gallery: the candidates.
        queries: one vector per query id.
        candidates: embeddings of the gallery's images; may hold more than memory does.
        settings, split, truth, device, images: as `qure.benchmarks.fashioniq.protocol.evaluate`.
        partial_gallery: the gallery is not COCO's whole index, so numbers are too high; for the record.

    Returns:
        metrics `map_at_{5,10,25,50}`, `queries`, `gallery_size`; `details["partial_gallery"]`.

    Raises:
        BadInput: missing embeddings, another dimension, NaN, right answers outside the gallery, withheld answers.
    """
    required_targets(triplets, NAME, split)
    require_embeddings(queries, candidates, [triplet.query_id for triplet in triplets], gallery.ids)
    answers = answer_columns(triplets, gallery)

    def from_scores(chosen: slice, scores: Floats) -> Columns:
        found = answer_ranks(scores, answers[chosen])
        precisions = {f"map_at_{depth}": np.array([average_precision(own, depth) for own in found]) for depth in DEPTHS}
        target_rank = ranks(scores, np.array([columns[0] for columns in answers[chosen]]))
        counts = np.array([len(own) for own in found])
        return {
            "rank": target_rank,
            "best_rank": np.array([own[0] for own in found]),
            "answer_count": counts,
            **precisions,
        }

    table, best = rank_queries(
        triplets, gallery, queries, candidates, from_scores, columns=answers, truth=truth, device=device
    )
    table["answers"] = [list(triplet.answers) for triplet in triplets]
    return summarised(
        NAME,
        split,
        table,
        measures(judged=truth is not None),
        settings=settings or EvaluationSettings(),
        counts={"queries": len(triplets), "gallery_size": len(gallery.ids)},
        top=best,
        data_fingerprint=questions_fingerprint(triplets, [gallery], images=images),
        details={"gallery": gallery.name, "partial_gallery": partial_gallery},
    )


def measures(*, judged: bool) -> list[Measure]:
    """What is measured."""
    return [Measure(f"map_at_{depth}", f"map_at_{depth}") for depth in DEPTHS] + (truth_measures() if judged else [])


def predict(
    triplets: Sequence[Triplet], gallery: Gallery, queries: Embeddings, candidates: Embeddings, *, device: str = "cpu"
) -> dict[str, list[str]]:
    """The ranking that the evaluation server asks for: query id -> the best 50 image ids, best first."""
    require_embeddings(queries, candidates, [triplet.query_id for triplet in triplets], gallery.ids)
    vectors = query_vectors(queries, [triplet.query_id for triplet in triplets])
    result: dict[str, list[str]] = {}
    needed = Needed(SUBMITTED)
    for chosen, scores in score_rows(
        vectors, candidates, gallery.ids, needed=needed, device=device, title=gallery.name
    ):
        for triplet, columns in zip(triplets[chosen], top(scores, SUBMITTED), strict=True):
            result[triplet.query_id] = [gallery.ids[column] for column in columns]
    return result


def coco_ids(ids: Sequence[str], *, file: str) -> list[str]:
    """COCO's image numbers without leading zeros.

    Raises:
        BadInput: an id that is not a whole number.

    >>> coco_ids(["57413", "000000057414"], file="gallery.safetensors")
    ['57413', '57414']
    """
    wrong = [identifier for identifier in ids if not (identifier.isascii() and identifier.isdigit())]
    if wrong:
        raise BadInput(f"ids that are no COCO image numbers: {first_few(wrong)}", file=file, field="ids")
    return [str(int(identifier)) for identifier in ids]

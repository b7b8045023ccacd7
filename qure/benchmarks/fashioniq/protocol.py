"""FashionIQ (Wu et al., CVPR 2021): recall of the one labelled target, per category and mean.

The reference image stays in the gallery. Galleries: `original` (a category's whole split: what QuRe and most
papers report) or `val` (the split's references and targets only, which is easier): say which one, always.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from qure.config import EvaluationSettings
from qure.datasets.split import Split
from qure.datasets.types import Gallery, Triplet
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings, Floats
from qure.evaluation.ranking.queries import (
    DEPTHS,
    Columns,
    rank_queries,
    recall_columns,
    require_embeddings,
    required_targets,
)
from qure.evaluation.ranking.right_answers import answer_columns, right_columns, right_measures, several_known
from qure.evaluation.ranking.scores import columns_of, ranks
from qure.evaluation.ranking.true_relevance import TrueRelevance, by_chance, truth_measures
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.results import Evaluation, Top, questions_fingerprint, summarised

NAME = "fashioniq"

#: Column that is 1 where training has not seen the query's target, and what the names of metrics over these end with.
CLEAN, WITHOUT_LEAKED = "clean", "_without_leaked"


def evaluate(
    triplets: Sequence[Triplet],
    galleries: Mapping[str, Gallery],
    queries: Embeddings,
    candidates: Embeddings,
    *,
    settings: EvaluationSettings | None = None,
    split: str = "val",
    truth: TrueRelevance | None = None,
    leaked: Collection[str] | None = None,
    device: str = "cpu",
    images: str = "",
) -> Evaluation:
    """Ranks each category's gallery for its queries.

    Args:
        triplets: queries of the categories in `galleries`; others are left out.
        galleries: category -> candidates.
        queries: one vector per query id ("dress/0", ...).
        candidates: embeddings of all galleries' images.
        settings: of the bootstrap, and the name of the galleries' protocol for the record.
        split: for the record.
        truth: adds the true relevance of the top ten.
        leaked: ids of queries whose target training has seen: every metric is given without them as well; None where
            that is not known.
        device: where scores are computed.
        images: digest of the images' bytes, when known; becomes part of the data fingerprint.

    Returns:
        metrics `recall_at_{1,5,10,50}` (mean over categories), `average` (mean of recall_at_10 and recall_at_50),
        each also as `{category}_...`, and all of them as `..._without_leaked` where a query is leaked; `queries`,
        `gallery_size` (summed over categories), `{category}_...` of both. Where people marked further right answers,
        over all of them: `right_recall_at_...`, `right_map_at_...`, and `corrected_queries`, how many have any.

    Raises:
        BadInput: missing embeddings, another dimension, NaN, a target outside the gallery, withheld answers.
    """
    settings = settings or EvaluationSettings()
    asked = [triplet for triplet in triplets if triplet.category in galleries]
    several = several_known(asked)
    required_targets(asked, NAME, split)
    images_needed = [image for gallery in galleries.values() for image in gallery.ids]
    require_embeddings(queries, candidates, [triplet.query_id for triplet in asked], images_needed)
    for category in galleries:
        if all(triplet.category != category for triplet in asked):
            raise BadInput(f"there is no query of category {category!r}")
    tables: list[pd.DataFrame] = []
    top: Top = {}
    counts = {"queries": len(asked), "gallery_size": len(images_needed)}
    for category, gallery in galleries.items():
        own = [triplet for triplet in asked if triplet.category == category]
        table, best = _ranked(own, gallery, queries, candidates, split, truth, device, several=several)
        tables.append(table)
        top |= best
        counts |= {f"{category}_queries": len(own), f"{category}_gallery_size": len(gallery.ids)}
    if several:
        counts["corrected_queries"] = sum(len(triplet.answers) > 1 for triplet in asked)
    table = pd.concat(tables, ignore_index=True)
    measured = measures(list(galleries), judged=truth is not None, several=several)
    clean = ~table["query_id"].isin(frozenset(leaked or ()))
    if not clean.all():
        table[CLEAN] = clean.astype(np.float64)
        measured += [replace(one, name=f"{one.name}{WITHOUT_LEAKED}", weight=CLEAN) for one in measured]
        counts |= {f"queries{WITHOUT_LEAKED}": int(clean.sum())}
        counts |= {
            f"{category}_queries{WITHOUT_LEAKED}": int((clean & (table["category"] == category)).sum())
            for category in galleries
        }
    known = {} if leaked is None else {"leaked_queries": int((~clean).sum())}
    return summarised(
        NAME,
        split,
        table,
        measured,
        settings=settings,
        counts=counts,
        top=top,
        data_fingerprint=questions_fingerprint(asked, list(galleries.values()), images=images),
        strata="category",
        details={"gallery_protocol": settings.gallery_protocol, **known},
    )


def measures(categories: Sequence[str], *, judged: bool, several: bool = False) -> list[Measure]:
    """What is measured: every per-query column as the mean over categories, then within each category."""
    overall = [Measure(f"recall_at_{depth}", f"recall_at_{depth}", mean_over="category") for depth in DEPTHS]
    overall.append(Measure("average", "average", mean_over="category"))
    if judged:
        overall += truth_measures(mean_over="category")
    if several:
        overall += right_measures(mean_over="category")
    return overall + [
        Measure(f"{category}_{measure.name}", measure.value, where=("category", category))
        for category in categories
        for measure in overall
    ]


def chance(split: Split) -> dict[str, float]:
    """What a random order of the candidates scores on average, in percent; computed, not drawn."""
    parts = [_category_chance(split, category) for category in split.galleries]
    return {name: 100.0 * float(np.mean([part[name] for part in parts])) for name in parts[0]}


def _category_chance(split: Split, category: str) -> dict[str, float]:
    gallery = split.galleries[category]
    values = {f"recall_at_{depth}": min(1.0, depth / len(gallery.ids)) for depth in DEPTHS}
    values["average"] = (values["recall_at_10"] + values["recall_at_50"]) / 2
    if split.truth is not None:
        own = [triplet.query_id for triplet in split.triplets if triplet.category == category]
        values |= by_chance(split.truth, own, gallery.ids, None)
    return values


def _ranked(
    triplets: Sequence[Triplet],
    gallery: Gallery,
    queries: Embeddings,
    candidates: Embeddings,
    split: str,
    truth: TrueRelevance | None,
    device: str,
    *,
    several: bool,
) -> tuple[pd.DataFrame, Top]:
    targets = columns_of(required_targets(triplets, NAME, split), gallery.ids, what="target")
    answers = answer_columns(triplets, gallery) if several else []

    def from_scores(chosen: slice, scores: Floats) -> Columns:
        rank = ranks(scores, targets[chosen])
        recalls = recall_columns(rank)
        over_all = right_columns(scores, answers[chosen]) if several else {}
        return {"rank": rank, **recalls, "average": (recalls["recall_at_10"] + recalls["recall_at_50"]) / 2, **over_all}

    table, best = rank_queries(
        triplets,
        gallery,
        queries,
        candidates,
        from_scores,
        columns=answers if several else targets[:, None],
        truth=truth,
        device=device,
    )
    if several:
        table["answers"] = [list(triplet.answers or (str(triplet.target),)) for triplet in triplets]
    return table, best

"""HP-FashionIQ (Kwak et al., ICML 2025): does the model rank sets of images as people do?

A person saw two sets of five images for a query and preferred one. The model's score of a set is the mean relevance
of its five images. As published: preference rate = P(person prefers set 1 | score of set 1 > score of set 2), which
asks one direction only; `agreement` counts both, a tie of the model as half. `_consistent` leaves out the rows in
which the person preferred the set that they themselves gave the lower score (equal scores stay). `_exchanged` asks
with the two captions of every sentence in the other order: the published file has FashionIQ's own order in about half
of its rows, so a model that reads the orders differently is judged partly by that. `evaluation.caption_order` chooses
which order the other numbers are of.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from qure.benchmarks.hp_fashioniq.files import is_inconsistent
from qure.config import EvaluationSettings
from qure.datasets.split import exchanged_id
from qure.datasets.types import PreferencePair
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.queries import require_embeddings
from qure.evaluation.ranking.scores import query_vectors, score_pairs
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.results import Evaluation, summarised
from qure.files import fingerprint

NAME = "hp-fashioniq"


def evaluate(
    pairs: Sequence[PreferencePair],
    queries: Embeddings,
    candidates: Embeddings,
    *,
    settings: EvaluationSettings | None = None,
    images: str = "",
) -> Evaluation:
    """Scores both sets of every row.

    Args:
        pairs: the rows, their captions in the order that is asked for (`HPFashionIQ.ordered`).
        queries: one vector per query id ("user_1/question_set_1/0", ...).
        candidates: embeddings of all images of the sets.
        settings: of the bootstrap, which resamples people, not rows: one person's answers are not independent.
        images: digest of the images' bytes, when known; becomes part of the data fingerprint.

    Returns:
        metrics `preference_rate`, `agreement`, both also `..._consistent` and `{category}_...`; where `queries` holds
        the questions with exchanged captions (`qure.datasets.split.exchanged_id`), both also as `..._exchanged`, and
        `picks_changed_by_order`, the share of rows in which the model then picks the other set; counts `queries`,
        `queries_consistent`, `people`, `ties` (rows in which the model scores both sets the same), `gallery_size`.
        A preference rate whose condition never holds is left out.

    Raises:
        BadInput: missing embeddings, another dimension, NaN.
    """
    shown = [image for pair in pairs for image in (*pair.set_1, *pair.set_2)]
    require_embeddings(queries, candidates, [pair.query_id for pair in pairs], shown)
    table = _table(pairs, *set_scores(pairs, queries, candidates))
    turned = [pair for pair in pairs if pair.exchanged]
    both_orders = bool(turned) and all(exchanged_id(pair.query_id) in queries for pair in turned)
    if both_orders:
        asked = [replace(pair, query_id=exchanged_id(pair.query_id)) if pair.exchanged else pair for pair in pairs]
        table = table.assign(**_exchanged_columns(table, *set_scores(asked, queries, candidates)))
    categories = list(dict.fromkeys(pair.category for pair in pairs))
    settings = settings or EvaluationSettings()
    order = settings.caption_order
    return summarised(
        NAME,
        "all",
        table,
        measures(categories, both_orders=both_orders),
        settings=settings,
        counts={
            "queries": len(table),
            "queries_consistent": int(table["consistent"].sum()),
            "people": table["person"].nunique(),
            "ties": int((table["score_1"] == table["score_2"]).sum()),
            "gallery_size": len(set(shown)),
        },
        top={},
        data_fingerprint=_questions(pairs, images),
        details={} if order == "file" else {"caption_order": order},
        cluster="person",
    )


def set_scores(
    pairs: Sequence[PreferencePair], queries: Embeddings, candidates: Embeddings
) -> tuple[np.ndarray, np.ndarray]:
    """Mean relevance of either set's images: two arrays (P,) float64, equal for equal sets in any order."""
    vectors = query_vectors(queries, [pair.query_id for pair in pairs])
    images = [image for pair in pairs for image in (*pair.set_1, *pair.set_2)]
    sizes = np.array([[len(pair.set_1), len(pair.set_2)] for pair in pairs])
    rows = np.repeat(np.arange(len(pairs)), sizes.sum(axis=1))
    scores = score_pairs(vectors, rows, candidates, images).astype(np.float64)
    # Sorted before they are summed: the same five images give the same mean in any order.
    means = np.array([np.sort(part).mean() for part in np.split(scores, np.cumsum(sizes.ravel())[:-1])])
    both = means.reshape(len(pairs), 2)
    return both[:, 0], both[:, 1]


def measures(categories: Sequence[str], *, both_orders: bool) -> list[Measure]:
    """What is measured: over all rows, then within each category; with the captions exchanged over all rows."""
    overall = [
        Measure("preference_rate", "prefers_1", weight="picks_1"),
        Measure("agreement", "agreement"),
        Measure("preference_rate_consistent", "prefers_1", weight="picks_1_consistent"),
        Measure("agreement_consistent", "agreement", weight="consistent"),
    ]
    other_order = [
        Measure("preference_rate_exchanged", "prefers_1", weight="picks_1_exchanged"),
        Measure("agreement_exchanged", "agreement_exchanged"),
        Measure("picks_changed_by_order", "changed"),
    ]
    return (
        overall
        + (other_order if both_orders else [])
        + [
            Measure(f"{category}_{measure.name}", measure.value, weight=measure.weight, where=("category", category))
            for category in categories
            for measure in overall
        ]
    )


def _table(pairs: Sequence[PreferencePair], score_1: np.ndarray, score_2: np.ndarray) -> pd.DataFrame:
    prefers_1 = np.array([pair.preferred == 1 for pair in pairs])
    consistent = np.array([not is_inconsistent(pair) for pair in pairs])
    picks_1 = score_1 > score_2
    agreement = np.where(score_1 == score_2, 0.5, picks_1 == prefers_1)
    return pd.DataFrame(
        {
            "query_id": [pair.query_id for pair in pairs],
            "category": [pair.category for pair in pairs],
            "person": [pair.person for pair in pairs],
            "reference": [pair.reference for pair in pairs],
            "target": [pair.target for pair in pairs],
            "text": [pair.text for pair in pairs],
            "set_1": [list(pair.set_1) for pair in pairs],
            "set_2": [list(pair.set_2) for pair in pairs],
            "preferred": [pair.preferred for pair in pairs],
            "score_1": score_1,
            "score_2": score_2,
            "prefers_1": prefers_1.astype(np.float64),
            "picks_1": picks_1.astype(np.float64),
            "picks_1_consistent": (picks_1 & consistent).astype(np.float64),
            "consistent": consistent.astype(np.float64),
            "agreement": agreement.astype(np.float64),
        }
    )


def _exchanged_columns(table: pd.DataFrame, score_1: np.ndarray, score_2: np.ndarray) -> dict[str, np.ndarray]:
    """The columns of the other order of captions."""
    picks_1, tie = score_1 > score_2, score_1 == score_2
    return {
        "score_1_exchanged": score_1,
        "score_2_exchanged": score_2,
        "picks_1_exchanged": picks_1.astype(np.float64),
        "agreement_exchanged": np.where(tie, 0.5, picks_1 == table["prefers_1"].to_numpy(dtype=bool)),
        "changed": (np.sign(table["score_1"] - table["score_2"]) != np.sign(score_1 - score_2)).to_numpy(np.float64),
    }


def _questions(pairs: Sequence[PreferencePair], images: str) -> str:
    return fingerprint(
        {
            "pairs": [
                [
                    pair.query_id,
                    pair.reference,
                    pair.text,
                    list(pair.set_1),
                    list(pair.set_2),
                    pair.preferred,
                    list(pair.scores),
                ]
                for pair in pairs
            ],
            "images": images,
        }
    )

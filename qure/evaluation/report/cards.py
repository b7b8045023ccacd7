"""Which queries the report shows, and what is on each card: the question, the answer, and what the model found.

Every candidate carries one of three marks, told apart by symbol and line as well as by colour: right (a labelled
answer), relevant (not labelled, but it meets every wanted attribute, where those are known), wrong (neither).
"""

import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from qure.datasets.truth import Truth
from qure.evaluation.statistics.results import Evaluation

#: Queries shown of each kind (drawn at random, worst, best), spread over the categories where there are any.
SHOWN = {"random": 15, "worst": 9, "best": 9}
TOP_SHOWN = 10
#: Right answers shown as pictures; CIRCO has up to some thirty.
ANSWERS_SHOWN = 4
SYMBOLS = {"right": "✓", "relevant": "≈", "wrong": "✗"}

Card = dict[str, Any]
QueryRow = dict[str, Any]


def cards(evaluation: Evaluation, picture: Callable[[str], str], truth: Truth | None) -> list[Card]:
    """The cards of an evaluation's chosen queries: some drawn at random, then the worst, then the best.

    Random ones come first: they show what the model is like, the worst what it is like at its worst.

    Args:
        evaluation: any benchmark's.
        picture: image id -> what stands in for the image, for example a `data:` URI.
        truth: true relevance, where it is known.
    """
    make = _preference_card if "set_1" in evaluation.per_query.columns else _retrieval_card
    return [{**make(row, evaluation, picture, truth), "kind": kind} for kind, row in chosen(evaluation.per_query)]


def hard_negative_cards(
    records: Sequence[Mapping[str, Any]], picture: Callable[[str], str], truth: Truth | None
) -> list[Card]:
    """A card per ranking of `hard_negatives`: the question, and images of its set in ranked order.

    A negative that is marked relevant is a false one: the target's equal, which a loss would push away.
    """
    made = []
    for record in records:
        shown = record["negatives"]
        shares = shares_of(truth, record["query_id"], [one["id"] for one in shown])
        hits = [
            {
                "id": one["id"],
                "picture": picture(one["id"]),
                "label": str(one["rank"]),
                "score": f"{one['score']:.3f}",
                "mark": mark_of(one["id"], [record["target"]], share),
                "notes": _notes(one["id"] == record["reference"], share),
            }
            for one, share in zip(shown, shares, strict=True)
        ]
        words = (
            f"{record['size']} hard negatives, ranks {record['first']} to {record['last']} of {record['corpus_size']}"
        )
        more = f" ({len(shown)} shown)" if len(shown) < record["size"] else ""
        made.append(
            {
                **_question(dict(record), picture),
                "kind": "",
                "answers": [{"id": record["target"], "picture": picture(record["target"])}],
                "result": f"target at rank {record['target_rank']}",
                "sets": [{"title": words + more, "hits": hits}],
            }
        )
    return made


def chosen(table: pd.DataFrame) -> list[tuple[str, QueryRow]]:
    """(kind, row) of some queries drawn at random (the same ones every time), the worst, and the best.

    >>> table = pd.DataFrame({"query_id": [f"q{n}" for n in range(40)], "rank": range(1, 41), "category": "dress"})
    >>> picked = chosen(table)
    >>> [row["rank"] for kind, row in picked if kind == "worst"]
    [40, 39, 38, 37, 36, 35, 34, 33, 32]
    >>> [row["rank"] for kind, row in picked if kind == "best"]
    [1, 2, 3, 4, 5, 6, 7, 8, 9]
    """
    groups = [_best_first(own) for _, own in table.groupby("category", sort=True)] if _has_categories(table) else []
    groups = groups or [_best_first(table)]
    share = {kind: -(-count // len(groups)) for kind, count in SHOWN.items()}
    picked: dict[str, list[QueryRow]] = {"random": [], "worst": [], "best": []}
    for rows in groups:
        best, rest = rows[: share["best"]], rows[share["best"] :]
        worst, middle = rest[::-1][: share["worst"]], rest[: max(0, len(rest) - share["worst"])]
        picked["best"] += best
        picked["worst"] += worst
        picked["random"] += random.Random(0).sample(middle, min(share["random"], len(middle)))
    return [(kind, row) for kind, rows in picked.items() for row in rows]


def answers_of(row: Mapping[str, Any]) -> list[str]:
    """The labelled right answers of a query, the target first: several where CIRCO's files or people name them.

    >>> answers_of({"target": "b", "answers": ["b", "c"]}), answers_of({"target": "b"})
    (['b', 'c'], ['b'])
    """
    several = row.get("answers")
    labelled = [str(answer) for answer in several] if several is not None else []
    return list(dict.fromkeys(([row["target"]] if row.get("target") else []) + labelled))


def mark_of(image: str, answers: Sequence[str], share: float | None) -> str:
    """ "right", "relevant" or "wrong".

    Args:
        image: a candidate.
        answers: the labelled right answers.
        share: share of the wanted attributes that it meets; None where that is not known.

    >>> mark_of("a", ["a"], 0.5), mark_of("b", ["a"], 1.0), mark_of("b", ["a"], 0.9), mark_of("b", ["a"], None)
    ('right', 'relevant', 'wrong', 'wrong')
    """
    if image in answers:
        return "right"
    return "relevant" if share is not None and share >= 1 else "wrong"


def shares_of(truth: Truth | None, query_id: str, images: Sequence[str]) -> list[float | None]:
    """Share of the wanted attributes that each image meets; None where that is not known."""
    return [float(share) for share in truth.relevance(query_id, images)] if truth else [None] * len(images)


def _retrieval_card(row: QueryRow, evaluation: Evaluation, picture: Callable[[str], str], truth: Truth | None) -> Card:
    hits = evaluation.top[row["query_id"]][:TOP_SHOWN]
    shares = shares_of(truth, row["query_id"], [image for image, _ in hits])
    answers = answers_of(row)
    found = [
        {
            "id": image,
            "picture": picture(image),
            "label": str(place),
            "score": f"{score:.3f}",
            "mark": mark_of(image, answers, share),
            "notes": _notes(image == row["reference"], share),
        }
        for place, ((image, score), share) in enumerate(zip(hits, shares, strict=True), start=1)
    ]
    return {
        **_question(row, picture),
        "answers": [{"id": image, "picture": picture(image)} for image in answers[:ANSWERS_SHOWN]],
        "result": _result(row, answers),
        "sets": [{"title": "", "hits": found}],
    }


def _preference_card(row: QueryRow, evaluation: Evaluation, picture: Callable[[str], str], truth: Truth | None) -> Card:
    """HP-FashionIQ: both sets that a person saw. No image of a set is right or wrong by itself."""
    del evaluation, truth
    scores = (row["score_1"], row["score_2"])
    sets = []
    for number, images in enumerate((row["set_1"], row["set_2"]), start=1):
        words = [f"set {number}, mean relevance {scores[number - 1]:.3f}"]
        words += ["preferred by the person"] if row["preferred"] == number else []
        words += ["ranked higher by the model"] if scores[number - 1] > scores[2 - number] else []
        hits = [
            {"id": image, "picture": picture(image), "label": "", "score": "", "mark": "shown", "notes": ""}
            for image in images
        ]
        sets.append({"title": ", ".join(words), "hits": hits})
    agreed = {1.0: "model and person agree", 0.0: "model and person disagree"}.get(row["agreement"], "a tie")
    return {**_question(row, picture), "answers": [], "result": agreed, "sets": sets}


def _question(row: QueryRow, picture: Callable[[str], str]) -> Card:
    return {
        "id": row["query_id"],
        "text": row["text"],
        "category": row.get("category") or "",
        "reference": {"id": row["reference"], "picture": picture(row["reference"])},
    }


def _result(row: QueryRow, answers: Sequence[str]) -> str:
    if len(answers) == 1:
        return f"target at rank {int(row['rank']):,}"
    more = f" ({ANSWERS_SHOWN} shown)" if len(answers) > ANSWERS_SHOWN else ""
    return f"{len(answers)} right answers{more}, the first found at rank {int(row['best_rank']):,}"


def _notes(is_reference: bool, share: float | None) -> str:
    notes = ["reference"] if is_reference else []
    return ", ".join([*notes, f"{share:.0%} met"] if share is not None else notes)


def _best_first(table: pd.DataFrame) -> list[QueryRow]:
    """By the rank of the target; by average precision (CIRCO); by how clearly model and person agree (HP-FashionIQ)."""
    table = table.reset_index(drop=True)
    if "set_1" in table.columns:
        sign = table["preferred"].map({1: 1.0, 2: -1.0})
        keys = pd.DataFrame({"first": -sign * (table["score_1"] - table["score_2"])})
    elif "map_at_50" in table.columns:
        keys = pd.DataFrame({"first": -table["map_at_50"], "second": table["best_rank"]})
    else:
        keys = pd.DataFrame({"first": table["rank"]})
    keys["last"] = table["query_id"]
    order = keys.sort_values(list(keys.columns), kind="stable").index
    return [{str(name): value for name, value in row.items()} for row in table.loc[order].to_dict("records")]


def _has_categories(table: pd.DataFrame) -> bool:
    return "category" in table.columns and bool(table["category"].notna().all())

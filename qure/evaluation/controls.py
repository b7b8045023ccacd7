"""Is it composition? What the same benchmark gives when one half of every query is taken away, and by chance.

A model that ignores the reference image or the text is no composed-retrieval model, however well it ranks.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from qure.evaluation.cirr import SUBSET_DEPTHS
from qure.evaluation.embeddings import Embeddings
from qure.evaluation.encoding import Encoder, Question
from qure.evaluation.queries import DEPTHS
from qure.evaluation.results import Evaluation
from qure.evaluation.tasks import Task
from qure.evaluation.true_relevance import COLUMNS, DEPTH, TrueRelevance

UNTRAINED, SHUFFLED, EMPTY, RANDOM = "untrained_backbone", "shuffled_references", "empty_text", "random"

Doubles = NDArray[np.float64]


def shuffled_references(questions: Sequence[Question], seed: int) -> list[Question]:
    """Every question with the reference image of another question of its group; a function of the seed.

    The protocol itself stays as it is: CIRR still removes the query's own reference from the ranking.

    >>> asked = [Question("1", "a", "is red"), Question("2", "b", "is blue"), Question("3", "c", "is green")]
    >>> [question.reference for question in shuffled_references(asked, seed=0)]
    ['c', 'a', 'b']
    """
    generator = np.random.default_rng(seed)
    result = list(questions)
    for group in dict.fromkeys(question.group for question in questions):
        places = [number for number, question in enumerate(questions) if question.group == group]
        order = generator.permutation(places)
        for own, other in zip(order, np.roll(order, 1), strict=True):
            result[own] = replace(questions[own], reference=questions[other].reference)
    return result


def empty_texts(questions: Sequence[Question]) -> list[Question]:
    """Every question without its text."""
    return [replace(question, text="") for question in questions]


def run_controls(
    task: Task, trained: Encoder, gallery: Embeddings, untrained: Encoder | None, seed: int
) -> dict[str, Evaluation]:
    """Evaluations of a task by control.

    Args:
        task: the benchmark of the training set.
        trained: the trained model.
        gallery: the task's candidates, encoded by the trained model.
        untrained: the backbone that training started from; None leaves that control out.
        seed: of the shuffled references.
    """
    name = task.benchmark
    asked = {SHUFFLED: shuffled_references(task.questions, seed), EMPTY: empty_texts(task.questions)}
    result: dict[str, Evaluation] = {}
    if untrained is not None:
        queries = untrained.queries(task.image_set, task.questions, f"{name}, {UNTRAINED}")
        result[UNTRAINED] = task.judge(queries, untrained.gallery(task.image_set, task.images, f"{name}, {UNTRAINED}"))
    for control, questions in asked.items():
        result[control] = task.judge(trained.queries(task.image_set, questions, f"{name}, {control}"), gallery)
    return result


def chance(task: Task) -> dict[str, float]:
    """What a random order of the candidates scores on average, in percent; computed, not drawn.

    Covers FashionIQ's and CIRR's recall, and nDCG@10 where the truth is known.
    """
    assert task.galleries is not None
    if task.benchmark == "cirr":
        return _in_percent([_cirr_chance(task)])
    categories = [_category_chance(task, category) for category in task.galleries]
    return _in_percent(categories)


def comparable(evaluation: Evaluation) -> list[str]:
    """The metrics that controls are compared by: without the per-category ones and the counts."""
    return [one.name for one in evaluation.measures if one.where is None and one.name in evaluation.metrics]


def _category_chance(task: Task, category: str) -> dict[str, float]:
    assert task.galleries is not None
    gallery = task.galleries[category]
    own = [triplet for triplet in task.triplets if triplet.category == category]
    values = {f"recall_at_{depth}": min(1.0, depth / len(gallery.ids)) for depth in DEPTHS}
    values["average"] = (values["recall_at_10"] + values["recall_at_50"]) / 2
    if task.truth is not None:
        values |= _truth_chance(task.truth, [one.query_id for one in own], gallery.ids, None)
    return values


def _cirr_chance(task: Task) -> dict[str, float]:
    assert task.galleries is not None
    (gallery,) = task.galleries.values()
    others = np.array([len(set(one.members) - {one.reference}) for one in task.triplets])
    values = {f"recall_at_{depth}": min(1.0, depth / (len(gallery.ids) - 1)) for depth in DEPTHS}
    values |= {f"recall_subset_at_{k}": float(np.minimum(1.0, k / others).mean()) for k in SUBSET_DEPTHS}
    values["average"] = (values["recall_at_5"] + values["recall_subset_at_1"]) / 2
    if task.truth is not None:
        references = [one.reference for one in task.triplets]
        values |= _truth_chance(task.truth, [one.query_id for one in task.triplets], gallery.ids, references)
    return values


def _truth_chance(
    truth: TrueRelevance, query_ids: Sequence[str], images: Sequence[str], references: Sequence[str] | None
) -> dict[str, float]:
    """Expected nDCG@10, share of wanted attributes and share of relevant images of ten random candidates."""
    place = {image: column for column, image in enumerate(images)}
    discounts = 1.0 / np.log2(np.arange(2, DEPTH + 2))
    values: list[Doubles] = []
    for row, gains in enumerate(truth.relevance_matrix(query_ids, images).astype(np.float64)):
        available = gains if references is None else np.delete(gains, place[references[row]])
        best = np.sort(available)[::-1][:DEPTH]
        ideal = float((best * discounts[: len(best)]).sum())
        expected = float(available.mean() * discounts[: len(best)].sum())
        values.append(np.array([expected / ideal if ideal else 0.0, available.mean(), (available >= 1.0).mean()]))
    return dict(zip(COLUMNS, np.mean(values, axis=0).tolist(), strict=True))


def _in_percent(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {name: 100.0 * float(np.mean([part[name] for part in parts])) for name in parts[0]}

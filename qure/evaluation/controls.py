"""Is it composition? What the same benchmark gives when one half of every query is taken away, and by chance.

A model that ignores the reference image or the text is no composed-retrieval model, however well it ranks.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from qure.datasets.types import Question
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.ranking.encoding import Encoder
from qure.evaluation.statistics.results import Evaluation
from qure.evaluation.tasks import Task

UNTRAINED, SHUFFLED, EMPTY, RANDOM = "untrained_backbone", "shuffled_references", "empty_text", "random"


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


def comparable(evaluation: Evaluation) -> list[str]:
    """The metrics that controls are compared by: without the per-category ones and the counts."""
    return [one.name for one in evaluation.measures if one.where is None and one.name in evaluation.metrics]

"""A survey's answers in the form of HP-FashionIQ's hpfiq.json, which `qure evaluate` and `evaluate-embeddings` read.

As published, set 1 is what stood left and set 2 what stood right; which version that was, is shuffled by person and
question, and stands in `rows.json` beside the file with everything that was left out and why.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qure.benchmarks.hp_fashioniq.files import FILE
from qure.errors import BadInput
from qure.files import atomic_folder, write_json
from qure.studio.answers import Answers
from qure.studio.survey.progress import Participation, failed_checks, participations
from qure.studio.survey.questions import Survey, SurveyQuestion

ROWS = "rows.json"
_COLUMNS = ("ref_img_paths", "targ_img_paths", "sentences", "retrieved_set1", "retrieved_set2", "preferred set")


@dataclass(frozen=True)
class Exported:
    """What an export holds.

    Attributes:
        people: person -> question set -> columns, as hpfiq.json has them.
        rows: every row: person, question, query, which version stood left, preference, or why it was left out.
        left_out: reason -> how many rows.
    """

    people: dict[str, dict[str, dict[str, list[Any]]]]
    rows: list[dict[str, Any]]
    left_out: Counter[str] = field(default_factory=Counter)

    @property
    def kept(self) -> int:
        """How many rows are in the file."""
        return sum("left_out" not in row for row in self.rows)


def export_rows(survey: Survey, people: Sequence[Participation], *, failed: int = 0, nothing: bool = False) -> Exported:
    """Rows of a survey.

    Args:
        survey: whose.
        people: who answered, in the order in which they are numbered.
        failed: a person who failed more attention checks than this is left out.
        nothing: keep rows in which the person found nothing relevant.
    """
    result = Exported({}, [])
    for number, person in enumerate(people, start=1):
        name = f"user_{number}"
        too_many = failed_checks(person) > failed
        for question in person.questions:
            if question.check or question.id not in person.answered:
                continue
            given = person.answered[question.id].content
            row = {"person": name, "question": question.id, "query": question.query_id, "a_left": given["a_left"]}
            row |= {"preferred": given["preferred"], "scores": given["scores"], "at": person.answered[question.id].at}
            reason = "attention checks failed" if too_many else "nothing relevant" if given["nothing"] else None
            if reason is None or (reason == "nothing relevant" and nothing):
                _add(result.people, name, f"question_set_{person.number + 1}", person, question, given)
            else:
                row["left_out"] = reason
                result.left_out[reason] += 1
            result.rows.append(row)
    return result


def write_export(survey: Survey, answers: Answers, folder: Path, *, failed: int = 0, nothing: bool = False) -> Exported:
    """Writes hpfiq.json and rows.json into a folder, whole or not at all.

    Raises:
        BadInput: no row is left.
    """
    result = export_rows(survey, participations(answers, survey), failed=failed, nothing=nothing)
    if not result.kept:
        reasons = ", ".join(f"{count} {reason}" for reason, count in result.left_out.items()) or "nobody has answered"
        raise BadInput(f"no row is left to export: {reasons}", file=answers.file)
    with atomic_folder(folder) as made:
        write_json(made / FILE, result.people)
        facts = {"survey": survey.fingerprint, "versions": dict(zip("ab", survey.versions, strict=True))}
        write_json(made / ROWS, facts | {"left_out": dict(result.left_out), "rows": result.rows})
    return result


def _add(
    people: dict[str, dict[str, dict[str, list[Any]]]],
    name: str,
    question_set: str,
    person: Participation,
    question: SurveyQuestion,
    given: dict[str, Any],
) -> None:
    columns = people.setdefault(name, {}).setdefault(question_set, {column: [] for column in _COLUMNS})
    left, right = person.sides(question)
    columns["ref_img_paths"].append(_path(question, question.reference))
    columns["targ_img_paths"].append(_path(question, question.target))
    columns["sentences"].append(" ".join(question.text.split()))
    for column, images, score in zip(("retrieved_set1", "retrieved_set2"), (left, right), given["scores"], strict=True):
        paths = [_path(question, image) for image in images]
        columns[column].append({"img_path": paths, "user_score": str(score)})
    columns["preferred set"].append(str(given["preferred"]))


def _path(question: SurveyQuestion, image: str) -> str:
    return f"/-/image_data/{question.category}/{image}.jpg"

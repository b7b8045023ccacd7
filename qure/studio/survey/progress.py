"""Who answered what: a person's question set, which version stands left, and where she goes on."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qure.errors import BadInput
from qure.files import fingerprint
from qure.studio.answers import Answer, Answers
from qure.studio.survey.questions import LIKERT, Survey, SurveyQuestion


@dataclass(frozen=True)
class Participation:
    """A person in a survey.

    Attributes:
        survey: which.
        person: digest of her token.
        number: of her question set.
        answered: question id -> her answer.
    """

    survey: Survey
    person: str
    number: int
    answered: dict[str, Answer]

    @property
    def questions(self) -> tuple[SurveyQuestion, ...]:
        """Her question set."""
        return self.survey.sets[self.number]

    @property
    def next(self) -> SurveyQuestion | None:
        """What she has not answered yet."""
        return next((one for one in self.questions if one.id not in self.answered), None)

    def question(self, name: str) -> SurveyQuestion:
        """One of her questions.

        Raises:
            BadInput: it is not hers.
        """
        for one in self.questions:
            if one.id == name:
                return one
        raise BadInput(f"no question {name[:40]!r} in this question set")

    def a_is_left(self, question: SurveyQuestion) -> bool:
        """Whether version a stands left: a function of survey, person and question, so a reload changes nothing."""
        return int(fingerprint([self.survey.fingerprint, self.person, question.id])[:8], 16) % 2 == 0

    def sides(self, question: SurveyQuestion) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The left and the right five."""
        return (question.a, question.b) if self.a_is_left(question) else (question.b, question.a)


def consent(answers: Answers, survey: Survey, person: str) -> Participation:
    """Begins a survey, with the question set that the fewest have; a person who began goes on.

    Raises:
        StageFailed: no answers are taken.
    """
    sets = len(survey.sets)

    def choose(before: int) -> dict[str, Any]:
        return {"set": before % sets}

    once = f"consent/{survey.fingerprint}/{person}"
    answers.add_decided("consent", person, survey.fingerprint, choose, once=once)
    found = participation(answers, survey, person)
    assert found is not None
    return found


def participation(answers: Answers, survey: Survey, person: str) -> Participation | None:
    """Where a person is; None before she agreed."""
    begun = answers.of("consent", person=person, subject=survey.fingerprint)
    if not begun:
        return None
    given = answers.of("preference", person=person, subject=survey.fingerprint)
    answered = {one.content["question"]: one for one in given}
    return Participation(survey, person, begun[0].content["set"], answered)


def participations(answers: Answers, survey: Survey) -> list[Participation]:
    """Everybody who agreed, in that order."""
    given: dict[str, dict[str, Answer]] = {}
    for one in answers.of("preference", subject=survey.fingerprint):
        given.setdefault(one.person, {})[one.content["question"]] = one
    return [
        Participation(survey, one.person, one.content["set"], given.get(one.person, {}))
        for one in answers.of("consent", subject=survey.fingerprint)
    ]


def answer(
    answers: Answers,
    person: Participation,
    question: SurveyQuestion,
    *,
    scores: tuple[int, int],
    preferred: int,
    nothing: bool,
) -> bool:
    """Keeps an answer; the first one to a question stays.

    Args:
        scores: of the left and the right five, 1..5.
        preferred: 1 left, 2 right.
        nothing: none of the ten is relevant.

    Returns:
        False where the question was answered before, for example in another tab, in another way.

    Raises:
        BadInput: a number outside its scale.
    """
    if not all(1 <= score <= LIKERT for score in scores):
        raise BadInput(f"scores go from 1 to {LIKERT}", field="score")
    if preferred not in (1, 2):
        raise BadInput("one of the two sides is preferred", field="preferred")
    content = {
        "question": question.id,
        "a_left": person.a_is_left(question),
        "scores": list(scores),
        "preferred": preferred,
        "nothing": nothing,
    }
    fingerprint_of = person.survey.fingerprint
    once = f"preference/{fingerprint_of}/{person.person}/{question.id}"
    if answers.add("preference", person.person, fingerprint_of, content, once=once) is not None:
        return True
    earlier = next(
        one
        for one in answers.of("preference", person=person.person, subject=fingerprint_of)
        if one.content["question"] == question.id
    )
    return earlier.content == content


def failed_checks(person: Participation) -> int:
    """How many attention checks a person answered otherwise than they asked."""
    return sum(not passed(person, one) for one in person.questions if one.check and one.id in person.answered)


def passed(person: Participation, check: SurveyQuestion) -> bool:
    """Whether a check was answered as it asked."""
    given = person.answered[check.id].content
    wanted = [LIKERT, 1] if check.check == 1 else [1, LIKERT]
    return bool(given["preferred"] == check.check and given["scores"] == wanted)


def share(values: list[bool]) -> float | None:
    """The share that is true; None without any."""
    return float(np.mean(values)) if values else None

"""Agreement and bias of made-up people whose answers are known."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from qure.errors import BadInput
from qure.studio.answers import Answers
from qure.studio.survey.export import export_rows
from qure.studio.survey.progress import answer, consent, participation, participations
from qure.studio.survey.questions import Survey, SurveyQuestion
from qure.studio.survey.raters import krippendorff, rater_report, sentences


def _survey(count: int = 6) -> Survey:
    images = [f"i{number}" for number in range(10)]
    questions = [
        SurveyQuestion(f"q{n}", f"dress/{n}", "r", "t", "is red", "dress", tuple(images[:5]), tuple(images[5:]))
        for n in range(count)
    ]
    check = SurveyQuestion(
        "q0-check1", "dress/0", "r", "t", "is red", "dress", tuple(images[:5]), tuple(images[5:]), check=2
    )
    return Survey("fashioniq", (2, 1), "consent", ((*questions, check),))


def _answered(
    answers: Answers, survey: Survey, name: str, prefers: Sequence[str], *, check: bool = True, nothing: bool = False
) -> None:
    """`prefers`: for each question "a", "b", "left" or "right"."""
    person = consent(answers, survey, name)
    for question, wanted in zip(survey.sets[0], prefers, strict=False):
        side = {"left": 1, "right": 2}.get(wanted) or (1 if (wanted == "a") == person.a_is_left(question) else 2)
        scores = (4, 2) if side == 1 else (2, 4)
        answer(answers, person, question, scores=scores, preferred=side, nothing=nothing and question.id == "q0")
    answer(answers, person, survey.sets[0][-1], scores=(1, 5) if check else (3, 3), preferred=2, nothing=False)


@pytest.fixture
def answers(tmp_path: Path) -> Answers:
    return Answers(tmp_path / "answers.db")


def test_people_who_all_prefer_a_version_agree(answers: Answers) -> None:
    survey = _survey()
    for number in range(4):
        _answered(answers, survey, f"p{number}", ["a"] * 6)
    told = rater_report(survey, participations(answers, survey))
    assert (told["people"], told["people_kept"], told["people_finished"], told["answers"]) == (4, 4, 4, 24)
    assert told["prefers_a"] == {"share": 1.0, "low": 1.0, "high": 1.0}
    assert told["agreement"] == 1.0
    assert 0.2 < told["left_preferred"]["share"] < 0.8  # sides are shuffled
    assert told["inconsistent"]["share"] == 0.0
    assert any("prefer version 2 to version 1" in line for line in sentences(told))


def test_a_person_who_always_takes_the_left_shows(answers: Answers) -> None:
    survey = _survey()
    for number in range(4):
        _answered(answers, survey, f"p{number}", ["left"] * 6)
    told = rater_report(survey, participations(answers, survey))
    assert told["left_preferred"]["share"] == 1.0
    assert told["agreement"] < 1.0
    assert [one["left_preferred"] for one in told["raters"]] == [1.0] * 4


def test_failed_checks_and_nothing_relevant_are_left_out_and_counted(answers: Answers) -> None:
    survey = _survey()
    _answered(answers, survey, "good", ["a"] * 6, nothing=True)
    _answered(answers, survey, "careless", ["b"] * 6, check=False)
    people = participations(answers, survey)
    told = rater_report(survey, people)
    assert (told["checks_failed"], told["people_kept"], told["answers"]) == (1, 1, 6)
    found = export_rows(survey, people)
    assert found.left_out == {"attention checks failed": 6, "nothing relevant": 1}
    assert (found.kept, list(found.people)) == (5, ["user_1"])
    assert export_rows(survey, people, nothing=True).kept == 6
    assert export_rows(survey, people, failed=1, nothing=True).kept == 12


def test_alpha_is_krippendorffs() -> None:
    # 12 units of four raters reduced to two values; alpha computed by hand from the coincidence matrix.
    units = [[True, True, True], [False, False], [True, False, True], [False, False, False], [True]]
    n_true, n_false = 5, 6
    disagreeing = 2 * 2 * 1 / 2
    expected = 1 - (disagreeing / 11) / (2 * n_true * n_false / (11 * 10))
    assert krippendorff(units) == pytest.approx(expected)
    assert krippendorff([[True], [False]]) is None
    assert krippendorff([[True, True]]) is None


def test_nobody_has_said_anything(answers: Answers) -> None:
    survey = _survey()
    assert participation(answers, survey, "a stranger") is None
    told = rater_report(survey, participations(answers, survey))
    assert (told["people"], told["answers"], told["prefers_a"], told["agreement"]) == (0, 0, None, None)
    assert len(sentences(told)) == 1


@pytest.mark.parametrize(
    ("scores", "preferred", "words"),
    [((0, 3), 1, "scores go from 1 to 5"), ((3, 6), 1, "scores go from 1 to 5"), ((3, 3), 3, "one of the two sides")],
)
def test_a_number_outside_its_scale_is_not_kept(
    answers: Answers, scores: tuple[int, int], preferred: int, words: str
) -> None:
    survey = _survey()
    person = consent(answers, survey, "ann")
    with pytest.raises(BadInput, match=words):
        answer(answers, person, survey.sets[0][0], scores=scores, preferred=preferred, nothing=False)
    assert answers.of("preference") == []

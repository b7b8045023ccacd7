"""A person in a survey: consent, questions, tabs, resuming; and the way of the answers to HP-FashionIQ's readers."""

import html
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qure.benchmarks.hp_fashioniq.files import read_pairs
from qure.errors import BadInput
from qure.evaluation import evaluate_embeddings, write_embeddings
from qure.studio.application import application
from qure.studio.survey.export import write_export
from qure.studio.survey.progress import participations


def _begin(visitor: Any) -> str:
    return str(visitor.post("/survey/begin", {"agree": "yes"}).text)


def _asked(page: str) -> str:
    return html.unescape(re.search(r'name="question" value="([^"]*)"', page)[1])  # type: ignore[index]


def _form(page: str, left: int = 4, right: int = 2) -> dict[str, str]:
    check = re.search(r'data-check="([12])"', page)
    if check:
        left, right = (5, 1) if check[1] == "1" else (1, 5)
    preferred = "1" if left > right else "2"
    return {"question": _asked(page), "score_1": str(left), "score_2": str(right), "preferred": preferred}


def _finish(visitor: Any, page: str) -> str:
    while 'name="question"' in page:
        page = visitor.post("/survey/answer", _form(page)).text
    return page


def test_without_a_survey_it_says_how_to_make_one(visitor: Any) -> None:
    assert "qure survey new" in visitor.get("/survey").text


def test_a_survey_about_other_pictures_is_not_asked(visitor: Any, survey: Any, studio: Any) -> None:
    replace(survey, training_set="cirr").save(studio.survey_file)
    for page in (visitor.get("/survey"), visitor.post("/survey/begin", {"agree": "yes"})):
        assert (page.status_code, "Start it with --training-set cirr" in page.text) == (400, True)
    assert not studio.answers.file.exists()


def test_nobody_is_asked_without_consent(visitor: Any, survey: Any, studio: Any) -> None:
    page = visitor.get("/survey")
    assert survey.consent[:60] in page.text
    refused = visitor.post("/survey/begin", {})
    assert (refused.status_code, "without consent" in refused.text) == (400, True)
    assert visitor.post("/survey/answer", {"question": "q1"}).url.path == "/survey"
    assert not studio.answers.file.exists()


def test_a_person_answers_and_is_thanked(visitor: Any, survey: Any, studio: Any) -> None:
    page = _begin(visitor)
    assert "Question 1 of 5" in page
    reloaded = visitor.get("/survey").text
    assert reloaded == page, "a reload shuffles nothing"
    assert "Thank you" in _finish(visitor, page)
    (person,) = participations(studio.answers, survey)
    assert person.next is None
    for question in person.questions:
        given = person.answered[question.id].content
        assert given["a_left"] == person.a_is_left(question)
        if not question.check:
            assert (given["scores"], given["preferred"], given["nothing"]) == ([4, 2], 1, False)


def test_two_tabs_do_not_overwrite_each_other(visitor: Any, survey: Any, studio: Any) -> None:
    page = _begin(visitor)
    first = visitor.post("/survey/answer", _form(page, 5, 1))
    assert "is kept" in first.text
    again = visitor.post("/survey/answer", _form(page, 5, 1))
    assert "is kept" in again.text, "the same form twice is no contradiction"
    other_tab = visitor.post("/survey/answer", _form(page, 1, 5))
    assert "your first answer stays" in other_tab.text
    (answer,) = studio.answers.of("preference")
    assert answer.content["scores"] == [5, 1]
    assert _asked(other_tab.text) == _asked(first.text)


def test_it_goes_on_in_another_browser_by_the_token(visitor: Any, make_visitor: Any, survey: Any, studio: Any) -> None:
    page = visitor.post("/survey/answer", _form(_begin(visitor))).text
    token = html.unescape(re.search(r'<code id="token">([^<]*)</code>', page)[1])  # type: ignore[index]
    elsewhere = make_visitor(application(studio))
    assert "Which answers do you prefer?" in elsewhere.get("/survey").text
    wrong = elsewhere.post("/survey/resume", {"token": "guessed"})
    assert (wrong.status_code, "Nobody has begun" in wrong.text) == (400, True)
    resumed = elsewhere.post("/survey/resume", {"token": token})
    assert _asked(resumed.text) == _asked(page)
    assert len(participations(studio.answers, survey)) == 1


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"score_1": "6"}, "how well the left row fits"),
        ({"score_2": ""}, "the right row"),
        ({"preferred": "3"}, "preferred"),
        ({"question": "q999"}, "no question"),
        ({"question": "<script>x</script>"}, "no question"),
    ],
)
def test_half_an_answer_is_none(visitor: Any, survey: Any, studio: Any, wrong: dict[str, str], words: str) -> None:
    answer = visitor.post("/survey/answer", _form(_begin(visitor)) | wrong)
    assert (answer.status_code, words in answer.text) == (400, True)
    assert "<script>x" not in answer.text
    assert studio.answers.of("preference") == []


def test_a_consent_that_is_sent_again_begins_nothing_twice(make_visitor: Any, survey: Any, studio: Any) -> None:
    """The server died after it had kept the consent and before the browser had the cookie."""
    page = make_visitor(application(studio)).get("/survey").text
    fresh = re.search(r'name="fresh" value="([^"]*)"', page)[1]  # type: ignore[index]
    for _ in range(2):
        answer = make_visitor(application(studio)).post("/survey/begin", {"agree": "yes", "fresh": fresh})
        assert "Question 1 of 5" in answer.text
    assert len(participations(studio.answers, survey)) == 1


def test_question_sets_are_given_in_turn(make_visitor: Any, survey: Any, studio: Any) -> None:
    for _ in range(4):
        _begin(make_visitor(application(studio)))
    assert [one.number for one in participations(studio.answers, survey)] == [0, 1, 0, 1]


def test_the_export_is_read_as_hp_fashioniq(make_visitor: Any, survey: Any, studio: Any, tmp_path: Path) -> None:
    for _ in range(3):
        visitor = make_visitor(application(studio))
        _finish(visitor, _begin(visitor))
    root = tmp_path / "hp_fashioniq"
    found = write_export(survey, studio.answers, root)
    pairs = read_pairs(root)
    assert (len(pairs), found.kept, found.left_out) == (12, 12, {})
    people = participations(studio.answers, survey)
    expected = [
        (one.reference, one.target, " ".join(one.text.split()), one.category, *person.sides(one))
        for person in people
        for one in person.questions
        if not one.check
    ]
    told = [(one.reference, one.target, one.text, one.category, one.set_1, one.set_2) for one in pairs]
    assert told == expected
    assert {(one.scores, one.preferred) for one in pairs} == {((4, 2), 1)}
    images = sorted({image for one in pairs for image in (*one.set_1, *one.set_2)})
    draw = np.random.default_rng(0).standard_normal
    write_embeddings(tmp_path / "q.safetensors", [one.query_id for one in pairs], draw((12, 8)))
    write_embeddings(tmp_path / "g.safetensors", images, draw((len(images), 8)))
    metrics = evaluate_embeddings(
        "hp-fashioniq",
        root,
        "answers",
        tmp_path / "q.safetensors",
        tmp_path / "g.safetensors",
        tmp_path / "metrics.json",
    )
    assert (metrics["queries"], metrics["people"]) == (12, 3)


def test_nothing_to_export_is_said(survey: Any, studio: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nobody has answered"):
        write_export(survey, studio.answers, tmp_path / "out")
    assert not (tmp_path / "out").exists()

"""`qure studio`, `qure survey`, `qure labels`: what stands in the way is one sentence."""

import json
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.studio.answers import Answers
from qure.studio.survey.questions import Survey, SurveyQuestion


@pytest.fixture
def survey(project: Path) -> Survey:
    """A survey of one question, in place."""
    images = tuple(f"i{number}" for number in range(10))
    question = SurveyQuestion("q1", "dress/0", "r", "t", "is red", "dress", images[:5], images[5:])
    made = Survey("fashioniq", (1, 2), "consent", ((question,),))
    made.save(project / "studio" / "survey.json")
    return made


def test_a_survey_is_not_made_twice(qure: Callable[..., Any], project: Path, survey: Survey) -> None:
    said = qure("survey", "new")
    assert (said.exit_code, "a survey is there already" in said.err) == (2, True)


def test_without_a_survey_there_is_nothing_to_report(qure: Callable[..., Any], project: Path) -> None:
    for command in (("survey", "report"), ("survey", "export", "--output", "out")):
        said = qure(*command)
        assert (said.exit_code, "qure survey new" in said.err) == (2, True), said
    assert not (project / "out").exists()


def test_report_and_export(qure: Callable[..., Any], project: Path, survey: Survey) -> None:
    from qure.studio.survey.progress import answer, consent

    answers = Answers(project / "studio" / "answers.db")
    person = consent(answers, survey, "ann")
    answer(answers, person, survey.sets[0][0], scores=(5, 2), preferred=1, nothing=False)
    assert "1 people agreed, 1 finished" in qure("survey", "report").out
    assert json.loads(qure("survey", "report", "--json").out)["answers"] == 1
    assert json.loads(qure("survey", "export", "--output", "out", "--json").out) == {"rows": 1, "left_out": {}}
    assert {one.name for one in (project / "out").iterdir()} == {"hpfiq.json", "rows.json"}
    again = qure("survey", "export", "--output", "out")
    assert (again.exit_code, "not empty" in again.err) == (2, True)


def test_labels_of_a_split_that_is_none(qure: Callable[..., Any], project: Path) -> None:
    said = qure("labels", "export", "--split", "test")
    assert (said.exit_code, "no split 'test'" in said.err) == (2, True)


def test_a_missing_library_names_the_extra(
    qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [one for one in sys.modules if one.startswith(("starlette", "qure.studio"))]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "starlette", None)
    said = qure("studio")
    assert (said.exit_code, "qure[studio]" in said.err) == (2, True)


def test_a_port_that_is_taken_is_said() -> None:
    from qure.cli.errors import ending

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with socket.socket() as second, pytest.raises(OSError, match="in use") as caught:
            second.bind(taken.getsockname())
    told = ending(caught.value)
    assert told is not None
    assert "another port" in told.message

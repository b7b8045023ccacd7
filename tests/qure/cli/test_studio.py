"""`qure studio`, `qure survey`, `qure labels`: what stands in the way is one sentence."""

import importlib
import json
import shutil
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
    unlucky = consent(answers, survey, "bob")
    answer(answers, unlucky, survey.sets[0][0], scores=(1, 1), preferred=1, nothing=True)
    said = qure("survey", "export", "--output", "second")
    assert said.out == "second: 1 rows of 1 people; 1 left out: nothing relevant\n"
    again = qure("survey", "export", "--output", "out")
    assert (again.exit_code, "not empty" in again.err) == (2, True)


def test_the_page_is_asked_for_as_the_options_say(
    qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qure.studio import server

    asked = {}

    def serve(project: Any, folder: Path, **options: Any) -> None:
        asked.update(options, training_set=project.training_set, folder=folder)

    monkeypatch.setattr(server, "serve", serve)
    options = ("--host", "::1", "--port", "0", "--allow-host", "studio.example", "--training-set", "cirr")
    (project / "file").touch()
    assert qure("studio", *options, "--folder", "file/studio", "--read-only").exit_code == 0
    assert asked == {
        "training_set": "cirr",
        "folder": Path("file/studio"),
        "host": "::1",
        "port": 0,
        "allowed": ["studio.example"],
        "read_only": True,
    }
    asked.clear()
    said = qure("studio", "--folder", "file/studio")
    assert (said.exit_code != 0, asked) == (True, {}), "where nothing can be kept it does not begin"
    assert "file" in said.err


def test_a_survey_needs_two_versions(qure: Callable[..., Any], project: Path, sqlite_uri: str) -> None:
    file = project / "params.yaml"
    file.write_text(file.read_text().replace("sqlite:///mlflow.db", sqlite_uri))
    assert sqlite_uri in file.read_text()
    said = qure("survey", "new")
    assert (said.exit_code, "qure-fashioniq has no version" in said.err) == (2, True)
    said = qure("survey", "new", "--consent", "none.txt", "--folder", "other")
    assert (said.exit_code, "none.txt" in said.err) == (2, True)
    assert not (project / "studio").exists()


def test_a_survey_that_was_drawn_is_kept(
    qure: Callable[..., Any], project: Path, survey: Survey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The drawing itself takes two models: tests/qure/studio/survey/test_questions.py."""
    asked = {}

    def draw(project: Any, a: str, b: str, **options: Any) -> Survey:
        asked.update(options, a=a, b=b)
        return survey

    monkeypatch.setattr("qure.studio.survey.questions.new_survey", draw)
    monkeypatch.setattr("qure.studio.project.Project.versions", lambda self: ["1", "2"])
    monkeypatch.setattr("qure.studio.project.Project.version", lambda self, wanted, versions: f"{wanted} of {versions}")
    (project / "agree.txt").write_text(" I agree.\n")
    said = qure(
        "survey", "new", "--b", "1", "--sets", "2", "--questions", "3", "--checks", "1", "--seed", "5",
        "--consent", "agree.txt", "--folder", "new",
    )  # fmt: skip
    assert said.out == "new/survey.json: 2 sets of 3 questions and 1 checks; ask it: qure studio\n"
    assert asked == {
        "a": "champion of ['1', '2']",
        "b": "1 of ['1', '2']",
        "sets": 2,
        "questions": 3,
        "checks": 1,
        "seed": 5,
        "consent": "I agree.",
    }
    assert Survey.load(project / "new" / "survey.json") == survey


def test_only_a_rendered_catalogue_is_answered_by_simulated_people(
    qure: Callable[..., Any], project: Path, catalogue: Path
) -> None:
    shutil.copytree(catalogue / "fashioniq", project / "data" / "fashioniq", ignore=_images)
    (project / "data" / "fashioniq" / "truth.json").unlink()
    said = qure("survey", "simulate")
    assert (said.exit_code, "data/fashioniq: this data has no known truth" in said.err) == (2, True)


def _images(folder: str, names: list[str]) -> list[str]:
    return [name for name in names if name == "images"]


def test_labels_are_written_into_the_data(qure: Callable[..., Any], project: Path, catalogue: Path) -> None:
    from qure.benchmarks import get_benchmark
    from qure.studio.labels import mark, subject_of

    shutil.copytree(catalogue / "fashioniq", project / "data" / "fashioniq", ignore=_images)
    query, other = get_benchmark("fashioniq").read_training(project / "data" / "fashioniq")[0][:2]
    answers = Answers(project / "studio" / "answers.db")
    mark(answers, "ann", subject_of("fashioniq", "train", query.query_id), other.target, right=True)
    said = qure("labels", "export", "--split", "train")
    file = "data/fashioniq/labels.train.json"
    assert said.out == f"{file}: 1 queries looked at, 1 further right images; version it: dvc add data\n"
    (row,) = json.loads((project / file).read_text())
    assert row["gt_img_ids"] == [query.target, other.target]
    told = json.loads(qure("labels", "export", "--split", "train", "--json").out)
    assert told == {"file": file, "queries": 1, "further_right": 1}
    said = qure("labels", "export")
    assert (said.exit_code, "nobody has marked a val query" in said.err) == (2, True)


def test_labels_of_a_split_that_is_none(qure: Callable[..., Any], project: Path) -> None:
    said = qure("labels", "export", "--split", "test")
    assert (said.exit_code, "no split 'test'" in said.err) == (2, True)


def test_a_missing_library_names_the_extra(
    qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = importlib.import_module("qure.studio")
    monkeypatch.setattr(sys.modules["qure"], "studio", studio)  # importing it anew puts another one there
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

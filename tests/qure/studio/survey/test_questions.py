"""Surveys: what is chosen, and that a file is what it was."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from qure.errors import BadInput
from qure.studio.survey.questions import Survey, new_survey


def test_questions_show_both_versions_top_five(survey: Any, project: Any) -> None:
    assert [len(chosen) for chosen in survey.sets] == [5, 5]
    for chosen in survey.sets:
        assert sum(bool(one.check) for one in chosen) == 1
        assert not chosen[0].check
    for one in (one for chosen in survey.sets for one in chosen):
        query = project.queries[one.query_id]
        for images, version in ((one.a, 2), (one.b, 1)):
            found = project.searcher(version).search(
                project.images.read(query.reference), query.text, top_k=5, group=query.category, exclude=query.reference
            )
            assert images == tuple(found_one.image_id for found_one in found)
        assert set(one.a) != set(one.b)


def test_it_is_a_function_of_its_seed_and_survives_its_file(survey: Any, project: Any, tmp_path: Path) -> None:
    versions = {one.number: one for one in project.versions()}
    again = new_survey(project, versions[2], versions[1], sets=2, questions=4, checks=1)
    assert again == survey
    other = new_survey(project, versions[2], versions[1], sets=2, questions=4, checks=1, seed=1)
    assert other.fingerprint != survey.fingerprint
    survey.save(tmp_path / "s.json")
    assert Survey.load(tmp_path / "s.json").fingerprint == survey.fingerprint
    assert replace(survey, consent="other").fingerprint != survey.fingerprint


def test_what_cannot_be_asked_is_refused(project: Any, tmp_path: Path) -> None:
    versions = {one.number: one for one in project.versions()}
    with pytest.raises(BadInput, match="with itself"):
        new_survey(project, versions[1], versions[1])
    with pytest.raises(BadInput, match=r"differ in their top 5 .* take 200000\. Ask for fewer"):
        new_survey(project, versions[2], versions[1], sets=1000, questions=200)
    with pytest.raises(BadInput, match="qure survey new"):
        Survey.load(tmp_path / "none.json")
    with pytest.raises(BadInput, match="at least one set of one question"):
        new_survey(project, versions[2], versions[1], sets=0)
    without: Any = SimpleNamespace(gallery={"": ("a", "b")}, training_set="cirr")
    with pytest.raises(BadInput, match=r"--training-set.*: cirr has no categories, .*with fashioniq"):
        new_survey(without, versions[2], versions[1])
    for text in ("[]", '{"format": "qure-survey", "version": 2}', '{"format": "another", "version": 1}'):
        (tmp_path / "other.json").write_text(text)
        with pytest.raises(BadInput, match=r"other\.json: is no survey of version 1\. Make a survey: qure survey new"):
            Survey.load(tmp_path / "other.json")
    (tmp_path / "half.json").write_text('{"format": "qure-survey", "version": 1, "sets": [[{"id": 1}]]}')
    with pytest.raises(BadInput, match="not a whole survey"):
        Survey.load(tmp_path / "half.json")

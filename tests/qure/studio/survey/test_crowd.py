"""Simulated people through HTTP, with the server killed in between: nothing is lost, and the better version wins."""

import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from qure.evaluation.stage import evaluate_benchmark
from qure.studio.answers import Answers, person_of
from qure.studio.application import ANSWERS
from qure.studio.survey.crowd import SimulatedPerson, relevance_of
from qure.studio.survey.export import write_export
from qure.studio.survey.progress import participations
from qure.studio.survey.questions import SURVEY, new_survey
from qure.studio.survey.raters import rater_report

pytestmark = pytest.mark.integration

PEOPLE, KILLS = 30, 4


def test_thirty_people_and_kills_lose_nothing(
    world: Any, project: Any, serve: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "studio"
    versions = {one.number: one for one in project.versions()}
    survey = new_survey(project, versions[2], versions[1], sets=3, questions=6, checks=2)
    survey.save(folder / SURVEY)
    server = serve(folder=folder)
    relevance = relevance_of(project)
    crowd = [SimulatedPerson(server.address, relevance, [7, number], patience=120) for number in range(PEOPLE)]
    failures: list[BaseException] = []

    def answer(people: list[SimulatedPerson]) -> None:
        try:
            for person in people:
                person.answer_all()
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=answer, args=(crowd[start::5],)) for start in range(5)]
    for thread in threads:
        thread.start()
    kills, pause = 0, random.Random(3)
    answers = Answers(folder / ANSWERS, read_only=True)
    while any(thread.is_alive() for thread in threads):
        # Spread over the survey: after each fifth of all answers.
        if kills < KILLS and len(answers.of("preference")) > (kills + 1) * PEOPLE * 8 / (KILLS + 1):
            time.sleep(pause.uniform(0, 0.05))
            server.kill()
            kills += 1
            server.start()
        time.sleep(0.02)
    assert not failures, failures
    assert kills == KILLS
    found = {one.person: one for one in participations(Answers(folder / ANSWERS), survey)}
    assert len(found) == PEOPLE
    for person in crowd:
        kept = found[person_of(person.token)]
        assert kept.next is None
        assert set(kept.answered) == set(person.given)
        for question, form in person.given.items():
            content = kept.answered[question].content
            assert content["scores"] == [int(form["score_1"]), int(form["score_2"])]
            assert content["preferred"] == int(form["preferred"])
            assert content["nothing"] == (form.get("nothing") == "yes")
    told = rater_report(survey, list(found.values()))
    true_share = _true_share(survey, relevance)
    assert abs(told["prefers_a"]["share"] - true_share) < 0.2, (told["prefers_a"], true_share)
    assert told["agreement"] > 0.5

    data = tmp_path / "data"
    shutil.copytree(world.data / "fashioniq", data / "fashioniq", symlinks=True)
    exported = write_export(survey, Answers(folder / ANSWERS), data / "hp_fashioniq")
    layout = world.layout
    metrics = evaluate_benchmark(
        world.settings,
        "fashioniq",
        "hp-fashioniq",
        data=data,
        features=layout.feature_stores,
        model=layout.model,
        output=tmp_path / "judged",
        device="cpu",
    )["hp_fashioniq"]
    assert (metrics["queries"], metrics["people"]) == (exported.kept, len(exported.people))


def _true_share(survey: Any, relevance: Any) -> float:
    """How often version a's five are truly the better ones."""
    questions = [one for chosen in survey.sets for one in chosen if not one.check]
    better = [
        (sum(relevance(one.reference, one.text, list(one.a))) > sum(relevance(one.reference, one.text, list(one.b))))
        + 0.5
        * (sum(relevance(one.reference, one.text, list(one.a))) == sum(relevance(one.reference, one.text, list(one.b))))
        for one in questions
    ]
    return sum(better) / len(better)

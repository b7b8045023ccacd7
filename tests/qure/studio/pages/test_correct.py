"""Marking what is also right."""

import html
import re
from typing import Any

import pytest

from qure.studio.application import application
from qure.studio.labels import marks_of


def _places(page: str) -> list[str]:
    return [html.unescape(one) for one in re.findall(r'<a href="(/correct\?split=\w+&amp;query=[^"]*)"', page)]


@pytest.mark.parametrize("split", ["val", "train"])
def test_a_mark_is_kept_and_shown(visitor: Any, studio: Any, split: str) -> None:
    listing = visitor.get(f"/correct?split={split}")
    places = _places(listing.text)
    assert places
    page = visitor.get(places[0])
    query = html.unescape(re.search(r'name="query" value="([^"]*)"', page.text)[1])  # type: ignore[index]
    image = html.unescape(re.search(r'name="image" value="([^"]*)"', page.text)[1])  # type: ignore[index]
    after = visitor.post("/correct/mark", {"split": split, "query": query, "image": image, "right": "yes"})
    assert after.status_code == 200
    assert 'aria-pressed="true" aria-label="picture' in after.text
    assert "1 say right, 0 not" in after.text
    (answer,) = studio.answers.of("mark")
    assert (answer.subject, answer.content) == (f"fashioniq/{split}/{query}", {"image": image, "right": True})
    visitor.post("/correct/mark", {"split": split, "query": query, "image": image, "right": "no"})
    votes = marks_of(studio.answers, "fashioniq", split)[query][image]
    assert (votes.right, votes.wrong) == (0, 1), "the same browser is the same person"


def test_two_people_have_a_vote_each(make_visitor: Any, studio: Any) -> None:
    visitors = [make_visitor(application(studio)) for _ in range(2)]
    page = visitors[0].get(_places(visitors[0].get("/correct").text)[0]).text
    form = {
        name: html.unescape(re.search(rf'name="{name}" value="([^"]*)"', page)[1])  # type: ignore[index]
        for name in ("split", "query", "image")
    }
    for visitor, right in zip(visitors, ("yes", "no"), strict=True):
        shown = visitor.post("/correct/mark", form | {"right": right}).text
    assert "1 say right, 1 not" in shown


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"split": "test"}, 400),
        ({"query": "dress/999999"}, 404),
        ({"image": "../../etc/passwd"}, 404),
        ({"right": "perhaps"}, 400),
    ],
)
def test_what_nobody_was_shown_cannot_be_marked(visitor: Any, studio: Any, form: dict[str, str], status: int) -> None:
    page = visitor.get(_places(visitor.get("/correct").text)[0]).text
    good = {
        name: html.unescape(re.search(rf'name="{name}" value="([^"]*)"', page)[1])  # type: ignore[index]
        for name in ("split", "query", "image")
    }
    assert visitor.post("/correct/mark", good | {"right": "yes"} | form).status_code == status
    assert studio.answers.of("mark") == []


def test_a_query_that_is_not_there_is_said(visitor: Any) -> None:
    page = visitor.get("/correct?split=val&query=dress/999999")
    assert (page.status_code, "There is no such query." in page.text) == (404, True)

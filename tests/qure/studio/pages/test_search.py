"""The search page: pictures, words, refinement, addresses; and what it does not let in."""

import html
import re
from typing import Any

import pytest

from qure.studio.answers import Answers


def _query(project: Any) -> Any:
    return next(iter(project.queries.values()))


def test_it_answers_as_the_library_does(visitor: Any, project: Any) -> None:
    query = _query(project)
    page = visitor.client.get(
        "/", params={"r": f"gallery:{query.reference}", "t": query.text, "group": query.category, "model": "2"}
    )
    assert page.status_code == 200
    shown = [html.unescape(one) for one in re.findall(r'alt="answer \d+: ([^"]*)"', page.text)]
    expected = project.searcher(2).search(
        project.images.read(query.reference), query.text, group=query.category, exclude=query.reference
    )
    assert shown == [one.image_id for one in expected]
    assert [f"relevance {one.relevance:.3f}" in page.text for one in expected] == [True] * 10
    other = visitor.client.get(
        "/", params={"r": f"gallery:{query.reference}", "t": query.text, "group": query.category, "model": "challenger"}
    )
    assert "Answers of version 1 (challenger)" in other.text
    assert re.findall(r'alt="answer \d+: ([^"]*)"', other.text) != re.findall(r'alt="answer \d+: ([^"]*)"', page.text)


def test_an_answer_becomes_the_next_reference_and_the_path_stays(visitor: Any, project: Any) -> None:
    query = _query(project)
    page = visitor.client.get("/", params={"r": f"gallery:{query.reference}", "t": query.text})
    onward = html.unescape(re.search(r'<ol class="grid" id="answers">\s*<li><a href="([^"]*)"', page.text)[1])
    then = visitor.get(onward)
    assert then.text.count('<ol class="path" aria-label="path">') == 1
    assert html.escape(query.text) in then.text
    assert "autofocus" in then.text
    third = visitor.client.get(
        "/",
        params=[
            ("r", f"gallery:{query.reference}"),
            ("t", query.text),
            ("r", f"gallery:{query.target}"),
            ("t", "is darker"),
        ],
    )
    assert "Answers of" in third.text
    assert third.text.count('alt="step') == 2


@pytest.mark.parametrize(
    ("place", "status", "words"),
    [
        ("/?r=gallery:nothing-like-it&t=is+red", 404, "is not here"),
        ("/?r=gallery:../../etc/passwd&t=is+red", 404, "is not here"),
        ("/?r=upload:../answers.db&t=is+red", 404, "is not here"),
        ("/?r=/etc/passwd&t=is+red", 404, "is not here"),
        ("/?model=99", 400, "has no version"),
        ("/?group=trousers", 400, "no group"),
        ("/?k=0", 400, "number of answers"),
        ("/?k=9999999999999999999999", 400, "number of answers"),
        ("/?k=" + "9" * 5000, 400, "number of answers"),
        ("/?page=" + "9" * 5000, 200, "page 1 of"),
        ("/?" + "&".join(["r=gallery:a"] * 31), 400, "steps"),
        ("/?r=gallery:a&t=" + "x" * 501, 400, "characters"),
        ("/picture?id=../../../../etc/passwd", 404, "no such image"),
        ("/picture?id=%00", 404, "no such image"),
        ("/uploads/..%2F..%2Fanswers.db", 404, "no such"),
        ("/static/..%2Fstudio.py", 404, "no such"),
        ("/nowhere", 404, "no such page"),
    ],
)
def test_what_is_wrong_gets_a_sentence(visitor: Any, place: str, status: int, words: str) -> None:
    page = visitor.get(place)
    assert (page.status_code, words in page.text) == (status, True), page.text
    assert "Traceback" not in page.text


def test_markup_in_texts_and_ids_is_inert(visitor: Any, project: Any) -> None:
    query = _query(project)
    hostile = "\"'><script>window.ran = 1</script><img src=x onerror=alert(1)>{{ 7*7 }}"
    page = visitor.client.get("/", params={"r": f"gallery:{query.reference}", "t": hostile, "group": "dress"})
    assert page.status_code == 200
    assert "<script>window" not in page.text
    assert "<img src=x" not in page.text
    assert "49" not in re.sub(r"relevance \S+|gallery%3A\S+|[\w.]*\d[\w.]*", "", page.text)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    broken = visitor.client.get("/", params={"group": hostile})
    assert "<script>window" not in broken.text


def test_pictures_of_images_are_small_and_encoded_anew(visitor: Any, project: Any) -> None:
    image = _query(project).reference
    found = visitor.client.get("/picture", params={"id": image})
    assert found.headers["content-type"] == "image/jpeg"
    assert found.content != project.images.read(image)
    assert found.content[:2] == b"\xff\xd8"


def test_nothing_is_written_by_looking(visitor: Any, studio: Any) -> None:
    for place in ("/", "/compare", "/correct", "/minings", "/survey"):
        assert visitor.get(place).status_code == 200, place
    assert isinstance(studio.answers, Answers)
    assert not studio.answers.file.exists()

"""Foreign names and foreign pages are refused; a page that only shows takes nothing."""

from dataclasses import replace
from typing import Any

import pytest

from qure.studio.answers import Answers
from qure.studio.application import application


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example:8765", "", "localhost@evil.example", "[::1"])
def test_other_names_are_refused(visitor: Any, host: str) -> None:
    answer = visitor.get("/static/studio.css", host=host)
    assert answer.status_code == 403
    assert "not served under the name" in answer.text


@pytest.mark.parametrize("host", ["localhost:8765", "127.0.0.1", "[::1]:8765", "LOCALHOST"])
def test_this_machines_names_are_served(visitor: Any, host: str) -> None:
    assert visitor.get("/static/studio.css", host=host).status_code == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1:9999"},
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
    ],
)
@pytest.mark.parametrize("place", ["/uploads", "/survey/begin", "/survey/resume", "/survey/answer", "/correct/mark"])
def test_writing_from_other_pages_is_refused(visitor: Any, studio: Any, place: str, headers: dict[str, str]) -> None:
    answer = visitor.post(place, {"agree": "yes"}, **headers)
    assert answer.status_code == 403
    assert "another page" in answer.text
    assert not studio.answers.file.exists()


def test_the_own_page_may_write(visitor: Any) -> None:
    headers = {"origin": "http://127.0.0.1:8765", "sec_fetch_site": "same-origin"}
    assert visitor.post("/uploads", b"no picture", **headers).status_code == 400


def test_read_only_takes_nothing(make_visitor: Any, studio: Any) -> None:
    shown = replace(studio, read_only=True, answers=Answers(studio.answers.file, read_only=True))
    visitor = make_visitor(application(shown))
    for place in ("/uploads", "/survey/begin", "/survey/answer", "/correct/mark", "/nowhere"):
        answer = visitor.post(place, {"agree": "yes"})
        assert (answer.status_code, "only shows" in answer.text) == (403, True)
    page = visitor.get("/")
    assert "shown only" in page.text
    assert 'type="file"' not in page.text


def test_a_conversation_instead_of_a_page_is_refused(visitor: Any) -> None:
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), visitor.client.websocket_connect("/survey/answer"):
        pytest.fail("it was taken")


def test_every_answer_has_the_headers(visitor: Any) -> None:
    for place in ("/", "/nowhere", "/picture?id=x", "/static/studio.js"):
        headers = visitor.get(place).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "script-src 'self'" in headers["content-security-policy"]
        assert "unsafe" not in headers["content-security-policy"]


def test_a_form_that_is_too_large_is_refused(visitor: Any) -> None:
    answer = visitor.post("/survey/begin", b"agree=" + b"y" * 100_000)
    assert (answer.status_code, "64,000" in answer.text) == (400, True)

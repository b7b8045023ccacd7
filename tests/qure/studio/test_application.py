"""What goes wrong in the server is a page with a sentence, a status, and none of the server's paths."""

import errno
import os
from typing import Any

import pytest

from qure.errors import BadInput, StageFailed


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (BadInput("qure-fashioniq has no version", remedy="qure promote"), 400, "has no version. qure promote"),
        (StageFailed("MLflow at http://host does not answer"), 503, "MLflow at http://host does not answer"),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/sentinel-path"), 503, "kept: No space left on device."),
        (OSError("sentinel-path"), 503, "cannot be read or kept: the system refuses."),
        (RuntimeError("sentinel-path"), 500, "The page has a fault; the server&#39;s log has it."),
    ],
)
def test_an_error_is_a_sentence(
    visitor: Any, project: Any, monkeypatch: pytest.MonkeyPatch, error: Exception, status: int, words: str
) -> None:
    def fail() -> Any:
        raise error

    monkeypatch.setattr(project, "versions", fail)
    page = visitor.get("/compare")
    assert (page.status_code, words in page.text) == (status, True), page.text
    assert "sentinel-path" not in page.text
    assert "</html>" in page.text


def test_a_way_of_asking_that_is_not_meant_is_a_sentence(visitor: Any) -> None:
    page = visitor.post("/compare", {})
    assert (page.status_code, "Method Not Allowed." in page.text) == (405, True)
    assert "</html>" in page.text


def test_a_form_that_is_none_is_a_sentence(visitor: Any) -> None:
    for content in (b"agree=\xff", b"&".join(b"a=b" for _ in range(101))):
        page = visitor.post("/survey/begin", content)
        assert (page.status_code, "this is no form" in page.text) == (400, True)

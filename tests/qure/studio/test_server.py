"""What a server says as it begins. `test_browser.py` asks one that runs."""

import logging
import socket
from pathlib import Path
from typing import Any

import pytest

from qure.errors import BadInput
from qure.studio import server


@pytest.fixture
def listening(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Addresses that are listened at; nobody is served."""
    found: list[tuple[str, int]] = []
    monkeypatch.setattr("uvicorn.Server.run", lambda self, sockets: found.append(sockets[0].getsockname()[:2]))
    monkeypatch.setattr(server, "_warm", lambda project, number: None)
    return found


@pytest.mark.parametrize(("read_only", "words"), [(False, "read this page and write to it"), (True, "read this page")])
def test_who_else_reaches_the_page_is_said(
    project: Any, tmp_path: Path, listening: Any, caplog: pytest.LogCaptureFixture, read_only: bool, words: str
) -> None:
    with caplog.at_level(logging.INFO):
        server.serve(project, tmp_path / "kept", host="127.0.0.1", port=0)
    ((host, port),) = listening
    assert caplog.messages == [f"the page is at http://{host}:{port}; end it with Ctrl-C"]
    caplog.clear()
    with caplog.at_level(logging.WARNING):
        server.serve(project, tmp_path / "kept", host="0.0.0.0", port=0, read_only=read_only)
    warnings = [one.getMessage() for one in caplog.records if one.levelno >= logging.WARNING]
    assert warnings == [f"everybody who reaches 0.0.0.0 can {words}"]


def test_an_address_of_version_six_stands_in_brackets(
    project: Any, tmp_path: Path, listening: Any, caplog: pytest.LogCaptureFixture
) -> None:
    try:
        with socket.socket(socket.AF_INET6) as probe:
            probe.bind(("::1", 0))
    except OSError:
        pytest.skip("this machine has no IPv6")
    with caplog.at_level(logging.INFO):
        server.serve(project, tmp_path / "kept", host="::1", port=0)
    assert f"the page is at http://[::1]:{listening[0][1]};" in caplog.text


def test_a_version_that_does_not_load_stops_no_server(
    project: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def gone(number: int) -> Any:
        raise BadInput("its files are gone")

    monkeypatch.setattr(project, "searcher", gone)
    server._warm(project, 2)
    assert caplog.messages == ["qure-fashioniq version 2 does not load: its files are gone"]

"""What a simulated person does when the server refuses her, or is not there. `test_crowd.py` lets a crowd answer."""

import socket
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from qure.errors import StageFailed
from qure.studio.survey.crowd import SimulatedPerson


def _equal(reference: str, text: str, images: list[str]) -> list[float]:
    return [0.5] * len(images)


def test_a_refusal_is_told_in_the_pages_own_words() -> None:
    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = b"<html><h1>Not so</h1><p>This page\n is not served under the name.</p></html>"
            self.send_response(403)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *arguments: Any) -> None:
            """Quiet."""

    with HTTPServer(("127.0.0.1", 0), Refusing) as server:
        thread = threading.Thread(target=server.handle_request, daemon=True)
        thread.start()
        person = SimulatedPerson(f"http://127.0.0.1:{server.server_port}", _equal, 0)
        with pytest.raises(
            StageFailed, match=r"/survey is refused \(403\): Not so This page is not served under the name\."
        ):
            person.answer_all()
        thread.join()


def test_a_server_that_is_not_there_is_waited_for_and_then_told() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{unused.getsockname()[1]}"
        person = SimulatedPerson(address, _equal, 0, patience=0.15)
        with pytest.raises(StageFailed, match=rf"{address} does not answer: .*refused"):
            person.answer_all()

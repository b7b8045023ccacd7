"""The connection: what is said when there is none, and that only the API's own answers are believed."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import ReadTimeoutError

from pipelines.client import PipelinesService, connection
from pipelines.client.connection import all_pages, connect, equals, message, only, translated
from pipelines.config import Service
from qure.errors import BadInput, StageFailed


def test_without_an_address_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KF_PIPELINES_ENDPOINT", raising=False)
    with pytest.raises(BadInput, match="KF_PIPELINES_ENDPOINT"):
        PipelinesService(Service())


def test_an_address_where_nothing_answers_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(StageFailed, match="does not answer"):
        PipelinesService(Service())


def test_a_wrong_token_is_said_and_never_shown(api: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "another-sentinel")
    with pytest.raises(StageFailed, match="401") as failure:
        PipelinesService(Service())
    assert "another-sentinel" not in str(failure.value)
    api.refusals.clear()


def test_a_login_page_is_named(api: Any, service: PipelinesService) -> None:
    """A proxy that asks for a login answers 200 with a page: out of that kfp's client makes empty answers."""
    api.login_page = "<!DOCTYPE html><html><body>Log in</body></html>"
    for act in (lambda: PipelinesService(Service()), lambda: service.status(), lambda: service.stop("run")):
        with pytest.raises(StageFailed, match=r"web page instead of JSON.*KF_PIPELINES_TOKEN"):
            act()
    api.login_page = None


def test_what_an_upload_says_of_its_refusal_is_shown(
    service: PipelinesService, api: Any, package: Any, tmp_path: Any
) -> None:
    """Uploads answer with fields of their own."""
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("pipelineInfo: {name: wrong}\n")
    with pytest.raises(StageFailed, match="400 Bad Request: unknown template format"):
        service.upload(wrong)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ('{"message": "no rights", "error_message": "other"}', "no rights"),
        ('{"error_message": "Failed", "error_details": " first line\\n at x"}', "Failed: first line"),
        ('{"error_message": "Failed: no such id", "error_details": "no such id"}', "Failed: no such id"),
        ('{"error_message": "Failed", "error_details": null}', "Failed"),
        ('{"error_message": "Failed"}', "Failed"),
        ('{"code": 3}', "no further details"),
        ("<html>", "no further details"),
        ("[1]", "no further details"),
        (None, "no further details"),
    ],
)
def test_a_refusal_is_said_in_the_servers_words(body: str | None, said: str) -> None:
    assert message(SimpleNamespace(body=body)) == said


def test_a_refusal_and_a_silence_are_failures() -> None:
    refusal = ApiException(status=403, reason="Forbidden")
    refusal.body = '{"message": "no rights"}'
    with pytest.raises(StageFailed, match=r"^Kubeflow Pipelines answered 403 Forbidden: no rights$"), translated():
        raise refusal
    with pytest.raises(StageFailed, match=r"^Kubeflow Pipelines does not answer: .*timed out"), translated():
        raise ReadTimeoutError(None, "url", "timed out")  # type: ignore[arg-type]
    with translated():
        reached = True
    assert reached


class Listing:
    """Pages of an API; an empty one has None for its entries."""

    def __init__(self, *pages: list[int] | None) -> None:
        self.pages = pages
        self.asked: list[dict[str, Any]] = []

    def __call__(self, **query: Any) -> Any:
        self.asked.append(query)
        place = int(query["page_token"] or 0)
        last = place == len(self.pages) - 1
        return SimpleNamespace(things=self.pages[place], next_page_token=None if last else str(place + 1))


def test_all_pages_are_read() -> None:
    pages = Listing([1, 2], None, [3])
    assert all_pages(pages, "things", filter="f", namespace=None) == [1, 2, 3]
    assert pages.asked == [{"page_token": token, "page_size": 100, "filter": "f"} for token in ("", "1", "2")]


@pytest.mark.parametrize(
    ("most", "found", "pages"),
    [(None, [2, 4, 6], 3), (1, [2], 1), (2, [2, 4], 2), (3, [2, 4, 6], 3), (9, [2, 4, 6], 3)],
)
def test_no_more_pages_are_read_than_it_takes(most: int | None, found: list[int], pages: int) -> None:
    listing = Listing([1, 2, 3], [4, 5], [6])
    assert all_pages(listing, "things", wanted=lambda one: one % 2 == 0, most=most) == found
    assert len(listing.asked) == pages


def test_a_filter_is_what_the_api_takes() -> None:
    assert equals("display_name", 'a "b"') == (
        '{"predicates": [{"operation": "EQUALS", "key": "display_name", "stringValue": "a \\"b\\""}]}'
    )


def test_the_only_one_or_all_of_them_by_name() -> None:
    several = [SimpleNamespace(id=name, created_at=datetime(2026, 3, 4, 5, 6, tzinfo=UTC)) for name in ("x", "y")]
    assert only(several[:1], "runs", "id", "Delete one") is several[0]
    listed = r"there are 2 runs: x \(created 2026-03-04 05:06\), y \(created 2026-03-04 05:06\)\. Delete one"
    with pytest.raises(BadInput, match=listed):
        only(several, "runs", "id", "Delete one")


@pytest.mark.parametrize(
    ("endpoint", "address"),
    [
        (" kubeflow.example/pipeline/ ", "https://kubeflow.example/pipeline"),
        ("http://127.0.0.1:8888", "http://127.0.0.1:8888"),
    ],
)
@pytest.mark.parametrize("token", [None, "sentinel", " "])
def test_where_a_client_asks_and_as_whom(
    endpoint: str, address: str, token: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[str, str | None]] = []
    monkeypatch.setattr(connection, "_health", lambda *of: asked.append(of) or {"multi_user": False})
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", endpoint)
    monkeypatch.delenv("KF_PIPELINES_TOKEN", raising=False)
    if token is not None:
        monkeypatch.setenv("KF_PIPELINES_TOKEN", token)
    api = connect(Service(namespace="team"))
    given = (token or "").strip() or None
    assert (asked, api.namespace) == ([(address, given)], None)
    for service in (api.experiments, api.pipelines, api.uploads, api.runs, api.recurring_runs):
        configuration = service.api_client.configuration
        assert configuration.host == address
        assert configuration.get_api_key_with_prefix("authorization") == (f"Bearer {given}" if given else None)


def test_a_namespace_is_needed_where_there_are_some(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "_health", lambda *_: {"multi_user": True})
    monkeypatch.setenv("KF_PIPELINES_ENDPOINT", "http://127.0.0.1:8888")
    assert connect(Service(namespace="team")).namespace == "team"
    with pytest.raises(BadInput, match=r"service\.namespace.*serves many users"):
        connect(Service(namespace=None))


@pytest.mark.parametrize(
    ("kind", "content", "is_json"),
    [
        ("application/json", b'{"a": 1}', True),
        ("application/json", "[]", True),
        ("text/HTML; charset=utf-8", b"{}", False),
        (None, b"<html>", False),
        ("application/json", "<html>", False),
        (None, b"", True),
        (None, "", True),
        (None, b"[", True),
        (None, "{", True),
    ],
)
def test_what_is_taken_for_json(kind: str | None, content: bytes | str, is_json: bool) -> None:
    assert connection._is_json(kind, content) is is_json

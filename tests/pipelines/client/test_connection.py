"""The connection: what is said when there is none, and that only the API's own answers are believed."""

from typing import Any

import pytest

from pipelines.client import PipelinesService
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

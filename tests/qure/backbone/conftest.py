"""One thread: tests share the machine, and threads that wait for each other there cost minutes."""

import pytest


@pytest.fixture(autouse=True)
def one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qure.backbone.pretraining.THREADS", 1)

"""The wait loop against a cluster played by a small state machine: no cluster can run in the tests."""

import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra.trainer import run
from infra.trainer.run import ApiUnavailable, Cancelled, JobExists, run_train_job
from qure.errors import StageFailed

JOB = {"metadata": {"name": "job"}}


class FakeCluster:
    """Answers `conditions` from a script, one entry per look; the last entry stays."""

    def __init__(self, *script: dict[str, str] | Exception | None, logs: dict[str, list[str]] | None = None) -> None:
        self.script = list(script)
        self.log_lines = logs or {}
        self.created: list[dict[str, Any]] = []
        self.deleted = 0
        self.existing = False
        self.running = True
        self.broken_streams = 0

    def create(self, job: dict[str, Any]) -> None:
        if self.existing:
            raise JobExists("AlreadyExists")
        self.created.append(job)
        self.existing = True

    def conditions(self, name: str) -> dict[str, str] | None:
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def delete(self, name: str) -> None:
        self.deleted += 1
        self.existing = False

    def pods(self, name: str) -> dict[str, bool]:
        return dict.fromkeys(self.log_lines, self.running)

    def follow(self, pod: str) -> Iterator[str]:
        for number, line in enumerate(self.log_lines[pod]):
            if self.broken_streams and number == 1:
                self.broken_streams -= 1
                raise ApiUnavailable("stream broken")
            yield line


def launch(cluster: FakeCluster, lines: list[str] | None = None, timeout: float = 5.0) -> None:
    emit = (lines if lines is not None else []).append
    run_train_job(cluster, JOB, timeout_seconds=timeout, poll_seconds=0.01, emit=emit)


def test_a_complete_job_returns_and_is_removed() -> None:
    cluster = FakeCluster({}, {"Created": ""}, {"Complete": "done"})
    launch(cluster)
    assert len(cluster.created) == 1
    assert cluster.deleted == 1


def test_a_job_that_is_complete_at_once_is_not_missed() -> None:
    launch(FakeCluster({"Complete": ""}))


def test_failure_is_propagated_with_the_clusters_reason_and_the_job_deleted() -> None:
    cluster = FakeCluster({}, {"Failed": "node-0 exited with 1"})
    with pytest.raises(StageFailed, match="node-0 exited with 1"):
        launch(cluster)
    assert cluster.deleted == 1


def test_a_job_that_takes_too_long_fails_and_is_deleted() -> None:
    cluster = FakeCluster({"Running": ""})
    with pytest.raises(StageFailed, match="in time"):
        launch(cluster, timeout=0.05)
    assert cluster.deleted == 1


def test_a_job_that_someone_deletes_is_a_failure() -> None:
    with pytest.raises(StageFailed, match="is gone"):
        launch(FakeCluster({}, None))


def test_an_api_that_is_away_for_a_moment_is_forgiven() -> None:
    launch(FakeCluster({}, ApiUnavailable("503"), ApiUnavailable("503"), {"Complete": ""}))


def test_an_api_that_stays_silent_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "SILENCE_SECONDS", 0.02)
    cluster = FakeCluster({}, ApiUnavailable("503"))
    with pytest.raises(StageFailed, match="not answered"):
        launch(cluster)
    assert cluster.deleted == 1


def test_deletion_is_tried_again() -> None:
    cluster = FakeCluster({"Complete": ""})
    really_delete, failures = cluster.delete, [ApiUnavailable("503"), ApiUnavailable("503")]

    def delete(name: str) -> None:
        if failures:
            raise failures.pop()
        really_delete(name)

    cluster.delete = delete  # type: ignore[method-assign]
    launch(cluster)
    assert not failures
    assert cluster.deleted == 1


def test_sigterm_deletes_the_job_and_gives_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cluster = FakeCluster({"Running": ""})
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Cancelled):
        launch(cluster)
    assert cluster.deleted == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_running_job_of_a_killed_launcher_is_adopted() -> None:
    cluster = FakeCluster({"Running": ""}, {"Complete": ""})
    cluster.existing = True
    launch(cluster)
    assert cluster.created == []


@pytest.mark.parametrize("silences", [1, 12])
def test_a_running_job_is_adopted_though_the_api_is_away_for_a_moment(
    silences: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    away = [ApiUnavailable("503") for _ in range(silences)]
    cluster = FakeCluster(*away, {"Running": ""}, {"Running": ""}, {"Complete": ""})
    cluster.existing = True
    deleted_at = []
    cluster.delete = lambda name: deleted_at.append(len(cluster.script))  # type: ignore[method-assign]
    launch(cluster)
    assert cluster.created == []
    assert deleted_at == [1], "deleted once, after its end"


def test_attempts_to_create_a_job_last_as_long_as_a_silence_is_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    cluster = FakeCluster(ApiUnavailable("503"))
    cluster.existing = True
    with pytest.raises(StageFailed, match="could not be created: 503"):
        launch(cluster)
    assert run.SILENCE_SECONDS <= sum(pauses) <= run.SILENCE_SECONDS + 30


def test_a_failed_job_of_an_earlier_attempt_is_made_anew() -> None:
    cluster = FakeCluster({"Failed": "earlier"}, {"Running": ""}, {"Complete": ""})
    cluster.existing = True
    launch(cluster)
    assert len(cluster.created) == 1


def test_logs_of_all_pods_arrive_once_and_in_order() -> None:
    lines: list[str] = []
    cluster = FakeCluster({}, {}, {}, {"Complete": ""}, logs={"node-0": ["a", "b"], "node-1": ["c"]})
    launch(cluster, lines)
    assert [line for line in lines if "node-0" in line] == ["[node-0] a", "[node-0] b"]
    assert [line for line in lines if "node-1" in line] == ["[node-1] c"]


def test_a_broken_log_stream_is_taken_up_without_repeating_lines() -> None:
    lines: list[str] = []
    cluster = FakeCluster(*[{}] * 20, {"Complete": ""}, logs={"node-0": ["a", "b", "c"]})
    cluster.broken_streams = 2
    launch(cluster, lines)
    assert lines == ["[node-0] a", "[node-0] b", "[node-0] c"]


def test_no_thread_is_left_emitting_after_the_end() -> None:
    lines: list[str] = []

    class Endless(FakeCluster):
        def follow(self, pod: str) -> Iterator[str]:
            while True:
                yield "line"
                time.sleep(0.005)

    cluster = Endless({}, {"Failed": "x"}, logs={"node-0": []})
    original = run.LogStreams.drain
    run.LogStreams.drain = lambda self, seconds=0.02: original(self, 0.02)  # type: ignore[method-assign]
    try:
        with pytest.raises(StageFailed):
            launch(cluster, lines)
    finally:
        run.LogStreams.drain = original  # type: ignore[method-assign]
    time.sleep(0.05)
    count = len(lines)
    time.sleep(0.05)
    assert len(lines) == count

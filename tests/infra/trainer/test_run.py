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


class Refusing(FakeCluster):
    """A cluster that never creates the job."""

    def __init__(self, answer: Exception, *script: dict[str, str] | None) -> None:
        super().__init__(*script)
        self.answer, self.asked = answer, 0

    def create(self, job: dict[str, Any]) -> None:
        self.asked += 1
        raise self.answer


@pytest.mark.parametrize(
    ("answer", "left", "deletions"),
    [
        (ApiUnavailable("503"), None, 0),
        (JobExists("AlreadyExists"), {"Failed": "earlier"}, run.CREATION_ATTEMPTS),
        (JobExists("AlreadyExists"), None, run.CREATION_ATTEMPTS),  # seen by one request, gone for the next
    ],
)
def test_a_job_that_cannot_be_created_is_a_failure(
    answer: Exception, left: dict[str, str] | None, deletions: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(run.time, "sleep", pauses.append)
    cluster = Refusing(answer, left)
    with pytest.raises(StageFailed, match=f"train job job could not be created: {answer}"):
        launch(cluster)
    assert cluster.asked == run.CREATION_ATTEMPTS
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8] + 19 * [15])
    assert cluster.deleted == deletions + 1, "what a lost request may have made is deleted at the end"


def test_deleting_is_tried_five_times_and_then_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    cluster = FakeCluster({"Complete": ""})

    def delete(name: str) -> None:
        cluster.deleted += 1
        raise ApiUnavailable("503")

    cluster.delete = delete  # type: ignore[method-assign]
    monkeypatch.setattr(run.time, "sleep", pauses.append)
    launch(cluster)
    assert cluster.deleted == 5
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2])
    assert "kubectl delete trainjob job" in caplog.text


@pytest.mark.parametrize("end", ["Complete", "Failed"])
def test_the_last_lines_are_waited_for(end: str) -> None:
    """The job has ended when the cluster still hands on what it wrote last."""

    class Slow(FakeCluster):
        def follow(self, pod: str) -> Iterator[str]:
            yield "first"
            time.sleep(0.2)
            yield "last"

    lines: list[str] = []
    cluster = Slow({end: "reason"}, logs={"node-0": [], "node-1": []})
    if end == "Failed":
        with pytest.raises(StageFailed, match="job failed: reason"):
            launch(cluster, lines)
    else:
        launch(cluster, lines)
    for pod in ("node-0", "node-1"):
        assert [line for line in lines if pod in line] == [f"[{pod}] first", f"[{pod}] last"]


class Followed(FakeCluster):
    """Counts how often each pod's log is asked for."""

    def __init__(self, *script: dict[str, str], lines: list[str]) -> None:
        super().__init__(*script, logs={"node-0": lines})
        self.asked: list[str] = []
        self.until = threading.Event()

    def follow(self, pod: str) -> Iterator[str]:
        self.asked.append(pod)
        yield from self.log_lines[pod]
        self.until.wait(20)


def test_a_stream_that_goes_on_is_not_followed_twice() -> None:
    cluster = Followed(*[{}] * 20, {"Complete": ""}, lines=["a"])
    drain = run.LogStreams.drain

    def ended(self: run.LogStreams) -> None:
        cluster.until.set()
        drain(self)

    lines: list[str] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run.LogStreams, "drain", ended)
        launch(cluster, lines)
    assert cluster.asked == ["node-0"]
    assert lines == ["[node-0] a"]


def test_a_pod_that_has_ended_is_read_once() -> None:
    cluster = Followed(*[{}] * 20, {"Complete": ""}, lines=["a", "b"])
    cluster.until.set()
    cluster.running = False
    lines: list[str] = []
    launch(cluster, lines)
    assert cluster.asked == ["node-0"], "not once per look at the job"
    assert lines == ["[node-0] a", "[node-0] b"]


def test_one_pods_slow_end_leaves_others_their_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten seconds are for all pods together: what one has used up, the next does not get again."""
    now = iter([100.0, 100.0, 107.0, 112.0])
    streams = run.LogStreams(FakeCluster({}), print)
    waits: list[float] = []

    class Thread:
        def join(self, timeout: float) -> None:
            waits.append(timeout)

    streams._threads = {name: Thread() for name in ("a", "b", "c")}  # type: ignore[misc]
    monkeypatch.setattr(run.time, "monotonic", lambda: next(now))
    streams.drain()
    assert waits == [10.0, 3.0, 0.0]

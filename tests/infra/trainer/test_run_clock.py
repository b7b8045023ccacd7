"""When the wait loop says something, and when it gives up: on a clock that only its own pauses move."""

import logging
import threading
from collections.abc import Iterator
from typing import Any

import pytest

from infra.trainer import run
from infra.trainer.api import ApiUnavailable, End, JobExists, JobInTheWay, Problem, Worker
from infra.trainer.run import run_train_job, train_job
from qure.errors import BadInput, StageFailed

JOB: dict[str, Any] = {"metadata": {"name": "job"}}
RUNNING = Worker("node-0", began=True, running=True)


class Clock:
    """Seconds since the beginning, and every pause."""

    def __init__(self) -> None:
        self.now, self.pauses = 0.0, list[float]()

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.pauses.append(seconds)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    own = Clock()
    monkeypatch.setattr(run, "time", own)
    return own


class Cluster:
    """Complete at a time of the clock; until then its workers are what they are."""

    def __init__(self, clock: Clock, *workers: Worker, complete_at: float = float("inf")) -> None:
        self.clock, self.workers, self.complete_at = clock, list(workers), complete_at
        self.in_the_way: list[Exception] = []
        self.away_from = float("inf")
        self.created = self.deleted = 0
        self.lines: dict[str, list[str]] = {}

    def create(self, job: dict[str, Any]) -> None:
        if self.in_the_way:
            raise self.in_the_way[0] if len(self.in_the_way) == 1 else self.in_the_way.pop(0)
        self.created += 1

    def conditions(self, name: str) -> dict[str, str] | None:
        if self.clock.now >= self.away_from:
            raise ApiUnavailable("503")
        return {"Complete": ""} if self.clock.now >= self.complete_at else {}

    def delete(self, name: str) -> None:
        self.deleted += 1

    def pods(self, name: str) -> list[Worker]:
        return self.workers

    def problems(self, name: str, *, pods_missing: bool) -> list[Problem]:
        return [Problem(f"asked with {'missing' if pods_missing else 'all'} pods")] if pods_missing else []

    def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
        yield from self.lines.get(pod, [])


def launch(cluster: Cluster, *, timeout: float = 10_000.0, poll: float = 10.0, job: dict[str, Any] = JOB) -> None:
    run_train_job(cluster, job, timeout_seconds=timeout, poll_seconds=poll, emit=lambda _: None)  # type: ignore[arg-type]


def test_a_job_is_looked_at_every_ten_seconds(clock: Clock) -> None:
    run_train_job(Cluster(clock, RUNNING, complete_at=30), JOB, timeout_seconds=100)  # type: ignore[arg-type]
    with train_job(Cluster(clock, RUNNING, complete_at=50), JOB, timeout_seconds=100):  # type: ignore[arg-type]
        pass
    assert clock.pauses == [10.0] * 5


def test_a_deadline_is_over_when_it_has_passed_and_the_last_problem_is_said(clock: Clock) -> None:
    problems = [Worker(f"node-{number}", problem=Problem(f"problem {number}")) for number in range(3)]
    cluster = Cluster(clock, *problems)
    with pytest.raises(StageFailed, match=r"did not end in time and was deleted \(last: problem 2\)$"):
        launch(cluster, timeout=100, poll=50, job=JOB | {"spec": {"trainer": {"numNodes": 3}}})
    assert (clock.now, cluster.deleted) == (150.0, 1)


def test_a_silence_is_borne_for_five_minutes(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(clock, RUNNING)
    cluster.away_from = 1000.0
    with pytest.raises(StageFailed, match="has not answered for a while: 503"):
        launch(cluster, poll=100)
    assert clock.now == 900.0 + 400.0, "it last answered at 900"
    assert caplog.text.count("the cluster's API did not answer: 503") == 3


def test_what_is_hopeless_for_half_a_minute_ends_it(clock: Clock) -> None:
    cluster = Cluster(clock, Worker("node-0", problem=Problem("no such secret", hopeless=True)))
    with pytest.raises(StageFailed, match="cannot start: no such secret"):
        launch(cluster)
    assert clock.now == 30.0


def test_a_problem_that_goes_on_is_said_every_ten_minutes(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(clock, Worker("node-0", problem=Problem("no free GPU")), complete_at=1300)
    launch(cluster, poll=100)
    assert caplog.text.count("train job job waits: no free GPU") == 3, "at 0, 600 and 1200"


@pytest.mark.parametrize(("complete_at", "times"), [(45, 0), (60, 1)])
def test_that_nothing_starts_is_said_after_three_quarters_of_a_minute(
    clock: Clock, complete_at: float, times: int, caplog: pytest.LogCaptureFixture
) -> None:
    launch(Cluster(clock, Worker("node-0"), complete_at=complete_at), poll=15)
    assert caplog.text.count("node-0: not started, and nothing says why") == times


def test_quiet_is_counted_anew_after_all_have_begun(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    """A worker that is restarted after hours has not been quiet for hours."""

    class Restarted(Cluster):
        def pods(self, name: str) -> list[Worker]:
            return [RUNNING] if 30 <= self.clock.now < 3600 else [Worker("node-0")]

    launch(Restarted(clock, complete_at=3630), poll=15)
    assert "nothing says why" not in caplog.text


@pytest.mark.parametrize("nodes", [1, 2])
def test_a_cluster_is_asked_whether_pods_are_missing(
    clock: Clock, nodes: int, caplog: pytest.LogCaptureFixture
) -> None:
    job = JOB | {"spec": {"trainer": {"numNodes": nodes}}}
    launch(Cluster(clock, Worker("node-0"), complete_at=10), job=job)
    assert ("asked with missing pods" in caplog.text) == (nodes == 2)


def test_another_run_is_waited_for_as_long_as_a_job_may_take(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(clock)
    cluster.in_the_way = [JobInTheWay("run 7 trains", busy=True), JobInTheWay("run 8 trains", busy=True)]
    with pytest.raises(StageFailed, match="run 8 trains, and did not end in time"):
        launch(cluster, timeout=100, poll=50)
    assert (clock.pauses, cluster.deleted) == ([50.0, 50.0, 50.0], 0)
    for number in (7, 8):
        assert caplog.text.count(f"run {number} trains; waiting for its end") == 1


@pytest.mark.parametrize(
    ("in_the_way", "said"),
    [
        (None, "created train job job"),
        (JobExists("AlreadyExists"), "train job job is there already: going on with it"),
        (JobInTheWay("left of run 7", stale=True), "train job job: left of run 7; it is deleted"),
    ],
)
def test_what_becomes_of_a_job_is_said(
    clock: Clock, in_the_way: Exception | None, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    cluster = Cluster(clock, complete_at=0)
    if isinstance(in_the_way, JobInTheWay):
        cluster.delete = lambda name: cluster.in_the_way.clear()  # type: ignore[method-assign]
    cluster.in_the_way = [] if in_the_way is None else [in_the_way]
    launch(cluster)
    assert said in caplog.messages


def test_the_error_of_a_worker_that_refused_its_input_is_waited_for(clock: Clock) -> None:
    class Slow(Cluster):
        def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
            threading.Event().wait(0.05)
            yield f"error: {pod} was given something wrong"

    ended = Worker("node-1", began=True, ends=(End("node-1", 0, BadInput.exit_code),))
    other = Worker("node-2", began=True, running=True)
    job = JOB | {"spec": {"trainer": {"numNodes": 2}}}
    with pytest.raises(BadInput, match="; node-1 ended with exit status 2: error: node-1 was given something wrong"):
        launch(Slow(clock, ended, other), job=job)


def test_a_job_can_be_run_beside_the_main_thread(clock: Clock) -> None:
    """Signals come to the main thread alone: another one asks for none, and deletes its job as well."""
    cluster, ended = Cluster(clock, RUNNING, complete_at=20), list[bool]()
    thread = threading.Thread(target=lambda: (launch(cluster), ended.append(True)))
    thread.start()
    thread.join(20)
    assert (ended, cluster.created, cluster.deleted) == ([True], 1, 1)


def test_attempts_to_delete_are_numbered(clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    cluster = Cluster(clock, complete_at=0)

    def delete(name: str) -> None:
        raise ApiUnavailable("503")

    cluster.delete = delete  # type: ignore[method-assign]
    launch(cluster)
    for number in range(1, 6):
        assert f"train job job could not be deleted (attempt {number}): 503" in caplog.messages

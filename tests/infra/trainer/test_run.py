"""The wait loop against a cluster played by a small state machine, and once over HTTP with the recorded answers."""

import itertools
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from infra.trainer import run
from infra.trainer.api import ApiUnavailable, End, JobExists, JobInTheWay, Problem, Worker
from infra.trainer.run import Cancelled, run_train_job, train_job
from qure.errors import BadInput, StageFailed

JOB = {"metadata": {"name": "job"}}


class FakeCluster:
    """Answers `conditions` from a script, one entry per look; the last entry stays. So do `workers`."""

    def __init__(self, *script: dict[str, str] | Exception | None, logs: dict[str, list[str]] | None = None) -> None:
        self.script = list(script)
        self.log_lines = logs or {}
        self.created: list[dict[str, Any]] = []
        self.deleted = 0
        self.there: list[Exception] = []
        self.workers: list[list[Worker]] = []
        self.hindrances: list[Problem] = []

    def owner(self, run: str) -> dict[str, Any] | None:
        return None

    def create(self, job: dict[str, Any]) -> None:
        if self.there:
            raise self.there[0] if len(self.there) == 1 else self.there.pop(0)
        self.created.append(job)
        self.there = [JobExists("AlreadyExists")]

    def conditions(self, name: str) -> dict[str, str] | None:
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, Exception):
            raise answer
        return answer

    def delete(self, name: str) -> None:
        self.deleted += 1
        self.there = []

    def pods(self, name: str) -> list[Worker]:
        if self.workers:
            return self.workers.pop(0) if len(self.workers) > 1 else self.workers[0]
        return [Worker(pod, began=True, running=True) for pod in self.log_lines]

    def problems(self, name: str, *, pods_missing: bool) -> list[Problem]:
        return self.hindrances

    def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
        yield from self.log_lines.get(pod, [])


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


def test_the_job_is_there_until_what_it_made_is_taken() -> None:
    """Whoever waits for this name would otherwise write to the same folder."""
    cluster = FakeCluster({"Complete": ""})
    with train_job(cluster, JOB, timeout_seconds=5, poll_seconds=0.01):
        assert cluster.deleted == 0
    assert cluster.deleted == 1
    with pytest.raises(OSError, match="disk full"), train_job(cluster, JOB, timeout_seconds=5, poll_seconds=0.01):
        raise OSError("disk full")
    assert cluster.deleted == 2


def test_failure_is_propagated_with_the_clusters_reason_and_the_job_deleted() -> None:
    cluster = FakeCluster({}, {"Failed": "node-0 exited with 1"})
    with pytest.raises(StageFailed, match="node-0 exited with 1"):
        launch(cluster)
    assert cluster.deleted == 1


def test_a_failure_names_the_worker_that_failed_first_its_status_and_its_error() -> None:
    """The others are stopped because of it; when the job is seen to have failed, its pods are gone."""
    logs = {"node-0": ["epoch 1", "error: loss is not finite", "error: later"], "node-1": ["RuntimeError: peer closed"]}
    cluster = FakeCluster({}, {}, {"Failed": "jobset failed (first failed job: job-node-0)"}, logs=logs)
    ends = {
        "node-0": End("node-0", 0, 1, "Error", "2026-11-27T08:40:10Z"),
        "node-1": End("node-1", 0, 143, "Error", "2026-11-27T08:40:05Z"),
    }
    cluster.workers = [[Worker(pod, began=True, ends=(end,)) for pod, end in ends.items()], []]
    expected = r"job-node-0\); node-0 ended with exit status 1: error: loss is not finite$"
    with pytest.raises(StageFailed, match=expected):
        launch(cluster)


def test_a_worker_that_was_killed_for_memory_says_so() -> None:
    cluster = FakeCluster({}, {"Failed": "jobset failed"})
    cluster.workers = [[Worker("node-0", began=True, ends=(End("node-0", 0, 137, "OOMKilled"),))]]
    with pytest.raises(StageFailed, match=r"node-0 ended with exit status 137 \(OOMKilled\)"):
        launch(cluster)


def test_bad_input_ends_the_job_at_once_whatever_restarts_it_has_left() -> None:
    """Seen: six restarts, 190 s, for nothing."""
    cluster = FakeCluster({}, logs={"node-0": ["error: params.yaml, field 'training': unknown key"]})
    refused = Worker("node-0", 1, began=True, running=True, ends=(End("node-0", 0, 2),))
    cluster.workers = [[Worker("node-0", began=True, running=True)], [refused]]
    with pytest.raises(BadInput, match=r"node-0 ended with exit status 2: error: params\.yaml, field 'training'"):
        launch(cluster)
    assert cluster.deleted == 1


def test_a_worker_that_fails_otherwise_keeps_its_restarts() -> None:
    cluster = FakeCluster({}, {}, {"Complete": ""})
    cluster.workers = [[Worker("node-0", 1, began=True, running=True, ends=(End("node-0", 0, 1),))]]
    launch(cluster)


def test_a_job_that_takes_too_long_fails_and_is_deleted() -> None:
    cluster = FakeCluster({})
    cluster.workers = [[Worker("node-0", problem=Problem("node-0: Unschedulable: 1 Insufficient nvidia.com/gpu."))]]
    with pytest.raises(StageFailed, match=r"in time .*Insufficient nvidia"):
        launch(cluster, timeout=0.05)
    assert cluster.deleted == 1


def test_a_job_that_vanishes_is_a_failure_that_blames_nobody() -> None:
    with pytest.raises(StageFailed, match="is gone, and this task has not deleted it"):
        launch(FakeCluster({}, None))


def test_what_waits_is_said_once_in_a_while_and_what_cannot_be_mended_ends_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    clock = itertools.count(0.0, 5.0)
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(run.time, "sleep", lambda seconds: None)
    cluster = FakeCluster({})
    text = "node-0: CreateContainerConfigError: couldn't find key uri in Secret kubeflow/qure-tracking"
    cluster.workers = [[Worker("node-0", problem=Problem(text, hopeless=True))]]
    with caplog.at_level(logging.WARNING), pytest.raises(StageFailed, match=f"cannot start: {text}"):
        launch(cluster, timeout=1000)
    assert caplog.text.count(text) == 1
    assert next(clock) < 90, "within a minute of the cluster's time, and not at its deadline"
    assert cluster.deleted == 1


@pytest.mark.parametrize(
    ("workers", "said"),
    [([], "0 of 1 pods are there, and nothing says why"), ([Worker("node-0")], "node-0: not started, and nothing")],
)
def test_that_nothing_starts_is_said_within_a_minute_though_the_cluster_gives_no_reason(
    workers: list[Worker], said: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Trainer's controller is down, or an image of gigabytes is pulled: no condition, no event."""
    clock = [0.0]
    monkeypatch.setattr(run.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(run.time, "sleep", lambda seconds: clock.__setitem__(0, clock[0] + 10.0))
    for looks, times in ((5, 0), (7, 1)):  # one every ten seconds
        cluster = FakeCluster(*[{}] * looks, {"Complete": ""})
        cluster.workers = [workers]
        with caplog.at_level(logging.WARNING):
            launch(cluster, timeout=1000)
        assert caplog.text.count(said) == times


def test_a_secret_that_comes_a_moment_later_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is hopeless now and then, but not all the time, does not add up."""
    clock = itertools.count(0.0, 4.0)
    monkeypatch.setattr(run.time, "monotonic", lambda: next(clock))
    monkeypatch.setattr(run.time, "sleep", lambda seconds: None)
    cluster = FakeCluster(*[{}] * 30, {"Complete": ""})
    hopeless = [Worker("node-0", problem=Problem("secret not found", hopeless=True))]
    cluster.workers = [*([hopeless, hopeless, [Worker("node-0")]] * 10), [Worker("node-0", began=True)]]
    launch(cluster, timeout=100_000)


def test_what_may_pass_is_only_said(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "HOPELESS_SECONDS", 0.0)
    cluster = FakeCluster({}, {}, {"Suspended": "TrainJob is suspended"}, {"Complete": ""})
    cluster.hindrances = [Problem("no pod can be made: exceeded quota")]
    launch(cluster)
    assert caplog.text.count("exceeded quota") == 1
    assert "is suspended" in caplog.text


def test_workers_that_run_are_not_asked_why_they_do_not() -> None:
    cluster = FakeCluster({}, {}, {"Complete": ""}, logs={"node-0": ["a"]})
    cluster.hindrances = [Problem("of yesterday", hopeless=True)]
    cluster.problems = None  # type: ignore[assignment]
    launch(cluster)


def test_a_node_that_is_missing_is_asked_about_though_another_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "HOPELESS_SECONDS", 0.0)
    cluster = FakeCluster({}, {}, {"Complete": ""}, logs={"node-0": ["a"]})
    cluster.hindrances = [Problem("no pod can be made: quota is too small", hopeless=True)]
    job = JOB | {"spec": {"trainer": {"numNodes": 2}}}
    with pytest.raises(StageFailed, match="quota is too small"):
        run_train_job(cluster, job, timeout_seconds=5, poll_seconds=0.01)


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


def test_a_deletion_that_is_refused_hides_no_result(caplog: pytest.LogCaptureFixture) -> None:
    cluster = FakeCluster({"Complete": ""})

    def delete(name: str) -> None:
        cluster.deleted += 1
        raise BadInput("cannot delete resource")

    cluster.delete = delete  # type: ignore[method-assign]
    launch(cluster)
    assert cluster.deleted == 1, "it would be refused again"
    assert "cannot delete resource" in caplog.text
    assert "kubectl delete trainjob job" in caplog.text


def test_sigterm_deletes_the_job_and_gives_the_handler_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    cluster = FakeCluster({"Running": ""})
    threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
    with pytest.raises(Cancelled):
        launch(cluster)
    assert cluster.deleted == 1
    assert signal.getsignal(signal.SIGTERM) is before


def test_a_running_job_of_a_killed_launcher_is_adopted() -> None:
    cluster = FakeCluster({}, {"Complete": ""})
    cluster.there = [JobExists("AlreadyExists")]
    launch(cluster)
    assert cluster.created == []


@pytest.mark.parametrize("silences", [1, 12])
def test_a_running_job_is_adopted_though_the_api_is_away_for_a_moment(
    silences: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    away = [ApiUnavailable("503") for _ in range(silences)]
    cluster = FakeCluster(*away, {}, {}, {"Complete": ""})
    cluster.there = [JobExists("AlreadyExists")]
    deleted_at = []
    cluster.delete = lambda name: deleted_at.append(len(cluster.script))  # type: ignore[method-assign]
    launch(cluster)
    assert cluster.created == []
    assert deleted_at == [1], "deleted once, after its end"


def test_attempts_to_create_a_job_last_as_long_as_a_silence_is_borne(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(time, "sleep", pauses.append)
    cluster = FakeCluster(ApiUnavailable("503"))
    cluster.there = [JobExists("AlreadyExists")]
    with pytest.raises(StageFailed, match="could not be created: 503"):
        launch(cluster)
    assert run.SILENCE_SECONDS <= sum(pauses) <= run.SILENCE_SECONDS + 30


def test_a_failed_job_of_an_earlier_attempt_is_made_anew() -> None:
    cluster = FakeCluster({"Failed": "earlier"}, {}, {"Complete": ""})
    cluster.there = [JobExists("AlreadyExists")]
    launch(cluster)
    assert len(cluster.created) == 1


def test_a_stale_job_is_deleted_and_made_anew() -> None:
    cluster = FakeCluster({"Complete": ""})
    cluster.there = [JobInTheWay("left of a run that has ended", stale=True)]
    launch(cluster)
    assert len(cluster.created) == 1
    assert cluster.deleted == 2


def test_a_job_in_deletion_is_waited_for_and_not_adopted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    cluster = FakeCluster({"Complete": ""})
    there = [JobInTheWay("being deleted")] * 3
    really = cluster.create

    def create(job: dict[str, Any]) -> None:
        if there:
            raise there.pop()
        really(job)

    cluster.create = create  # type: ignore[method-assign]
    launch(cluster)
    assert len(cluster.created) == 1
    assert cluster.deleted == 1


def test_another_run_is_waited_for_longer_than_any_deletion_and_its_job_left_alone(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    cluster = FakeCluster({"Complete": ""})
    busy = [JobInTheWay("run 7 trains the same at this moment", busy=True)] * (3 * run.CREATION_ATTEMPTS)
    really = cluster.create

    def create(job: dict[str, Any]) -> None:
        if busy:
            raise busy.pop()
        assert cluster.deleted == 0, "the other run's job"
        really(job)

    cluster.create = create  # type: ignore[method-assign]
    launch(cluster)
    assert len(cluster.created) == cluster.deleted == 1
    assert caplog.text.count("run 7 trains the same") == 1


@pytest.mark.parametrize("how", ["timeout", "sigterm"])
def test_giving_up_on_another_run_leaves_its_job(how: str) -> None:
    cluster = FakeCluster({})
    cluster.there = [JobInTheWay("run 7 trains the same", busy=True)]
    if how == "sigterm":
        threading.Timer(0.1, os.kill, (os.getpid(), signal.SIGTERM)).start()
        with pytest.raises(Cancelled):
            launch(cluster)
    else:
        with pytest.raises(StageFailed, match="run 7 trains the same, and did not end in time"):
            launch(cluster, timeout=0.05)
    assert cluster.deleted == 0


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


def test_a_refused_job_is_neither_tried_again_nor_deleted() -> None:
    cluster = Refusing(BadInput("the cluster refuses: no such runtime"), {})
    with pytest.raises(BadInput, match="no such runtime"):
        launch(cluster)
    assert (cluster.asked, cluster.deleted) == (1, 0)


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


@pytest.mark.parametrize("end", ["Complete", "Failed", "gone"])
def test_the_last_lines_are_waited_for(end: str) -> None:
    """The job has ended when the cluster still hands on what it wrote last."""

    class Slow(FakeCluster):
        def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
            yield "first"
            time.sleep(0.2)
            yield "last"

    lines: list[str] = []
    cluster = Slow({}, None if end == "gone" else {end: "reason"}, logs={"node-0": [], "node-1": []})
    if end == "Complete":
        launch(cluster, lines)
    else:
        with pytest.raises(StageFailed, match="is gone" if end == "gone" else "job failed: reason"):
            launch(cluster, lines)
    for pod in ("node-0", "node-1"):
        assert [line for line in lines if pod in line] == [f"[{pod}] first", f"[{pod}] last"]


def test_over_http_a_job_goes_through_its_recorded_states(
    cluster: Any, jobs: Any, cluster_api: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Created, waiting without a condition, running, complete; pods say what the TrainJob does not."""
    labels = {"jobset.sigs.k8s.io/jobset-name": "job", "jobset.sigs.k8s.io/replicatedjob-name": "node"}

    def pod(restarts: int, **state: Any) -> dict[str, Any]:
        status = {"containerStatuses": [{"name": "node", "restartCount": restarts, **state}]}
        return {"metadata": {"name": "job-node-0-0", "labels": labels}, "status": status}

    secret = 'secret "qure-tracking" not found'
    waiting = {"state": {"waiting": {"reason": "CreateContainerConfigError", "message": secret}}}
    after = {"state": {"running": {}}, "lastState": {"terminated": {"exitCode": 1, "finishedAt": "x"}}}
    done = {"state": {"terminated": {"exitCode": 0, "finishedAt": "y"}}, "lastState": after["lastState"]}
    cluster.logs = {("job-node-0-0", True): [b"line 1\n", b"lost\n"], ("job-node-0-0", False): [b"line 1\nline 2\n"]}
    steps = iter(
        [
            ("created", []),
            ("waiting-config-error", [pod(0, **waiting)]),
            ("running", [pod(1, **after)]),
            ("complete", [pod(1, **done)]),
        ]
    )
    lines: list[str] = []
    real = jobs.conditions

    def conditions(name: str) -> dict[str, str] | None:
        if (step := next(steps, None)) is not None:
            cluster.put_status("job", step[0])
            cluster.pods = step[1]
        found: dict[str, str] | None = real(name)
        return found

    jobs.conditions = conditions
    run_train_job(jobs, {"metadata": {"name": "job"}}, timeout_seconds=20, poll_seconds=0.3, emit=lines.append)
    assert lines == [f"[job-node-0-0] {line}" for line in ("line 1", "lost", "line 1", "line 2")]
    assert secret in caplog.text
    assert cluster.deletions == [("job", "Background")]

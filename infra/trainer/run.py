"""Runs a train job to its end: create or adopt, stream logs, say what hinders it, wait, and never leave one behind.

Nothing depends on how this process ends. A job belongs to its run's Workflow, so that Kubernetes removes it with that;
the run's exit handler deletes what is left (`infra.trainer.cleanup`); its own deadline covers the rest.
"""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn

from infra.trainer.api import ApiUnavailable, End, JobExists, JobInTheWay, Problem, TrainJobs, Worker
from infra.trainer.logs import LogStreams
from qure.errors import BadInput, QureError, StageFailed

logger = logging.getLogger(__name__)

#: The API server may be restarted under a job that runs for hours; only a longer silence is a failure.
SILENCE_SECONDS = 300.0
#: As long a silence, with the pauses between them.
CREATION_ATTEMPTS = 26
#: A secret or a service account may come a moment after the pod that names it; what is hopeless for longer, stays so.
HOPELESS_SECONDS = 30.0
#: That workers do not start is said after this, also where the cluster gives no reason.
QUIET_SECONDS = 45.0
#: A problem that goes on is said again after this.
REPEAT_SECONDS = 600.0


class Cancelled(BaseException):
    """This process was asked to stop (SIGTERM); a BaseException so that no handler of errors swallows it."""


def run_train_job(
    jobs: TrainJobs,
    job: dict[str, Any],
    *,
    timeout_seconds: float,
    poll_seconds: float = 10.0,
    emit: Callable[[str], object] = print,
) -> None:
    """`train_job` for whoever has nothing left to do with what the job has made."""
    with train_job(jobs, job, timeout_seconds=timeout_seconds, poll_seconds=poll_seconds, emit=emit):
        pass


@contextmanager
def train_job(
    jobs: TrainJobs,
    job: dict[str, Any],
    *,
    timeout_seconds: float,
    poll_seconds: float = 10.0,
    emit: Callable[[str], object] = print,
) -> Iterator[None]:
    """Creates a job, enters the block when it is complete and deletes it after the block; or whatever else happens.

    A job of the same manifest that still runs is adopted: its launcher was killed and started again. One that has
    failed, or is left from a run that has ended, is deleted and made anew. Where another run that is going on trains
    in the job of this name, its end is waited for: the job is there until that run has taken what it made.

    Args:
        jobs: the cluster.
        job: the manifest (`infra.trainer.job.build_train_job`).
        timeout_seconds: from creation to the end, waiting for nodes included; another run is waited for as long.
        poll_seconds: pause between two looks at the job.
        emit: takes the pods' log lines.

    Raises:
        BadInput: the cluster refuses the job, or a worker ended with exit status 2: a restart would not help.
        StageFailed: the job failed, cannot start, took too long, vanished, or the cluster fell silent.
        Cancelled: SIGTERM came.
    """
    name = job["metadata"]["name"]
    claim = _Claim()
    nodes = job.get("spec", {}).get("trainer", {}).get("numNodes", 1)
    watch = _Watch(jobs, name, nodes, LogStreams(jobs, emit))
    try:
        with _sigterm_as_exception():
            _create_or_adopt(jobs, job, claim, patience=timeout_seconds, poll_seconds=poll_seconds)
            watch.wait(deadline=time.monotonic() + timeout_seconds, poll_seconds=poll_seconds)
            yield
    finally:
        if claim.held:
            _delete(jobs, name)
        watch.logs.close()


class _Claim:
    """Whether the job of this name is ours to delete; a request without an answer may have been carried out."""

    held = False


def _create_or_adopt(
    jobs: TrainJobs, job: dict[str, Any], claim: _Claim, *, patience: float, poll_seconds: float
) -> None:
    """A deletion takes its time, and a request that timed out may have been carried out: hence the attempts."""
    name = job["metadata"]["name"]
    problem: Exception | None = None
    end, attempt, said = time.monotonic() + patience, 0, ""
    while attempt < CREATION_ATTEMPTS:
        claim.held = True
        try:
            jobs.create(job)
            logger.info("created train job %s", name)
            return
        except JobExists as error:
            problem = error
            try:
                conditions = jobs.conditions(name)
                if conditions is not None and "Failed" not in conditions:
                    logger.warning("train job %s is there already: going on with it", name)
                    return
                jobs.delete(name)
            except ApiUnavailable as silence:
                problem = silence
        except JobInTheWay as other:
            claim.held, problem = False, other
            if other.stale:
                logger.warning("train job %s: %s; it is deleted", name, other)
                _delete(jobs, name)
            elif other.busy:
                if time.monotonic() > end:
                    raise StageFailed(f"train job {name}: {other}, and did not end in time") from None
                if said != str(other):
                    said = str(other)
                    logger.warning("train job %s: %s; waiting for its end", name, other)
                time.sleep(poll_seconds)
                continue
        except ApiUnavailable as error:
            problem = error
        except QureError:
            claim.held = False
            raise
        time.sleep(min(0.2 * 2**attempt, 15.0))
        attempt += 1
    raise StageFailed(f"train job {name} could not be created: {problem}")


class _Watch:
    """Looks at a job until it ends."""

    def __init__(self, jobs: TrainJobs, name: str, nodes: int, logs: LogStreams) -> None:
        self.logs = logs
        self._jobs, self._name, self._nodes = jobs, name, nodes
        self._workers: list[Worker] = []
        self._pods = 0
        self._ends: dict[tuple[str, int], End] = {}
        self._quiet_since: float | None = None
        self._since: dict[str, float] = {}
        self._said: dict[str, float] = {}

    def wait(self, *, deadline: float, poll_seconds: float) -> None:
        """Only Complete and Failed are ends: a short job is Complete before anyone sees it Running."""
        last_answer = time.monotonic()
        while True:
            try:
                conditions = self._jobs.conditions(self._name)
                self._look_at(self._jobs.pods(self._name))
                problems = self._problems(conditions or {})
                last_answer = time.monotonic()
            except ApiUnavailable as error:
                if time.monotonic() - last_answer > SILENCE_SECONDS:
                    raise StageFailed(
                        f"train job {self._name}: the cluster's API has not answered for a while: {error}"
                    ) from error
                logger.warning("train job %s: the cluster's API did not answer: %s", self._name, error)
            else:
                if self._has_ended(conditions):
                    return
                self._say(problems)
            if time.monotonic() > deadline:
                why = "".join(f" (last: {text})" for text in list(self._since)[-1:])
                raise StageFailed(f"train job {self._name} did not end in time and was deleted{why}")
            time.sleep(poll_seconds)

    def _look_at(self, pods: Iterable[Worker]) -> None:
        workers = list(pods)
        self._pods = len(workers)
        self._workers = workers or self._workers  # of a job that has failed the pods go: the last ones known stay
        self._ends |= {(end.pod, end.start): end for worker in workers for end in worker.ends}
        self.logs.follow_all(workers)

    def _has_ended(self, conditions: dict[str, str] | None) -> bool:
        if conditions is None:
            self.logs.drain(self._workers)
            raise StageFailed(
                f"train job {self._name} is gone, and this task has not deleted it: a person has, the end of its run, "
                f"or Kubernetes with the run's Workflow{self._reason(self._first_failure())}"
            )
        if "Complete" in conditions:
            self.logs.drain(self._workers)
            return True
        if "Failed" in conditions:
            self.logs.drain(self._workers)
            raise StageFailed(
                f"train job {self._name} failed: {conditions['Failed']}{self._reason(self._first_failure())}"
            )
        refusal = next((end for end in self._ends.values() if end.status == BadInput.exit_code), None)
        if refusal is not None:
            self.logs.drain([worker for worker in self._workers if worker.pod == refusal.pod])
            raise BadInput(
                f"train job {self._name} was given something wrong, and was ended, as no restart mends that"
                f"{self._reason(refusal)}"
            )
        return False

    def _first_failure(self) -> End | None:
        """Which worker ended first; those that were stopped because of it end later, and by a signal."""
        failures = [end for end in self._ends.values() if end.status]
        return min(failures, key=lambda end: (end.status == 128 + signal.SIGTERM, end.at), default=None)

    def _reason(self, end: End | None) -> str:
        if end is None:
            return ""
        reason = f" ({end.reason})" if end.reason not in ("", "Error") else ""
        line = self.logs.error_of(end)
        return f"; {end.pod} ended with exit status {end.status}{reason}{f': {line}' if line else ''}"

    def _problems(self, conditions: dict[str, str]) -> list[Problem]:
        if conditions.keys() & {"Complete", "Failed"}:
            return []
        found = [worker.problem for worker in self._workers if worker.problem is not None]
        if self._pods < self._nodes or not all(worker.began for worker in self._workers):
            found += self._jobs.problems(self._name, pods_missing=self._pods < self._nodes)
        if "Suspended" in conditions:
            found.append(Problem("it is suspended: a queue (Kueue) or a person holds it"))
        return found

    def _say(self, problems: list[Problem]) -> None:
        now = time.monotonic()
        problems = problems or self._unexplained(now)
        self._since = {one.text: self._since.get(one.text, now) for one in problems}
        for problem in problems:
            if now - self._said.get(problem.text, -REPEAT_SECONDS) >= REPEAT_SECONDS:
                self._said[problem.text] = now
                logger.warning("train job %s waits: %s", self._name, problem.text)
            if problem.hopeless and now - self._since[problem.text] >= HOPELESS_SECONDS:
                raise StageFailed(f"train job {self._name} cannot start: {problem.text}")

    def _unexplained(self, now: float) -> list[Problem]:
        """Workers that do not start though nothing is said of them: no controller is at work, or an image is large."""
        missing = self._nodes - self._pods
        waiting = [worker.pod for worker in self._workers if not worker.began]
        if missing <= 0 and not waiting:
            self._quiet_since = None
            return []
        self._quiet_since = now if self._quiet_since is None else self._quiet_since
        if now - self._quiet_since < QUIET_SECONDS:
            return []
        if missing > 0:
            there = f"{self._pods} of {self._nodes} pods are there"
            return [Problem(f"{there}, and nothing says why: look whether Trainer's and JobSet's controllers run")]
        return [Problem(f"{', '.join(waiting)}: not started, and nothing says why: a large image takes minutes")]


def _delete(jobs: TrainJobs, name: str) -> None:
    """Deletes the job and tries again when the API does not answer; its run's end and its deadline cover the rest."""
    for attempt in range(5):
        try:
            jobs.delete(name)
            return
        except ApiUnavailable as error:
            logger.warning("train job %s could not be deleted (attempt %d): %s", name, attempt + 1, error)
            time.sleep(0.2 * 2**attempt)
        except QureError as error:
            logger.warning("train job %s could not be deleted: %s", name, error)
            break
    logger.error("train job %s may still be running: delete it with `kubectl delete trainjob %s`", name, name)


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """A stopped task has a third of a second after SIGTERM: often enough to delete the job, and not relied on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(number: int, frame: FrameType | None) -> NoReturn:
        raise Cancelled("stopped by SIGTERM")

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

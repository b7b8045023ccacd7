"""Runs a train job to its end: create, stream logs, wait, and never leave one behind."""

import logging
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, NoReturn, Protocol

from qure.errors import StageFailed

logger = logging.getLogger(__name__)

#: The API server may be restarted under a job that runs for hours; only a longer silence is a failure.
SILENCE_SECONDS = 300.0
#: As long a silence, with the pauses between them.
CREATION_ATTEMPTS = 26


class ApiUnavailable(Exception):
    """The cluster's API did not answer this time; asking again may help."""


class JobExists(Exception):
    """A job of this name is there already."""


class Cancelled(BaseException):
    """This process was asked to stop (SIGTERM); a BaseException so that no handler of errors swallows it."""


class TrainJobs(Protocol):
    """What the wait loop needs of a cluster. `infra.trainer.cluster.ClusterTrainJobs` is the real one."""

    def create(self, job: dict[str, Any]) -> None:
        """Creates a job. Raises JobExists or ApiUnavailable."""

    def conditions(self, name: str) -> dict[str, str] | None:
        """Type -> message of the job's true conditions; None when there is no such job. Raises ApiUnavailable."""

    def delete(self, name: str) -> None:
        """Deletes a job and its pods; no error when it is gone. Raises ApiUnavailable."""

    def pods(self, name: str) -> dict[str, bool]:
        """The job's pods whose containers have started, and whether they still run. Raises ApiUnavailable."""

    def follow(self, pod: str) -> Iterator[str]:
        """A pod's log from its beginning, line by line, until it ends. Raises ApiUnavailable."""


def run_train_job(
    jobs: TrainJobs,
    job: dict[str, Any],
    *,
    timeout_seconds: float,
    poll_seconds: float = 10.0,
    emit: Callable[[str], None] = print,
) -> None:
    """Creates a job and returns when it is complete; whatever else happens, the job is deleted first.

    A job of the same name that still runs is adopted: its launcher was killed and started again. One that has
    failed is deleted and made anew.

    Args:
        jobs: the cluster.
        job: the manifest (`infra.trainer.job.build_train_job`).
        timeout_seconds: from creation to the end, waiting for nodes included.
        poll_seconds: pause between two looks at the job.
        emit: takes the pods' log lines.

    Raises:
        StageFailed: the job failed, took too long, vanished, or the cluster fell silent.
        Cancelled: SIGTERM came.
    """
    name = job["metadata"]["name"]
    logs = LogStreams(jobs, emit)
    try:
        with _sigterm_as_exception():
            _create_or_adopt(jobs, job)
            _wait(jobs, name, logs, deadline=time.monotonic() + timeout_seconds, poll_seconds=poll_seconds)
    finally:
        _delete(jobs, name)
        logs.close()


def _create_or_adopt(jobs: TrainJobs, job: dict[str, Any]) -> None:
    """A deletion takes its time, and a request that timed out may have been carried out: hence the attempts."""
    name = job["metadata"]["name"]
    problem: Exception | None = None
    for attempt in range(CREATION_ATTEMPTS):
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
        except ApiUnavailable as error:
            problem = error
        time.sleep(min(0.2 * 2**attempt, 15.0))
    raise StageFailed(f"train job {name} could not be created: {problem}")


def _wait(jobs: TrainJobs, name: str, logs: "LogStreams", *, deadline: float, poll_seconds: float) -> None:
    """Only Complete and Failed are ends: a short job is Complete before anyone sees it Running."""
    last_answer = time.monotonic()
    while True:
        try:
            conditions = jobs.conditions(name)
            logs.follow_all(jobs.pods(name))
            last_answer = time.monotonic()
        except ApiUnavailable as error:
            if time.monotonic() - last_answer > SILENCE_SECONDS:
                raise StageFailed(
                    f"train job {name}: the cluster's API has not answered for a while: {error}"
                ) from error
            logger.warning("train job %s: the cluster's API did not answer: %s", name, error)
        else:
            if conditions is None:
                raise StageFailed(f"train job {name} is gone: someone deleted it")
            if "Complete" in conditions:
                logs.drain()
                return
            if "Failed" in conditions:
                logs.drain()
                raise StageFailed(f"train job {name} failed: {conditions['Failed']}")
        if time.monotonic() > deadline:
            raise StageFailed(f"train job {name} did not end in time and was deleted")
        time.sleep(poll_seconds)


def _delete(jobs: TrainJobs, name: str) -> None:
    """Deletes the job and tries again when the API does not answer; the job's own deadline covers the rest."""
    for attempt in range(5):
        try:
            jobs.delete(name)
            return
        except ApiUnavailable as error:
            logger.warning("train job %s could not be deleted (attempt %d): %s", name, attempt + 1, error)
            time.sleep(0.2 * 2**attempt)
    logger.error("train job %s may still be running: delete it with `kubectl delete trainjob %s`", name, name)


class LogStreams:
    """One thread per pod that hands on the pod's log lines, each once, with the pod's name before it."""

    def __init__(self, jobs: TrainJobs, emit: Callable[[str], None]) -> None:
        self._jobs, self._emit = jobs, emit
        self._threads: dict[str, threading.Thread] = {}
        self._seen: dict[str, int] = {}
        self._ended: set[str] = set()
        self._closed = threading.Event()

    def follow_all(self, pods: dict[str, bool]) -> None:
        """Follows pods that are new, and those whose stream broke off; one that has ended is read to its end."""
        for pod, running in pods.items():
            thread = self._threads.get(pod)
            if pod not in self._ended and (thread is None or not thread.is_alive()):
                if not running:
                    self._ended.add(pod)
                self._threads[pod] = threading.Thread(target=self._follow, args=(pod,), daemon=True)
                self._threads[pod].start()

    def drain(self, seconds: float = 10.0) -> None:
        """Waits for the last lines of a job that has ended."""
        end = time.monotonic() + seconds
        for thread in self._threads.values():
            thread.join(timeout=max(0.0, end - time.monotonic()))

    def close(self) -> None:
        """No line is handed on after this."""
        self._closed.set()

    def _follow(self, pod: str) -> None:
        try:
            for number, line in enumerate(self._jobs.follow(pod), start=1):
                if self._closed.is_set():
                    return
                if number > self._seen.get(pod, 0):
                    self._seen[pod] = number
                    self._emit(f"[{pod}] {line}")
        except ApiUnavailable as error:
            logger.warning("log of %s broke off: %s", pod, error)


@contextmanager
def _sigterm_as_exception() -> Iterator[None]:
    """Kubernetes stops a pod with SIGTERM and gives it half a minute: enough to delete the job."""
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

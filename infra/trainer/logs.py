"""The workers' logs, handed on while they are written: each line once, whatever breaks off or is started again."""

import logging
import re
import threading
import time
from collections.abc import Callable, Iterable

from infra.trainer.api import ApiUnavailable, End, TrainJobs, Worker
from qure.errors import QureError

logger = logging.getLogger(__name__)

#: How qure, Python and torchrun's processes begin the line that says what went wrong.
_ERROR = re.compile(r"^(error: |\w*(\.\w+)*(Error|Exception|Interrupt)\b)")

Start = tuple[str, int]


class LogStreams:
    """One thread per pod that hands on the log of each start of its container, with the pod's name before each line.

    Lines are counted per start: a container that is restarted in place keeps its pod and begins a new log.
    """

    def __init__(self, jobs: TrainJobs, emit: Callable[[str], object]) -> None:
        self._jobs, self._emit = jobs, emit
        self._threads: dict[str, threading.Thread] = {}
        self._seen: dict[Start, int] = {}
        self._read: set[Start] = set()
        self._errors: dict[Start, str] = {}
        self._closed = threading.Event()

    def follow_all(self, workers: Iterable[Worker]) -> None:
        """Follows what is new and what broke off; a start that has ended is read to its end, once."""
        for worker in workers:
            thread = self._threads.get(worker.pod)
            if (thread is None or not thread.is_alive()) and self._unread(worker):
                self._threads[worker.pod] = threading.Thread(target=self._follow, args=(worker,), daemon=True)
                self._threads[worker.pod].start()

    def drain(self, workers: Iterable[Worker], seconds: float = 10.0) -> None:
        """Waits for the last lines of pods that have ended: ten seconds for all of them together."""
        last = [Worker(one.pod, one.start, one.began, ends=one.ends) for one in workers]
        end = time.monotonic() + seconds
        while True:
            self.follow_all(last)
            for thread in [self._threads[one.pod] for one in last if one.pod in self._threads]:
                thread.join(timeout=max(0.0, end - time.monotonic()))
            if not any(self._unread(worker) for worker in last):
                return
            if time.monotonic() >= end:
                return
            time.sleep(0.2)  # an API that is away is not asked again at once, however long it took to say so

    def close(self) -> None:
        """No line is handed on after this."""
        self._closed.set()

    def error_of(self, end: End) -> str:
        """The first line of a start's log that names an error; else of any other start's; else nothing."""
        return self._errors.get((end.pod, end.start)) or next(iter(self._errors.values()), "")

    def _unread(self, worker: Worker) -> bool:
        return worker.began and (worker.pod, worker.start) not in self._read

    def _follow(self, worker: Worker) -> None:
        if worker.start and (worker.pod, worker.start - 1) not in self._read:
            self._hand_on((worker.pod, worker.start - 1), previous=True, ended=True)
        self._hand_on((worker.pod, worker.start), previous=False, ended=not worker.running)

    def _hand_on(self, start: Start, *, previous: bool, ended: bool) -> None:
        pod, _ = start
        try:
            for number, line in enumerate(self._jobs.follow(pod, previous=previous), start=1):
                if self._closed.is_set():
                    return
                if number > self._seen.get(start, 0):
                    self._seen[start] = number
                    if start not in self._errors and _ERROR.match(line):
                        self._errors[start] = line.strip()
                    self._emit(f"[{pod}] {line}")
        except ApiUnavailable as error:
            logger.warning("log of %s broke off: %s", pod, error)
            return
        except QureError as error:  # the pod is gone, and its log with it
            logger.warning("log of %s cannot be read: %s", pod, error)
            ended = True
        if ended:
            self._read.add(start)

"""What the wait loop asks of a cluster, and what it hears: types that need neither kubernetes nor torch."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol


class ApiUnavailable(Exception):
    """The cluster's API did not answer this time; asking again may help."""


class JobExists(Exception):
    """A job of this name is there already: the same manifest, not in deletion. It can be adopted."""


class JobInTheWay(Exception):
    """A job of this name is there already and is not the one asked for.

    Args:
        reason: what it is, for the log.
        stale: nobody wants it any more: it may be deleted.
        busy: another run that is going on trains in it: its end must be waited for.
    """

    def __init__(self, reason: str, *, stale: bool = False, busy: bool = False) -> None:
        super().__init__(reason)
        self.stale, self.busy = stale, busy


@dataclass(frozen=True)
class Problem:
    """Why something does not start, in the cluster's words; `hopeless` when waiting cannot mend it."""

    text: str
    hopeless: bool = False


@dataclass(frozen=True)
class End:
    """How one start of a worker's container ended."""

    pod: str
    start: int
    status: int
    reason: str = ""
    at: str = ""


@dataclass(frozen=True)
class Worker:
    """A pod of the job, with the container that trains.

    Attributes:
        pod: its name.
        start: how often the container was started before; a restart in place keeps the pod and begins a new log.
        began: whether the container has started at all, so that there is a log.
        running: whether this start is still going on.
        ends: of this start and the one before, as far as they have ended.
        problem: why the container does not start.
    """

    pod: str
    start: int = 0
    began: bool = False
    running: bool = False
    ends: tuple[End, ...] = ()
    problem: Problem | None = None


class TrainJobs(Protocol):
    """What the wait loop needs of a cluster. `infra.trainer.cluster.ClusterTrainJobs` is the real one.

    Every method raises ApiUnavailable when the API does not answer, and BadInput when it refuses.
    """

    def owner(self, run: str) -> dict[str, Any] | None:
        """An ownerReference to the Workflow of a pipeline run; None when there is none or it cannot be read."""

    def create(self, job: dict[str, Any]) -> None:
        """Creates a job. Raises JobExists or JobInTheWay when the name is taken."""

    def conditions(self, name: str) -> dict[str, str] | None:
        """Type -> message of the job's true conditions; None when there is no such job."""

    def delete(self, name: str) -> None:
        """Deletes a job and its pods; no error when it is gone."""

    def pods(self, name: str) -> Iterable[Worker]:
        """The job's pods."""

    def problems(self, name: str, *, pods_missing: bool) -> Iterable[Problem]:
        """Why the job's pods are not made or not started, as far as the pods themselves do not say."""

    def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
        """The log of a pod's container from its beginning, line by line, until it ends; or of the start before."""

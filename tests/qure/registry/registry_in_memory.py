"""A registered model in memory, for tests that need tens of thousands of registries: `test_registry_in_memory.py`
holds it to what MLflow answers. And the steps of several actors on it, in an order that the test decides."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, RESOURCE_DOES_NOT_EXIST
from mlflow.store.entities import PagedList

from qure.tracking import LockLost, RegistryLock


class RegistryInMemory:
    """What `Champions` calls of MLflow's client, on one registered model and the record of its history."""

    def __init__(self, versions: int) -> None:
        self.tags: dict[str, str] = {}
        self.aliases: dict[str, str] = {}
        self.versions: dict[str, dict[str, str]] = {str(number + 1): {} for number in range(versions)}
        #: Name -> tags and stage.
        self.experiments: dict[str, SimpleNamespace] = {}

    def get_registered_model(self, name: str) -> Any:
        return SimpleNamespace(
            name=name, creation_timestamp=0, tags=dict(self.tags), aliases=dict(self.aliases), description=""
        )

    def update_registered_model(self, name: str, description: str) -> None:
        """Nothing is decided by it."""

    def set_registered_model_tag(self, name: str, key: str, value: str) -> None:
        self.tags[key] = value

    def delete_registered_model_tag(self, name: str, key: str) -> None:
        self.tags.pop(key, None)

    def set_registered_model_alias(self, name: str, alias: str, version: str) -> None:
        self._require(version)
        self.aliases[alias] = version

    def delete_registered_model_alias(self, name: str, alias: str) -> None:
        self.aliases.pop(alias, None)

    def get_model_version(self, name: str, version: str) -> Any:
        self._require(version)
        return SimpleNamespace(version=version, tags=dict(self.versions[version]))

    def delete_model_version(self, name: str, version: str) -> None:
        self._require(version)
        del self.versions[version]
        self.aliases = {alias: one for alias, one in self.aliases.items() if one != version}

    def set_model_version_tag(self, name: str, version: str, key: str, value: str) -> None:
        self._require(version)
        self.versions[version][key] = value

    def delete_model_version_tag(self, name: str, version: str, key: str) -> None:
        self._require(version)
        self.versions[version].pop(key, None)

    def search_experiments(self, view_type: int, filter_string: str, page_token: str | None = None) -> PagedList[Any]:
        prefix = filter_string.removeprefix("name LIKE '").removesuffix("%'")
        return PagedList([one for name, one in self.experiments.items() if name.startswith(prefix)], None)

    def create_experiment(self, name: str, tags: dict[str, str]) -> str:
        if name in self.experiments:
            raise MlflowException(f"{name} is there", RESOURCE_ALREADY_EXISTS)
        self.experiments[name] = SimpleNamespace(
            name=name, experiment_id=name, tags=dict(tags), lifecycle_stage="active"
        )
        return name

    def delete_experiment(self, experiment: str) -> None:
        if self.experiments[experiment].lifecycle_stage != "active":
            raise MlflowException(f"{experiment} is deleted", RESOURCE_DOES_NOT_EXIST)
        self.experiments[experiment].lifecycle_stage = "deleted"

    def _require(self, version: str) -> None:
        if version not in self.versions:
            raise MlflowException(f"no version {version}", RESOURCE_DOES_NOT_EXIST)


class Killed(BaseException):
    """Ends an actor's thread; nothing that it does on its way out reaches the registry."""


@dataclass
class Actor:
    """Somebody who works on the registry, one call at a time."""

    name: str
    act: Callable[["Stage", "Actor"], str]
    dead: bool = False
    outcome: str = ""
    call: str = "begin"
    #: Whether it could go on: false while it waits for a lock that somebody holds.
    ready: Callable[[], bool] = lambda: True
    resume: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))
    paused: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    @property
    def ended(self) -> bool:
        return bool(self.outcome)


class Stage:
    """Actors on one registry; each stands before its next call until it is told to make it."""

    def __init__(self, registry: RegistryInMemory, kind: type["ModelLock"], actors: list[Actor]) -> None:
        self.registry, self.kind, self.actors = registry, kind, actors
        self.holder: ModelLock | None = None
        self.asked = False
        self._threads = [threading.Thread(target=self._run, args=(actor,), daemon=True) for actor in actors]
        for thread, actor in zip(self._threads, actors, strict=True):
            thread.start()
            actor.paused.acquire()

    def step(self, actor: Actor) -> None:
        """Lets an actor make its next call."""
        actor.resume.release()
        actor.paused.acquire()

    def kill(self, actor: Actor) -> None:
        """As kill -9 before its next call: whatever it held is free where the lock's kind finds that out."""
        actor.dead = True
        self.step(actor)

    def client(self, actor: Actor) -> Any:
        """The registry as an actor sees it."""
        return _Client(self, actor)

    def pause(self, actor: Actor, call: str, ready: Callable[[], bool] = lambda: True) -> None:
        """Called in the actor's thread: waits for its turn."""
        if actor.dead:
            raise Killed
        actor.call, actor.ready = call, ready
        actor.paused.release()
        actor.resume.acquire()
        if actor.dead:
            raise Killed

    def _run(self, actor: Actor) -> None:
        try:
            self.pause(actor, "begin")
            actor.outcome = actor.act(self, actor)
        except LockLost:
            actor.outcome = "lost"
        except Killed:
            actor.outcome = "killed"
        except Exception as error:
            actor.outcome = f"error: {error}"
        finally:
            actor.paused.release()


#: No steps of their own: a record only grows, so that these calls give the same in every order.
_RECORDING = ("search_experiments", "create_experiment", "delete_experiment")


class _Client:
    def __init__(self, stage: Stage, actor: Actor) -> None:
        self._stage, self._actor = stage, actor

    def __getattr__(self, call: str) -> Any:
        method = getattr(self._stage.registry, call)
        if call in _RECORDING:
            return method

        def made(*arguments: Any, **named: Any) -> Any:
            self._stage.pause(self._actor, call)
            return method(*arguments, **named)

        return made


class ModelLock(RegistryLock):
    """What the kinds of lock promise: `Exclusive` as flock, `Leased` as the lock behind a server, `NoLock` as none."""

    def __init__(self, stage: Stage, actor: Actor) -> None:
        super().__init__("model", wait=0.0)
        self._stage, self._actor = stage, actor

    def __enter__(self) -> "ModelLock":
        self._stage.pause(self._actor, "take the lock", self._is_free)
        self._stage.holder = self
        return self

    def __exit__(self, *_: object) -> None:
        if self._stage.holder is self and not self._actor.dead:
            self._stage.holder = None

    def check(self) -> None:
        self._stage.pause(self._actor, "check the lock")
        if self._stage.holder is not self:
            raise LockLost("taken over")

    def _is_free(self) -> bool:
        holder = self._stage.holder
        return holder is None or holder._actor.dead

    def _take(self) -> bool:
        raise NotImplementedError

    _release = _holder = _take  # type: ignore[assignment]


class Exclusive(ModelLock):
    losable = False


class Leased(ModelLock):
    """Anybody who waits long enough takes it, also from an owner that lives and does not know."""

    def _is_free(self) -> bool:
        return True


class NoLock(ModelLock):
    """Two kinds of lock on one registry, which do not know of each other."""

    def _is_free(self) -> bool:
        return True

    def check(self) -> None:
        """Never notices anything."""


Make = Callable[[], Stage]
#: Decisions of one run: indices into what could be done at each moment.
Path = list[int]


def explored(make: Make, *, preemptions: int, kills: int) -> Iterator[tuple[Stage, list[str]]]:
    """Every order of the actors' steps with at most so many preemptions and kills: the stage at its end, and the order.

    A preemption lets another actor go on although the one before could. Each order is run from the beginning.
    """
    path: Path = []
    while True:
        stage, told, choices = _replayed(make, path, preemptions, kills)
        yield stage, told
        while choices and path_at(path, len(choices) - 1) + 1 >= choices[-1]:
            choices.pop()
        if not choices:
            return
        path = [path_at(path, place) for place in range(len(choices))]
        path[-1] += 1


def path_at(path: Path, place: int) -> int:
    """The decision at a place; the first of all where none was taken yet."""
    return path[place] if place < len(path) else 0


def _replayed(make: Make, path: Path, preemptions: int, kills: int) -> tuple[Stage, list[str], list[int]]:
    stage, told, choices = make(), [], []
    last: Actor | None = None
    while True:
        able = [actor for actor in stage.actors if not actor.ended and actor.ready()]
        if not able:
            assert all(actor.ended for actor in stage.actors), f"everybody waits: {told}"
            return stage, told, choices
        if last in able:
            assert last is not None
            able = [last] + ([one for one in able if one is not last] if preemptions else [])
        could: list[tuple[Actor, bool]] = [(actor, False) for actor in able]
        if kills and last is not None and last in able:
            could.append((last, True))
        actor, kill = could[path_at(path, len(choices))]
        choices.append(len(could))
        told.append(f"{actor.name}: {'killed before ' if kill else ''}{actor.call}")
        if last in able and actor is not last:
            preemptions -= 1
        if kill:
            kills -= 1
            stage.kill(actor)
        else:
            stage.step(actor)
        last = actor

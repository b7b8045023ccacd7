"""Who is champion after every order of steps: two promoters, a kill at each step, a hand at each step, a deletion.

Version numbers stand for qualities: a promoter lets its version follow a worse one only. Nothing is sampled: within the
bound of preemptions and kills that each test names, every order is run, from an empty registry on.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from registry_in_memory import Actor, Exclusive, Leased, ModelLock, NoLock, RegistryInMemory, Stage, explored

from qure.errors import StageFailed
from qure.registry import champions as module
from qure.registry.champions import Champions
from qure.registry.history import PROMOTED, SET_BY_HAND, barred
from qure.registry.journal import CHAMPION, Journal

#: Minutes of a core, all orders together: they run with the long tests.
pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]

NAME = "qure-test"
LOCKS = [Exclusive, Leased, NoLock]
#: After 1 and 2 the champion is 3.
BEFORE, CHAMPION_BEFORE, VERSIONS = (1, 2, 3), 3, 6
LAST_LOOK = "set_registered_model_alias"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """What people read is written after everything is decided: its steps would be orders without a difference."""
    monkeypatch.setattr(Journal, "show_history", lambda self, history: None)
    monkeypatch.setattr(module.logger, "disabled", True)


class Registrar(Champions):
    """An actor's."""

    def __init__(self, stage: Stage, actor: Actor) -> None:
        super().__init__(stage.client(actor), NAME, command=actor.name)
        self._made = lambda: stage.kind(stage, actor)

    def lock(self) -> ModelLock:
        return self._made()


class Judge(Champions):
    """Whoever comes afterwards, alone."""

    def __init__(self, registry: RegistryInMemory, *, losable: bool) -> None:
        super().__init__(registry, NAME)  # type: ignore[arg-type]
        self._losable = losable

    @contextmanager
    def lock(self) -> Iterator[Any]:  # type: ignore[override]
        yield _Held(self._losable)


class _Held:
    def __init__(self, losable: bool) -> None:
        self.losable = losable

    def check(self) -> None:
        """Nobody else is there."""


def promoter(version: int) -> Actor:
    """Does what `Promotion.decide` does under the lock."""

    def act(stage: Stage, actor: Actor) -> str:
        champions = Registrar(stage, actor)
        with champions.lock() as lock:
            return _promote(champions, lock, version)

    return Actor(f"promote {version}", act)


def _promote(champions: Champions, lock: Any, version: int) -> str:
    champion = champions.settle(lock)
    if champion == version:
        return "already"
    to_beat = champions.to_beat()
    if to_beat is not None and to_beat >= version:
        return "refused"
    champions.crown(lock, version, previous=to_beat, reason=PROMOTED)
    return "promoted"


def roller_back() -> Actor:
    def act(stage: Stage, actor: Actor) -> str:
        champions = Registrar(stage, actor)
        with champions.lock() as lock:
            return f"to {champions.roll_back(lock, None)[1]}"

    return Actor("roll back", act)


def person(what: str, act: Callable[[RegistryInMemory], None]) -> Actor:
    """One who does one thing on MLflow's pages, at some moment."""

    def once(stage: Stage, actor: Actor) -> str:
        # Between its last look and its move no promoter can see this: what that loses is told apart.
        unseen = any(one.call == LAST_LOOK and not one.ended for one in stage.actors if one is not actor)
        act(stage.registry)
        return "unseen" if unseen else "done"

    return Actor(what, once)


def _made(kind: type[ModelLock], *actors: Callable[[], Actor]) -> Callable[[], Stage]:
    def make() -> Stage:
        registry = RegistryInMemory(VERSIONS)
        judge = Judge(registry, losable=False)
        for version in BEFORE:
            with judge.lock() as lock:
                judge.crown(lock, version, previous=judge.settle(lock), reason=PROMOTED)
        return Stage(registry, kind, [actor() for actor in actors])

    return make


def _settled(stage: Stage) -> tuple[Judge, int | None]:
    """Who is champion once somebody has looked; where a person is asked, the answer is who was made champion last."""
    judge = Judge(stage.registry, losable=stage.kind.losable)
    with judge.lock() as lock:
        try:
            return judge, judge.settle(lock)
        except StageFailed:
            assert stage.kind.losable, "with a lock that nobody loses there is nothing to ask"
            dead = [actor for actor in stage.actors if actor.outcome == "killed"]
            assert dead or stage.kind is NoLock or any(actor.name == "by hand" for actor in stage.actors)
            stage.asked = True
            last = judge.history()[-1].version
            if str(last) not in stage.registry.versions:
                return judge, judge.settle(lock, believe=True)
            return judge, judge.roll_back(lock, last)[1]


def _again(judge: Judge, stage: Stage) -> None:
    """Whoever lost or was killed is started again, as its message says."""
    for actor in stage.actors:
        if actor.name.startswith("promote") and actor.outcome not in ("promoted", "refused", "already"):
            with judge.lock() as lock:
                _promote(judge, lock, int(actor.name.split()[1]))


def _require_no_errors(stage: Stage, told: list[str]) -> None:
    for actor in stage.actors:
        assert not actor.outcome.startswith("error"), (actor.outcome, told)


@pytest.mark.parametrize("kind", LOCKS)
@pytest.mark.parametrize("versions", [(4, 5), (5, 4), (5, 2)])
def test_of_two_promoters_the_better_one_ends_as_champion(kind: type[ModelLock], versions: tuple[int, int]) -> None:
    """Up to three preemptions, nobody is killed."""
    make = _made(kind, *(lambda version=version: promoter(version) for version in versions))  # type: ignore[misc]
    orders = 0
    for stage, told in explored(make, preemptions=3, kills=0):
        orders += 1
        _require_no_errors(stage, told)
        judge, champion = _settled(stage)
        won = [int(actor.name.split()[1]) for actor in stage.actors if actor.outcome in ("promoted", "already")]
        assert champion is not None, told
        # Who lost its lock may have been in time all the same: it is told to start again, and finds itself champion.
        assert champion >= max([*won, CHAMPION_BEFORE]), told
        _again(judge, stage)
        assert judge.current() == max(*versions, CHAMPION_BEFORE), told
        order = [entry.version for entry in judge.history()]
        assert stage.asked or order == sorted(order), (order, told)
    assert orders > (15 if kind is Exclusive else 150)


@pytest.mark.parametrize("kind", LOCKS)
def test_a_kill_at_every_step_leaves_the_better_one(kind: type[ModelLock]) -> None:
    """Two promoters; both may be killed, at each of their steps; one preemption besides."""
    outcomes = set()
    for stage, told in explored(_made(kind, lambda: promoter(4), lambda: promoter(5)), preemptions=1, kills=2):
        _require_no_errors(stage, told)
        judge, champion = _settled(stage)
        outcomes.add((stage.actors[0].outcome, stage.actors[1].outcome, champion))
        won = [int(actor.name.split()[1]) for actor in stage.actors if actor.outcome in ("promoted", "already")]
        assert champion is not None, told
        assert champion >= max([*won, CHAMPION_BEFORE]), told
        _again(judge, stage)
        assert judge.current() == 5, told
        assert judge.history()[-1].version == 5
    assert ("killed", "killed", CHAMPION_BEFORE) in outcomes
    assert ("killed", "killed", 4) in outcomes, "killed after the alias moved: the change was made"


@pytest.mark.parametrize("kind", LOCKS)
@pytest.mark.parametrize("by_hand", [2, 6])
def test_an_alias_set_by_hand_is_believed_and_recorded(kind: type[ModelLock], by_hand: int) -> None:
    """A person at every moment of a promoter that may be killed, and of another one that takes over."""

    def move(registry: RegistryInMemory) -> None:
        registry.set_registered_model_alias(NAME, CHAMPION, str(by_hand))

    unseen = seen = 0
    actors = (lambda: promoter(4), lambda: promoter(5), lambda: person("by hand", move))
    for stage, told in explored(_made(kind, *actors), preemptions=1, kills=1):
        _require_no_errors(stage, told)
        judge, champion = _settled(stage)
        if stage.actors[2].outcome in ("unseen", "killed"):
            unseen += 1
            continue
        seen += 1
        recorded = [entry for entry in judge.history() if entry.version == by_hand and entry.reason == SET_BY_HAND]
        if by_hand == 6:
            assert champion == 6, told  # nothing beats it
            assert recorded, told
        elif champion != by_hand:  # a promoter that came later beat it, and knew whom it beat
            assert recorded, told
            followers = [entry for entry in judge.history() if entry.token > recorded[-1].token]
            assert followers, told
            assert followers[0].previous == by_hand, told
        else:
            assert recorded, told
        assert champion != CHAMPION_BEFORE, ("moved back", told)
    assert seen > 5 * unseen


@pytest.mark.parametrize("kind", LOCKS)
@pytest.mark.parametrize("what", ["version deleted", "alias deleted", "alias and history deleted"])
def test_the_gate_stays_closed_when_the_champion_is_taken_away(kind: type[ModelLock], what: str) -> None:
    """A promoter of a worse version and one of a better one, while somebody deletes version 3 or its alias."""

    def take_away(registry: RegistryInMemory) -> None:
        if what == "alias deleted":
            registry.delete_registered_model_alias(NAME, CHAMPION)
        elif what == "alias and history deleted":
            registry.delete_registered_model_alias(NAME, CHAMPION)
            registry.tags.clear()
        else:
            registry.delete_model_version(NAME, "3")

    actors = (lambda: promoter(1), lambda: promoter(4), lambda: person(what, take_away))
    found = set()
    for stage, told in explored(_made(kind, *actors), preemptions=1, kills=1):
        _require_no_errors(stage, told)
        judge, champion = _settled(stage)
        found.add(champion)
        assert champion != 1, told
        with judge.lock() as lock:
            assert _promote(judge, lock, 1) == "refused", told
            assert _promote(judge, lock, 5) == "promoted", told
        assert judge.current() == 5
    assert found <= ({2, 4} if what == "version deleted" else {None, 3, 4})
    assert 4 in found


@pytest.mark.parametrize("kind", LOCKS)
def test_a_version_that_was_rolled_back_does_not_return(kind: type[ModelLock]) -> None:
    """Somebody rolls 3 back while a pipeline promotes 4 and another one 3 again; a kill anywhere."""
    for stage, told in explored(_made(kind, roller_back, lambda: promoter(4)), preemptions=2, kills=1):
        _require_no_errors(stage, told)
        judge, champion = _settled(stage)
        rolled = stage.actors[0].outcome
        assert champion in (2, 3, 4), told
        if rolled == "to 3":  # 4 was promoted before, and rolled back
            assert champion == 3, told
        if rolled == "to 2" and not stage.asked:
            assert champion in (2, 4), told
            assert 3 in barred(judge.history()), told
        assert judge.history()[-1].version == champion, told

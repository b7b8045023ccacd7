"""Every public act in any order, on a real registry: promote, roll back, an alias by hand, a version deleted, a process
killed, a clock that is wrong. The oracle knows the rules and no tags."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from qure.config import TrackingSettings
from qure.errors import BadInput
from qure.registry import champions as module
from qure.registry.champions import Champions
from qure.registry.history import PROMOTED, ROLLED_BACK, SET_BY_HAND, barred
from qure.registry.journal import CHAMPION
from qure.tracking import connect

VERSIONS = 5
_numbers = itertools.count()
versions = st.integers(1, VERSIONS)


class Killed(BaseException):
    """The process is gone; the kernel, or the server, frees its lock."""


class Dying:
    """A client whose process is killed right before one of its calls."""

    def __init__(self, client: Any, calls: int) -> None:
        self._client, self._left = client, calls
        self.died = False

    def __getattr__(self, name: str) -> Any:
        self._left -= 1
        if self._left < 0:
            self.died = True
            raise Killed
        return getattr(self._client, name)


class Skewed(datetime):
    """A machine's clock."""

    by: ClassVar[timedelta] = timedelta()

    @classmethod
    def now(cls, tz: Any = None) -> datetime:
        return datetime.now(tz) + cls.by


class Registry(RuleBasedStateMachine):
    """Version numbers stand for qualities. `champion` and the sets are what must hold, by the rules alone."""

    client: Any

    def __init__(self) -> None:
        super().__init__()
        self.name = f"qure-machine-{next(_numbers)}"
        self.client.create_registered_model(self.name)
        for _ in range(VERSIONS):
            self.client.create_model_version(self.name, source="s3://bucket/model")
        self.champion: int | None = None
        self.were: list[int] = []
        self.left: set[int] = set()
        self.deleted: set[int] = set()

    @rule(version=versions, calls=st.none() | st.integers(0, 14))
    def promote(self, version: int, calls: int | None) -> None:
        """As the pipeline does; `calls`: it is killed before so many."""
        if version in self.deleted:
            return
        self._look()
        to_beat = self._to_beat()
        allowed = version not in self.left and (to_beat is None or version > to_beat)
        client = self.client if calls is None else Dying(self.client, calls)
        champions = Champions(client, self.name, command="promote")
        try:
            with champions.lock() as lock:
                champion = champions.settle(lock)
                beats = champions.to_beat()
                assert beats == to_beat
                if champion == version or version in barred(champions.history()):
                    return
                if beats is None or version > beats:
                    champions.crown(lock, version, previous=beats, reason=PROMOTED)
                    assert allowed
                    self._became(version)
        except Killed:
            now = self._look()
            assert now == self.champion or (now == version and allowed), "a half promotion"
            if now == version != self.champion:
                self._became(version)

    @rule(to=st.none() | versions, calls=st.none() | st.integers(0, 16))
    def roll_back(self, to: int | None, calls: int | None) -> None:
        self._look()
        before = self.champion if self.champion is not None else (self.were[-1] if self.were else None)
        client = self.client if calls is None else Dying(self.client, calls)
        champions = Champions(client, self.name, command="roll back")
        try:
            with champions.lock() as lock:
                _, now = champions.roll_back(lock, to)
        except BadInput:
            assert to is None or to in self.deleted or to == self.champion
            return
        except Killed:
            found = self._look()
            if found == self.champion:
                return
            assert found is not None
            now = found
        if to is None:
            assert now not in self.left, "who was rolled back returns by its number only"
            assert now in self.were
        else:
            assert now == to
        assert now not in self.deleted
        if before is not None and before != now:
            self.left.add(before)
        self._became(now)

    @rule(version=versions)
    def set_by_hand(self, version: int) -> None:
        if version in self.deleted:
            return
        self.client.set_registered_model_alias(self.name, CHAMPION, str(version))
        if version != self.champion:
            self._look()
            entry = Champions(self.client, self.name).history()[-1]
            assert entry.version == version
            assert entry.reason == SET_BY_HAND or (not self.champion and self.were[-1:] == [version])
            if entry.reason == SET_BY_HAND:
                self._became(version)
            self.champion = version

    @rule()
    @precondition(lambda self: self.champion is not None)
    def take_the_alias_away(self) -> None:
        self.client.delete_registered_model_alias(self.name, CHAMPION)
        self.champion = None

    @rule(version=versions)
    def delete(self, version: int) -> None:
        if version in self.deleted:
            return
        self.client.delete_model_version(self.name, str(version))
        self.deleted.add(version)
        if version != (self.champion or (self.were[-1] if self.were else None)):
            return
        self.champion = None
        followed = self._look()
        if followed is not None:
            assert followed in self.were
            assert followed not in self.deleted | self.left
            self.left.add(version)
            self._became(followed)

    @rule(hours=st.integers(-30, 30))
    def skew_the_clock(self, hours: int) -> None:
        Skewed.by = timedelta(hours=hours)

    @invariant()
    def the_champion_is_what_the_rules_say(self) -> None:
        assert Champions(self.client, self.name).current() == self.champion
        history = Champions(self.client, self.name).history()
        assert [entry.version for entry in history] == self.were
        assert {one for one in barred(history) if one not in self.deleted} == self.left - self.deleted
        assert len({entry.token for entry in history}) == len(history), "no entry was overwritten"
        assert all(entry.command or entry.reason in (SET_BY_HAND, "brought back") for entry in history)
        assert all(
            entry.reason == ROLLED_BACK or entry.bars is None or entry.reason == "brought back" for entry in history
        )

    def _look(self) -> int | None:
        champions = Champions(self.client, self.name)
        with champions.lock() as lock:
            return champions.settle(lock)

    def _to_beat(self) -> int | None:
        if self.champion is not None:
            return self.champion
        return next((one for one in reversed(self.were) if one not in self.left | self.deleted), None)

    def _became(self, version: int) -> None:
        self.champion = version
        self.were.append(version)
        self.left.discard(version)


def _run(uri: str, monkeypatch: pytest.MonkeyPatch, examples: int) -> None:
    monkeypatch.setattr(module, "datetime", Skewed)
    monkeypatch.setattr(Skewed, "by", timedelta())
    assert Skewed.now(UTC).tzinfo is UTC
    connected = connect(TrackingSettings(uri=uri))
    run_state_machine_as_test(
        type("OnThis", (Registry,), {"client": connected}),
        settings=settings(
            max_examples=examples,
            stateful_step_count=12,
            deadline=None,
            derandomize=True,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_every_order_of_acts_keeps_the_rules(sqlite_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(sqlite_uri, monkeypatch, 12)


@pytest.mark.integration
def test_every_order_of_acts_keeps_the_rules_on_postgresql(postgres_uri: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _run(postgres_uri, monkeypatch, 25)

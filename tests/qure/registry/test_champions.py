"""Alias and history: who is champion after races, deaths, stalls and hands."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.registry import champions as module
from qure.registry.champions import CHAMPION, ENTRY, Champions
from qure.tracking import LockLost, connect

NAME = "qure-test"
RACERS, ROUNDS = 6, 5


def _registry(uri: str, versions: int) -> Any:
    client = connect(TrackingSettings(uri=uri))
    client.create_registered_model(NAME)
    for _ in range(versions):
        client.create_model_version(NAME, source="s3://bucket/model")
    return client


@pytest.fixture
def client(sqlite_uri: str) -> Any:
    """A registry with five versions and nobody champion."""
    return _registry(sqlite_uri, 5)


def _disconnect(client: Any) -> None:
    """A forked process must not speak on its parent's connections."""
    client._tracking_client.store.engine.dispose()
    client._get_registry_client().store.engine.dispose()


def _crown(client: Any, version: int) -> None:
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        champions.crown(lock, version, previous=champions.settle(lock), reason="promoted")


def test_alias_and_history_tell_the_same(client: Any) -> None:
    for version in (2, 4):
        _crown(client, version)
    champions = Champions(client, NAME)
    assert champions.current() == 4
    assert [(one.version, one.previous, one.done) for one in champions.history()] == [(2, None, True), (4, 2, True)]


def test_what_a_dead_writer_began_is_finished(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    _crown(client, 1)
    entry = {"version": 3, "previous": 1, "reason": "promoted", "at": "2026-01-01", "took_over": False, "done": False}
    client.set_registered_model_tag(NAME, f"{ENTRY}{99:08d}", json.dumps(entry))
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) == 3
    assert champions.current() == 3
    assert champions.history()[-1].done
    assert "finishing it" in caplog.text


def test_a_person_who_sets_the_alias_is_believed(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    _crown(client, 1)
    client.set_registered_model_alias(NAME, CHAMPION, "5")
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) == 5
    assert "by hand" in caplog.text
    assert (champions.history()[-1].version, champions.history()[-1].previous) == (5, 1)
    with champions.lock() as lock:
        assert champions.roll_back(lock, None) == (5, 1)


def test_a_person_who_takes_the_alias_away_is_believed(client: Any) -> None:
    _crown(client, 1)
    client.delete_registered_model_alias(NAME, CHAMPION)
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) is None


class Stalling:
    """A client whose process is suspended right before one of its calls, until another one has taken its lock over."""

    def __init__(self, client: Any, call: str, meanwhile: Callable[[], None], countdown: int = 1) -> None:
        self._client, self._call, self._meanwhile, self._countdown = client, call, meanwhile, countdown

    def __getattr__(self, name: str) -> Any:
        if name == self._call:
            self._countdown -= 1
            if self._countdown == 0:
                self._meanwhile()
        return getattr(self._client, name)


@pytest.mark.parametrize(
    ("call", "countdown", "mended"),
    [
        ("set_registered_model_tag", 1, False),  # before its history entry
        ("set_registered_model_alias", 1, True),  # before the alias moves: too late to notice, early enough to mend
    ],
)
def test_a_writer_that_stalls_and_loses_its_lock_changes_nothing(
    client: Any,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    call: str,
    countdown: int,
    mended: bool,
) -> None:
    monkeypatch.setattr(module, "LEASE", 0.4)
    _crown(client, 1)
    stalled = Champions(client, NAME)
    lock = stalled.lock().__enter__()
    stalled.settle(lock)

    def others_go_on() -> None:
        lock._stop.set()  # a suspended process has no heartbeat
        _crown(client, 5)

    stalled._client = Stalling(client, call, others_go_on, countdown)
    with pytest.raises(LockLost):
        stalled.crown(lock, 2, previous=1, reason="promoted")
    champions = Champions(client, NAME)
    assert champions.current() == 5
    assert ("lost while the champion was changed" in caplog.text) is mended
    assert champions.history()[-1].version == 5
    with champions.lock() as after:
        assert champions.settle(after) == 5


def test_a_writer_that_stalls_and_dies_is_mended_by_the_next(client: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEASE", 0.4)
    _crown(client, 1)
    stalled = Champions(client, NAME)
    lock = stalled.lock().__enter__()
    stalled.settle(lock)

    def others_go_on() -> None:
        lock._stop.set()
        _crown(client, 5)

    def die(*_: object) -> None:
        raise KeyboardInterrupt

    stalled._client = Stalling(client, "set_registered_model_alias", others_go_on)
    monkeypatch.setattr(stalled, "_write", lambda entry: die() if entry.done else Champions._write(stalled, entry))
    with pytest.raises(KeyboardInterrupt):
        stalled.crown(lock, 2, previous=1, reason="promoted")
    assert Champions(client, NAME).current() == 2, "the window that no lock with time limits closes"
    champions = Champions(client, NAME)
    with champions.lock() as after:
        assert champions.settle(after) == 5
    assert champions.current() == 5


def _promote_if_better(uri: str, version: int, rounds: int, start: Barrier, told: "multiprocessing.Queue[str]") -> None:
    """What promotion does, with the version's number in place of its quality."""
    try:
        for number in range(rounds):
            champions = Champions(connect(TrackingSettings(uri=uri)), f"{NAME}-{number}")
            start.wait(timeout=120)
            with champions.lock() as lock:
                champion = champions.settle(lock)
                if champion is None or version > champion:
                    champions.crown(lock, version, previous=champion, reason="promoted")
        told.put("done")
    except BaseException as error:
        told.put(repr(error))
        raise


@pytest.mark.integration
def test_the_worse_of_racing_versions_never_ends_as_champion(postgres_uri: str) -> None:
    client = connect(TrackingSettings(uri=postgres_uri))
    for number in range(ROUNDS):
        client.create_registered_model(f"{NAME}-{number}")
        for _ in range(RACERS):
            client.create_model_version(f"{NAME}-{number}", source="s3://bucket/model")
    _disconnect(client)
    forked = multiprocessing.get_context("fork")
    start, told = forked.Barrier(RACERS), forked.Queue()
    racers = [
        forked.Process(target=_promote_if_better, args=(postgres_uri, version + 1, ROUNDS, start, told))
        for version in range(RACERS)
    ]
    for racer in racers:
        racer.start()
    assert [told.get(timeout=120) for _ in racers] == ["done"] * RACERS
    for racer in racers:
        racer.join(timeout=30)
    assert [Champions(client, f"{NAME}-{number}").current() for number in range(ROUNDS)] == [RACERS] * ROUNDS
    for number in range(ROUNDS):
        versions = [entry.version for entry in Champions(client, f"{NAME}-{number}").history()]
        assert versions == sorted(versions), "each champion was better than the one before"


def _die_at(uri: str, call: str, version: int) -> None:
    client = connect(TrackingSettings(uri=uri))
    champions = Champions(client, NAME)
    champions._client = Stalling(client, call, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with champions.lock() as lock:
        champions.crown(lock, version, previous=champions.settle(lock), reason="promoted")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("call", "champion"), [("set_registered_model_tag", 1), ("set_registered_model_alias", 2), ("get_model_version", 2)]
)
def test_a_promoter_killed_with_kill_9_leaves_no_half_promotion(
    postgres_uri: str, monkeypatch: pytest.MonkeyPatch, call: str, champion: int
) -> None:
    monkeypatch.setattr(module, "LEASE", 1.0)
    client = _registry(postgres_uri, 3)
    _crown(client, 1)
    _disconnect(client)
    child = multiprocessing.get_context("fork").Process(target=_die_at, args=(postgres_uri, call, 2))
    child.start()
    child.join(timeout=60)
    died = call != "get_model_version"  # that call does not occur: the control that the others die where they should
    assert child.exitcode == (-signal.SIGKILL if died else 0)
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert lock.took_over is died
        assert champions.settle(lock) == champion
    assert champions.current() == champion
    _crown(client, 3)
    assert [entry.version for entry in champions.history()] == ([1, 3] if champion == 1 else [1, 2, 3])

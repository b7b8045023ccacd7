"""The registry's lock: one owner at a time, dead owners replaced, lost ownership noticed."""

import multiprocessing
import os
import signal
import threading
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from qure.config import TrackingSettings
from qure.errors import StageFailed
from qure.tracking import LockLost, RegistryLock, connect

ROUNDS = 5
RACERS = 4


def _lock(uri: str, **settings: float) -> RegistryLock:
    return RegistryLock(connect(TrackingSettings(uri=uri)), "test-lock", **settings)


def _names(uri: str) -> list[str]:
    return sorted(model.name for model in connect(TrackingSettings(uri=uri)).search_registered_models())


def test_tokens_grow_and_one_generation_stays(sqlite_uri: str) -> None:
    tokens = []
    for _ in range(3):
        with _lock(sqlite_uri) as lock:
            lock.check()
            tokens.append(lock.token)
            assert not lock.took_over
    assert tokens == [1, 2, 3]
    assert _names(sqlite_uri) == ["test-lock.3"]


def test_a_second_owner_waits(sqlite_uri: str) -> None:
    order = []

    def second() -> None:
        with _lock(sqlite_uri):
            order.append("second")

    with _lock(sqlite_uri):
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.5)
        order.append("first")
    other.join(timeout=20)
    assert order == ["first", "second"]


def test_it_is_free_again_after_an_error(sqlite_uri: str) -> None:
    with pytest.raises(ZeroDivisionError), _lock(sqlite_uri):
        _ = 1 / 0
    with _lock(sqlite_uri, wait=0.5) as lock:
        assert not lock.took_over


def test_waiting_ends_with_the_owners_name(sqlite_uri: str) -> None:
    with _lock(sqlite_uri) as lock, pytest.raises(StageFailed, match=f"not free within 0 s.*{lock.owner}"):
        _lock(sqlite_uri, wait=0.3).__enter__()


def test_a_silent_owner_is_replaced_and_notices(sqlite_uri: str) -> None:
    silent = _lock(sqlite_uri, lease=0.6)
    silent.__enter__()
    silent._stop.set()  # its heart stops: it is suspended, say, or cut off
    with _lock(sqlite_uri, lease=0.6) as heir:
        assert heir.took_over
        assert heir.token > silent.token
        heir.check()
        with pytest.raises(LockLost, match=heir.owner):
            silent.check()
        silent.__exit__()  # neither frees the heir's lock ...
        heir.check()
        with pytest.raises(StageFailed):
            _lock(sqlite_uri, wait=0.3).__enter__()  # ... nor lets a third one in
    with _lock(sqlite_uri) as third:
        assert not third.took_over


def test_a_beating_owner_is_not_replaced_however_long_it_takes(sqlite_uri: str) -> None:
    with _lock(sqlite_uri, lease=0.6) as lock:
        with pytest.raises(StageFailed):
            _lock(sqlite_uri, lease=0.6, wait=2.5).__enter__()
        lock.check()


def test_a_slow_claim_on_a_number_of_the_past_is_given_up(sqlite_uri: str) -> None:
    with _lock(sqlite_uri):
        pass
    with _lock(sqlite_uri) as owner:  # generation 2; generation 1 is cleared away
        slow = _lock(sqlite_uri)
        assert not slow._claim(1)
        owner.check()
        assert _names(sqlite_uri) == ["test-lock.2"]


def test_a_claim_whose_answer_got_lost_is_ones_own(sqlite_uri: str) -> None:
    lock = _lock(sqlite_uri)
    assert lock._claim(1)
    lock.token = 0
    assert lock._claim(1), "the repeated request is refused, although the lock is ours"


def _count_up(uri: str, file: Path, start: Barrier, failures: "multiprocessing.Queue[str]") -> None:
    try:
        start.wait()
        for _ in range(ROUNDS):
            with _lock(uri) as lock:
                value = int(file.read_text())
                time.sleep(0.005)
                file.write_text(str(value + 1))
                lock.check()
    except BaseException as error:
        failures.put(repr(error))
        raise


def _race(uri: str, file: Path) -> list[str]:
    forked = multiprocessing.get_context("fork")
    file.write_text("0")
    start, failures = forked.Barrier(RACERS), forked.Queue()
    racers = [forked.Process(target=_count_up, args=(uri, file, start, failures)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(timeout=120)
    assert file.read_text() == str(ROUNDS * RACERS), failures.get() if not failures.empty() else ""
    assert [racer.exitcode for racer in racers] == [0] * RACERS
    return _names(uri)


def test_racing_processes_are_alone_one_after_another(sqlite_uri: str, tmp_path: Path) -> None:
    assert _race(sqlite_uri, tmp_path / "count") == [f"test-lock.{ROUNDS * RACERS}"]


@pytest.mark.integration
def test_racing_processes_on_postgresql(postgres_uri: str, tmp_path: Path) -> None:
    assert len(_race(postgres_uri, tmp_path / "count")) == 1


def _hold_until_killed(uri: str, held: "multiprocessing.Queue[int]") -> None:
    with _lock(uri, lease=1.0) as lock:
        held.put(lock.token)
        time.sleep(600)


@pytest.mark.integration
@pytest.mark.usefixtures("no_bytecode")
def test_an_owner_killed_with_kill_9_is_replaced(postgres_uri: str) -> None:
    forked = multiprocessing.get_context("fork")
    held = forked.Queue()
    owner = forked.Process(target=_hold_until_killed, args=(postgres_uri, held))
    owner.start()
    token = held.get(timeout=60)
    with pytest.raises(StageFailed):
        _lock(postgres_uri, lease=1.0, wait=1.5).__enter__()
    os.kill(owner.pid or 0, signal.SIGKILL)
    owner.join()
    begun = time.monotonic()
    with _lock(postgres_uri, lease=1.0) as heir:
        assert heir.took_over
        assert heir.token > token
    assert 0.9 < time.monotonic() - begun < 15

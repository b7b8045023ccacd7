"""Alias and history: who is champion after races, deaths, stalls and hands."""

import json
import multiprocessing
import os
import signal
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from typing import Any

import pytest
from mlflow.entities import ViewType

from qure.config import TrackingSettings
from qure.errors import BadInput, StageFailed
from qure.registry import champions as module
from qure.registry.champions import Champions
from qure.registry.history import ENTRY, SET_BY_HAND, barred
from qure.registry.journal import CHAMPION
from qure.tracking import LockLost, RegistryLock, connect
from qure.tracking.lock.experiments import ExperimentLock

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


@pytest.fixture
def behind_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """The lock of a server's clients, which guesses who is dead, with a short lease; it needs no more than a client."""

    def lock(client: Any, name: str, **_: float) -> ExperimentLock:
        return ExperimentLock(client, name, lease=0.4, wait=60.0)

    monkeypatch.setattr(module, "registry_lock", lock)


class NoLock(RegistryLock):
    """A lock that keeps nobody out: as two kinds of lock, of clients that reach one registry by two addresses."""

    def __init__(self) -> None:
        super().__init__("none", wait=0.0)

    def check(self) -> None:
        pass

    def _take(self) -> bool:
        return True

    def _release(self) -> None:
        pass

    def _holder(self) -> str | None:
        return None


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
    assert [one.token for one in champions.history()] == [1, 2]


def test_the_history_is_readable_on_the_models_page(client: Any) -> None:
    champions = Champions(client, NAME)
    for version, why in ((2, "there was no champion"), (4, "better | by far")):
        with champions.lock() as lock:
            champions.crown(lock, version, previous=champions.settle(lock), reason="promoted", why=why)
    page = client.get_registered_model(NAME).description
    told = page.split("## Who was champion")[1].strip().splitlines()
    assert told[0].startswith("| when (UTC) | champion | before | how | why | by |")
    newest, oldest = told[2:]
    assert newest.split(" | ")[1].startswith("[version 4]")
    assert "promoted | better \\| by far | " in newest
    assert oldest.split(" | ")[2] == "nobody"
    assert "is not worse than the champion" in page
    client.update_registered_model(NAME, description=page.replace("- **challenger**", "- a person's word"))
    _crown(client, 5)
    page = client.get_registered_model(NAME).description
    assert "a person's word" in page
    assert page.count("## Who was champion") == 1
    assert "[version 5]" in page


def test_a_reason_that_no_tag_could_hold_is_cut(client: Any) -> None:
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        champions.crown(lock, 2, previous=None, reason="promoted", why="because " * 1000)
    (entry,) = champions.history()
    assert entry.why == ("because " * 1000)[:1000]


def test_the_lock_is_the_models_own_and_its_owner_dies_after_half_a_minute(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    monkeypatch.setattr(module, "registry_lock", lambda *place, **settings: asked.append((*place, settings)))
    Champions(client, NAME).lock()
    assert asked == [(client, f"{NAME}.champion", {"lease": 30.0})]


def test_a_challenger_is_named_and_is_no_champion(client: Any) -> None:
    champions = Champions(client, NAME)
    champions.make_challenger(3)
    champions.make_challenger(4)
    assert int(client.get_model_version_by_alias(NAME, "challenger").version) == 4
    assert (champions.current(), champions.history(), champions.to_beat()) == (None, [], None)


def test_entries_of_older_versions_of_qure_are_read(client: Any) -> None:
    entry = {"version": 3, "previous": 1, "reason": "promoted", "at": "2026-01-01", "took_over": True, "done": True}
    client.set_registered_model_tag(NAME, f"{ENTRY}{7:08d}", json.dumps(entry))
    client.set_registered_model_alias(NAME, CHAMPION, "3")
    _crown(client, 4)
    assert [(one.token, one.version, one.previous) for one in Champions(client, NAME).history()] == [
        (7, 3, 1),
        (8, 4, 3),
    ]


def test_what_an_older_qure_left_in_doubt_is_settled_by_a_persons_act(client: Any) -> None:
    entry = {"version": 3, "previous": 1, "reason": "promoted", "at": "2026-01-01", "done": True, "outstanding": True}
    client.set_registered_model_tag(NAME, f"{ENTRY}{7:08d}", json.dumps(entry))
    client.set_registered_model_alias(NAME, CHAMPION, "5")
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) == 5
    assert [(one.version, one.outstanding) for one in champions.history()] == [(3, False), (5, False)]


def _edit(client: Any, change: Callable[[str, str], str | None]) -> None:
    """What a person can do on the model's page: edit or delete tags."""
    for key, value in client.get_registered_model(NAME).tags.items():
        edited = change(key, value)
        if edited is None:
            client.delete_registered_model_tag(NAME, key)
        elif edited != value:
            client.set_registered_model_tag(NAME, key, edited)


@pytest.mark.parametrize(
    "change",
    [
        lambda key, value: None,
        lambda key, value: "nonsense",
        lambda key, value: json.dumps({"version": 1}),
        lambda key, value: json.dumps(json.loads(value) | {"version": 1, "bars": None}),
        lambda key, value: json.dumps(json.loads(value) | {"done": False}),
        lambda key, value: json.dumps(json.loads(value) | {"version": "one"}),
    ],
)
def test_a_history_that_was_edited_on_the_models_page_comes_back(
    client: Any, change: Callable[[str, str], str | None], caplog: pytest.LogCaptureFixture
) -> None:
    for version in (1, 2, 3):
        _crown(client, version)
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.roll_back(lock, None) == (3, 2)
    before = champions.history()
    _edit(client, change)
    client.delete_registered_model_alias(NAME, CHAMPION)
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) is None
        assert champions.to_beat() == 2, "the gate is closed"
    assert champions.history() == before
    assert list(barred(before)) == [3], "who was rolled back does not return"
    assert "its page has lost the change of champion to version 2" in caplog.text
    assert not [one.name for one in client.search_experiments() if "history" in one.name], "no page lists the record"


def test_a_model_that_is_made_again_has_a_history_of_its_own(client: Any) -> None:
    _crown(client, 1)
    client.delete_registered_model(NAME)
    client.create_registered_model(NAME)
    client.create_model_version(NAME, source="s3://bucket/model")
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) is None
        assert champions.to_beat() is None
    assert champions.history() == []


def test_a_record_that_is_cleared_away_is_made_again(client: Any) -> None:
    _crown(client, 1)
    store = client._tracking_client.store
    for one in client.search_experiments(view_type=ViewType.DELETED_ONLY):
        store._hard_delete_experiment(one.experiment_id)  # as `mlflow gc` does
    _crown(client, 2)
    before = Champions(client, NAME).history()
    _edit(client, lambda key, value: None)
    _crown(client, 3)
    assert Champions(client, NAME).history()[:2] == before


def _begun(client: Any, version: int, previous: int, token: int = 99) -> None:
    """What a writer leaves that dies before it marks its entry done."""
    entry = {"version": version, "previous": previous, "reason": "promoted", "at": "2026-01-01", "done": False}
    client.set_registered_model_tag(NAME, f"{ENTRY}{token:08d}", json.dumps(entry))


def test_a_dead_writer_that_moved_the_alias_has_made_its_change(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    _crown(client, 1)
    _begun(client, 3, 1)
    client.set_registered_model_alias(NAME, CHAMPION, "3")
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) == 3
    assert champions.history()[-1].version == 3
    assert champions.history()[-1].done
    assert "a process ended while it made version 3 champion" in caplog.text


@pytest.mark.parametrize("by_hand", [None, 1, 5])
def test_a_dead_writer_that_did_not_move_it_has_changed_nothing(client: Any, by_hand: int | None) -> None:
    """Whoever was champion stays, and so does whoever was set by hand since."""
    _crown(client, 1)
    _begun(client, 3, 1)
    if by_hand is not None:
        client.set_registered_model_alias(NAME, CHAMPION, str(by_hand))
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) == (by_hand or 1)
    assert champions.current() == (by_hand or 1)
    assert 3 not in [entry.version for entry in champions.history()]
    _crown(client, 4)
    assert champions.current() == 4
    assert champions.history()[-1].previous == (by_hand or 1)


def test_a_person_who_sets_the_alias_is_believed(client: Any, caplog: pytest.LogCaptureFixture) -> None:
    _crown(client, 1)
    client.set_registered_model_alias(NAME, CHAMPION, "5")
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) == 5
    assert "by hand" in caplog.text
    entry = champions.history()[-1]
    assert (entry.version, entry.previous, entry.reason, entry.by) == (5, 1, SET_BY_HAND, "")
    assert "noticed by" in entry.why
    with champions.lock() as lock:
        assert champions.roll_back(lock, None) == (5, 1)


def test_a_person_who_takes_the_alias_away_is_believed(client: Any) -> None:
    _crown(client, 1)
    client.delete_registered_model_alias(NAME, CHAMPION)
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) is None
    assert champions.to_beat() == 1, "the gate stays closed"


def test_an_alias_that_is_moved_by_hand_during_a_promotion_stays(client: Any) -> None:
    _crown(client, 1)
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        champions.settle(lock)
        client.set_registered_model_alias(NAME, CHAMPION, "5")
        with pytest.raises(LockLost, match="moved by hand from version 1 to 5"):
            champions.crown(lock, 3, previous=1, reason="promoted")
    assert champions.current() == 5
    assert [entry.version for entry in champions.history()] == [1]


def test_rolling_back_skips_who_was_deleted_or_rolled_back(client: Any) -> None:
    for version in (1, 2, 3, 4):
        _crown(client, version)
    client.delete_model_version(NAME, "3")
    champions = Champions(client, NAME, command="qure rollback")
    with champions.lock() as lock:
        assert champions.roll_back(lock, 5) == (4, 5)
        assert champions.roll_back(lock, None) == (5, 2), "4 was rolled back, 3 is gone"
        assert champions.roll_back(lock, None) == (2, 1)
        assert champions.roll_back(lock, 4) == (1, 4)
        with pytest.raises(BadInput, match=r"version 3 was deleted, version 2 was rolled back, version 1 was rolled"):
            champions.roll_back(lock, None)
    last = champions.history()[-1]
    assert (last.command, last.bars, bool(last.by)) == ("qure rollback", 1, True)
    tags = {number: client.get_model_version(NAME, str(number)).tags for number in (1, 2, 4, 5)}
    assert {number for number, told in tags.items() if "qure.rolled_back" in told} == {1, 2, 5}


def test_a_champion_whose_version_is_deleted_is_followed_by_the_one_before(
    client: Any, caplog: pytest.LogCaptureFixture
) -> None:
    for version in (1, 2, 3):
        _crown(client, version)
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        champions.roll_back(lock, None)  # from 3 to 2: 3 does not come back by itself
    client.delete_model_version(NAME, "2")
    assert champions.current() is None
    with champions.lock() as lock:
        assert champions.settle(lock) == 1
    assert champions.current() == 1
    assert "version 2, was deleted: version 1 is champion again" in caplog.text
    assert champions.history()[-1].reason == "brought back"
    client.delete_model_version(NAME, "1")
    with champions.lock() as lock:
        assert champions.settle(lock) is None
    assert "no champion before it is left" in caplog.text


def test_two_changes_decided_on_the_same_state_do_not_both_pass(client: Any) -> None:
    """Whatever lock they held: of two writers that do not exclude each other one gives up."""
    _crown(client, 1)
    one, other = Champions(client, NAME), Champions(client, NAME)
    assert (one.settle(NoLock()), other.settle(NoLock())) == (1, 1)
    one.crown(NoLock(), 4, previous=1, reason="promoted")
    with pytest.raises(LockLost, match="changed the champion to version 4 at the same time"):
        other.crown(NoLock(), 2, previous=1, reason="promoted")
    assert one.current() == 4
    assert [entry.version for entry in one.history()] == [1, 4]


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
    behind_a_server: None,
    caplog: pytest.LogCaptureFixture,
    call: str,
    countdown: int,
    mended: bool,
) -> None:
    _crown(client, 1)
    stalled = Champions(client, NAME)
    lock = stalled.lock().__enter__()
    assert isinstance(lock, ExperimentLock)
    stalled.settle(lock)

    def others_go_on() -> None:
        lock._stop.set()  # a suspended process has no heartbeat
        _crown(client, 5)

    stalled._journal.client = Stalling(client, call, others_go_on, countdown)
    with pytest.raises(LockLost):
        stalled.crown(lock, 2, previous=1, reason="promoted")
    champions = Champions(client, NAME)
    assert champions.current() == 5
    assert ("lost while the champion was changed" in caplog.text) is mended
    assert champions.history()[-1].version == 5
    assert not any(entry.outstanding for entry in champions.history())
    with champions.lock() as after:
        assert champions.settle(after) == 5
    client.set_registered_model_alias(NAME, CHAMPION, "2")  # it has come back and mended: from now on this is a person
    with champions.lock() as after:
        assert champions.settle(after) == 2


def _stall_and_die(client: Any) -> None:
    """Version 1, then 5 is champion; a writer of version 2 moves the alias late and dies."""
    _crown(client, 1)
    stalled = Champions(client, NAME)
    lock = stalled.lock().__enter__()
    assert isinstance(lock, ExperimentLock)
    stalled.settle(lock)

    def others_go_on() -> None:
        lock._stop.set()
        _crown(client, 5)

    def die() -> None:
        raise KeyboardInterrupt

    stalled._journal.client = Stalling(client, "set_registered_model_alias", others_go_on)
    lock.check = _times(2, lock.check, die)  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        stalled.crown(lock, 2, previous=1, reason="promoted")
    assert Champions(client, NAME).current() == 2, "the window that no lock with time limits closes"


def _times(count: int, first: Callable[[], None], then: Callable[[], None]) -> Callable[[], None]:
    """The first function for a number of calls, then the other."""
    left = iter([first] * count)
    return lambda: next(left, then)()


@pytest.mark.parametrize("answer", [5, 2])
def test_who_moved_the_alias_late_cannot_be_told_and_a_person_is_asked(
    client: Any, behind_a_server: None, answer: int
) -> None:
    _stall_and_die(client)
    champions = Champions(client, NAME)
    with champions.lock() as after, pytest.raises(StageFailed, match=r"--to-version 5, or --to-version 2"):
        champions.settle(after)
    with champions.lock() as after, pytest.raises(StageFailed, match="Say who is champion"):
        champions.roll_back(after, None)
    assert champions.current() == 2, "nothing is changed before the answer"
    with champions.lock() as after:
        assert champions.roll_back(after, answer)[1] == answer
    with champions.lock() as after:
        assert champions.settle(after) == answer
    with champions.lock() as after, pytest.raises(BadInput, match="is champion already"):
        champions.roll_back(after, answer)


def test_a_persons_act_after_a_take_over_stays(client: Any, behind_a_server: None) -> None:
    _stall_and_die(client)
    client.set_registered_model_alias(NAME, CHAMPION, "3")
    champions = Champions(client, NAME)
    with champions.lock() as after:
        assert champions.settle(after) == 3
    assert champions.history()[-1].reason == "set by hand"


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
    champions._journal.client = Stalling(client, call, lambda: os.kill(os.getpid(), signal.SIGKILL))
    with champions.lock() as lock:
        champions.crown(lock, version, previous=champions.settle(lock), reason="promoted")


@pytest.mark.integration
@pytest.mark.parametrize(
    ("call", "champion"),
    [("set_registered_model_tag", 1), ("set_registered_model_alias", 1), ("update_registered_model", 2), ("none", 2)],
)
def test_a_promoter_killed_with_kill_9_leaves_no_half_promotion(postgres_uri: str, call: str, champion: int) -> None:
    client = _registry(postgres_uri, 3)
    _crown(client, 1)
    _disconnect(client)
    child = multiprocessing.get_context("fork").Process(target=_die_at, args=(postgres_uri, call, 2))
    child.start()
    child.join(timeout=60)
    died = call != "none"  # that call does not occur: the control that the others die where they should
    assert child.exitcode == (-signal.SIGKILL if died else 0)
    champions = Champions(client, NAME)
    with champions.lock() as lock:
        assert champions.settle(lock) == champion
    assert champions.current() == champion
    _crown(client, 3)
    assert [entry.version for entry in champions.history()] == ([1, 3] if champion == 1 else [1, 2, 3])

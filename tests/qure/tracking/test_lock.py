"""The locks, each on its real store: one owner at a time, dead owners replaced, lost ownership noticed."""

import errno
import fcntl
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest

from qure.config import TrackingSettings
from qure.errors import StageFailed
from qure.tracking import LockLost, RegistryLock, connect, registry_lock
from qure.tracking.lock import base, experiments
from qure.tracking.lock.experiments import ExperimentLock
from qure.tracking.lock.files import FileLock
from qure.tracking.lock.postgres import PostgresLock

ROUNDS = 5
RACERS = 4

Make = Callable[..., RegistryLock]


def _any_lock(uri: str, **settings: float) -> RegistryLock:
    """What this URI's clients use."""
    return registry_lock(connect(TrackingSettings(uri=uri)), "test-lock", **settings)


def _experiment_lock(uri: str, *, lease: float = 30.0, wait: float = 60.0) -> ExperimentLock:
    """What a server's clients use; it needs nothing but a client."""
    return ExperimentLock(connect(TrackingSettings(uri=uri)), "test-lock", lease=lease, wait=wait)


@pytest.fixture(
    params=[
        "files",
        "experiments",
        pytest.param("postgres", marks=pytest.mark.integration),
        pytest.param("experiments on PostgreSQL", marks=pytest.mark.integration),
    ]
)
def place(request: pytest.FixtureRequest) -> tuple[Make, str]:
    """A kind of lock, and the URI of a database of this test's own."""
    kind = {"experiments": _experiment_lock, "experiments on PostgreSQL": _experiment_lock}.get(
        request.param, _any_lock
    )
    fixture = "sqlite_uri" if request.param in ("files", "experiments") else "postgres_uri"
    return kind, request.getfixturevalue(fixture)


@pytest.fixture
def make(place: tuple[Make, str]) -> Make:
    """Makes another process's lock of the same name."""
    return lambda **settings: place[0](place[1], **settings)


def test_the_uri_decides(sqlite_uri: str) -> None:
    class Client:
        def __init__(self, uri: str) -> None:
            self.tracking_uri = uri

    kinds = {
        sqlite_uri: FileLock,
        "postgresql+psycopg://host/db": PostgresLock,
        "https://mlflow.example": ExperimentLock,
        "mysql://host/db": ExperimentLock,
    }
    locks = {uri: registry_lock(Client(uri), "x") for uri in kinds}  # type: ignore[arg-type]
    assert {uri: type(lock) for uri, lock in locks.items()} == kinds
    assert {(lock.name, lock.wait) for lock in locks.values()} == {("x", 1800.0)}, "half an hour"
    guessing = locks["https://mlflow.example"]
    assert isinstance(guessing, ExperimentLock)
    assert guessing.lease == 30.0
    assert registry_lock(Client(sqlite_uri), "x", wait=3.0).wait == 3.0  # type: ignore[arg-type]


def test_nothing_stays_among_models_and_experiments(make: Make, place: tuple[Make, str]) -> None:
    for _ in range(3):
        with make() as lock:
            lock.check()
    client = connect(TrackingSettings(uri=place[1]))
    assert not client.search_registered_models()
    assert [one.name for one in client.search_experiments()] == ["Default"]


def test_a_second_owner_waits(make: Make) -> None:
    order = []

    def second() -> None:
        with make():
            order.append("second")

    with make():
        other = threading.Thread(target=second)
        other.start()
        time.sleep(0.5)
        order.append("first")
    other.join(timeout=20)
    assert order == ["first", "second"]


def test_locks_of_two_names_do_not_wait_for_each_other(sqlite_uri: str) -> None:
    client = connect(TrackingSettings(uri=sqlite_uri))
    with registry_lock(client, "one"), registry_lock(client, "other", wait=0.0):
        pass


def test_it_is_free_again_after_an_error(make: Make) -> None:
    with pytest.raises(ZeroDivisionError), make():
        _ = 1 / 0
    with make(wait=0.5):
        pass


def test_waiting_ends_with_the_owners_name(make: Make) -> None:
    with make() as lock, pytest.raises(StageFailed, match=r"not free within 0\.3 s") as told:
        make(wait=0.3).__enter__()
    assert lock.owner[:30] in str(told.value)


def test_who_does_not_hold_it_is_told(make: Make) -> None:
    lock = make()
    with pytest.raises(LockLost):
        lock.check()
    with lock:
        lock.check()
    with pytest.raises(LockLost):
        lock.check()


def _count_up(make: Make, file: Path, start: Barrier, failures: "multiprocessing.Queue[str]") -> None:
    try:
        start.wait()
        for _ in range(ROUNDS):
            with make() as lock:
                value = int(file.read_text())
                time.sleep(0.005)
                file.write_text(str(value + 1))
                lock.check()
    except BaseException as error:
        failures.put(repr(error))
        raise


def test_racing_processes_are_alone_one_after_another(make: Make, tmp_path: Path) -> None:
    file = tmp_path / "count"
    forked = multiprocessing.get_context("fork")
    file.write_text("0")
    start, failures = forked.Barrier(RACERS), forked.Queue()
    racers = [forked.Process(target=_count_up, args=(make, file, start, failures)) for _ in range(RACERS)]
    for racer in racers:
        racer.start()
    for racer in racers:
        racer.join(timeout=120)
    assert file.read_text() == str(ROUNDS * RACERS), failures.get() if not failures.empty() else ""
    assert [racer.exitcode for racer in racers] == [0] * RACERS


def _hold_until_killed(make: Make, held: "multiprocessing.Queue[bool]") -> None:
    with make():
        held.put(True)
        time.sleep(600)


def _holder(make: Make) -> multiprocessing.process.BaseProcess:
    forked = multiprocessing.get_context("fork")
    held = forked.Queue()
    owner = forked.Process(target=_hold_until_killed, args=(make, held))
    owner.start()
    assert held.get(timeout=60)
    return owner


@pytest.mark.usefixtures("no_bytecode")
def test_an_owner_killed_with_kill_9_is_replaced(place: tuple[Make, str]) -> None:
    kind, uri = place
    guessed = {"lease": 1.0} if kind is _experiment_lock else {}
    owner = _holder(lambda: kind(uri, **guessed))
    with pytest.raises(StageFailed):
        kind(uri, wait=0.5, **guessed).__enter__()
    os.kill(owner.pid or 0, signal.SIGKILL)
    owner.join()
    with kind(uri, wait=30.0, **guessed) as heir:
        heir.check()


@pytest.mark.usefixtures("no_bytecode")
def test_a_suspended_owner_keeps_what_the_kernel_or_the_database_holds(place: tuple[Make, str]) -> None:
    kind, uri = place
    if kind is _experiment_lock:
        pytest.skip("an owner that gives no sign of life is taken for dead; told below")
    owner = _holder(lambda: kind(uri))
    os.kill(owner.pid or 0, signal.SIGSTOP)
    try:
        with pytest.raises(StageFailed):
            kind(uri, wait=0.7).__enter__()
    finally:
        os.kill(owner.pid or 0, signal.SIGKILL)
        owner.join()


def test_a_lock_file_that_is_removed_is_noticed(sqlite_uri: str) -> None:
    with _any_lock(sqlite_uri) as lock:
        assert isinstance(lock, FileLock)
        lock.file.unlink()
        with _any_lock(sqlite_uri, wait=0.0) as other:
            other.check()
            with pytest.raises(LockLost, match="was removed"):
                lock.check()


def test_the_lock_file_is_one_by_whatever_path(
    sqlite_uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    link = tmp_path / "elsewhere"
    link.symlink_to(tmp_path / "tracking")
    monkeypatch.chdir(tmp_path / "tracking")
    with _any_lock(sqlite_uri):
        for uri in (f"sqlite:///{link}/mlflow.db", "sqlite:///mlflow.db"):
            with pytest.raises(StageFailed, match="was not free"):
                _any_lock(uri, wait=0.0).__enter__()


@pytest.mark.integration
def test_a_session_that_ends_is_noticed(postgres_uri: str) -> None:
    from sqlalchemy import create_engine, text

    with _any_lock(postgres_uri) as lock:
        engine = create_engine(postgres_uri, isolation_level="AUTOCOMMIT")
        with engine.connect() as connection:
            ended = connection.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name LIKE 'qure lock%' AND datname = current_database()"
                )
            ).all()
        engine.dispose()
        assert len(ended) == 1
        with pytest.raises(LockLost, match="its connection broke"):
            lock.check()
        with _any_lock(postgres_uri, wait=5.0) as other:
            other.check()


# What only the lock behind a server does: it guesses who is dead.


def _silent(uri: str, lease: float) -> ExperimentLock:
    """An owner whose heart stops: it is suspended, say, or cut off."""
    owner = _experiment_lock(uri, lease=lease).__enter__()
    owner._stop.set()
    return owner


def test_a_silent_owner_is_replaced_and_notices(sqlite_uri: str) -> None:
    silent = _silent(sqlite_uri, lease=0.6)
    with _experiment_lock(sqlite_uri, lease=0.6) as heir:
        heir.check()
        with pytest.raises(LockLost, match=heir.owner):
            silent.check()
        silent.__exit__()  # neither frees the heir's lock ...
        heir.check()
        with pytest.raises(StageFailed):
            _experiment_lock(sqlite_uri, wait=0.3).__enter__()  # ... nor lets a third one in


def test_a_beating_owner_is_not_replaced_however_long_it_takes(sqlite_uri: str) -> None:
    with _experiment_lock(sqlite_uri, lease=0.6) as lock:
        with pytest.raises(StageFailed):
            _experiment_lock(sqlite_uri, lease=0.6, wait=1.5).__enter__()
        lock.check()


def test_an_experiment_deleted_by_a_person_takes_the_lock_away(sqlite_uri: str) -> None:
    client: Any = connect(TrackingSettings(uri=sqlite_uri))
    with _experiment_lock(sqlite_uri) as lock:
        (held,) = client.search_experiments(filter_string="name LIKE 'qure-lock/%'")
        assert "a lock of qure" in held.tags["mlflow.note.content"]
        client.delete_experiment(held.experiment_id)
        with pytest.raises(LockLost):
            lock.check()
        with _experiment_lock(sqlite_uri) as other:
            other.check()
            with pytest.raises(LockLost):
                lock.check()


def test_a_claim_on_a_number_of_the_past_is_refused(sqlite_uri: str) -> None:
    with _experiment_lock(sqlite_uri):
        pass
    with _experiment_lock(sqlite_uri) as owner:  # generation 2
        assert not _experiment_lock(sqlite_uri)._claim(1)
        assert not _experiment_lock(sqlite_uri)._claim(2)
        owner.check()


def test_a_claim_that_comes_too_late_leaves_nothing_behind(sqlite_uri: str) -> None:
    """It is made, and a later generation is there already."""
    client: Any = connect(TrackingSettings(uri=sqlite_uri))
    assert _experiment_lock(sqlite_uri)._claim(2)
    assert not _experiment_lock(sqlite_uri)._claim(1)
    held = client.search_experiments(filter_string="name LIKE 'qure-lock/%'")
    assert [one.name for one in held] == ["qure-lock/test-lock/2"]


def test_a_claim_whose_answer_got_lost_is_ones_own(sqlite_uri: str) -> None:
    lock = _experiment_lock(sqlite_uri)
    assert lock._claim(1)
    lock._held = None
    assert lock._claim(1), "the repeated request is refused, although the lock is ours"


@pytest.mark.integration
def test_on_a_server(mlflow_server: Callable[[], str]) -> None:
    uri = mlflow_server()
    assert isinstance(_any_lock(uri), ExperimentLock)
    owner = _holder(lambda: _any_lock(uri, lease=2.0))
    os.kill(owner.pid or 0, signal.SIGKILL)
    owner.join()
    with _any_lock(uri, lease=2.0, wait=60.0) as heir:
        heir.check()
    client = connect(TrackingSettings(uri=uri))
    assert [one.name for one in client.search_experiments()] == ["Default"]
    assert not client.search_registered_models()


# What all of them have in common.


class Busy(RegistryLock):
    """A lock that somebody holds for so many looks."""

    def __init__(self, looks: int, *, wait: float = 1000.0) -> None:
        super().__init__("busy", wait=wait)
        self.looks = looks
        self.released = 0

    def check(self) -> None:
        pass

    def _take(self) -> bool:
        self.looks -= 1
        return self.looks < 0

    def _release(self) -> None:
        self.released += 1
        raise ConnectionError("the line is cut")

    def _holder(self) -> str:
        return "anna@laptop"


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses that were made; they take no time, and the clock shows them."""
    pauses: list[float] = []
    monkeypatch.setattr(base.time, "sleep", pauses.append)
    monkeypatch.setattr(base.time, "monotonic", lambda: sum(pauses))
    return pauses


def test_it_is_looked_for_more_and_more_rarely(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), Busy(14) as lock:
        assert lock.released == 0
    assert clock == pytest.approx([min(0.05 * 1.5**number, 2.0) for number in range(14)])
    assert caplog.text.count("waiting for the lock busy, held by anna@laptop") == 1
    assert "the lock busy could not be released: the line is cut" in caplog.text, "which is no error of what was done"
    assert lock.released == 1


def test_waiting_ends_when_its_time_is_over_and_not_before(clock: list[float]) -> None:
    with pytest.raises(StageFailed, match="the lock 'busy' was not free within 10 s; 'anna@laptop' holds it"):
        Busy(1000, wait=10.0).__enter__()
    assert sum(clock) > 10 >= sum(clock[:-1])


def test_a_free_lock_is_taken_at_once_and_in_silence(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO"), Busy(0):
        assert "waiting" not in caplog.text
    assert clock == []


def test_owners_are_told_apart_and_named_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = Busy(0), Busy(0)
    assert one.owner != other.owner
    assert one.owner.startswith(f"{base.whoever()}, process {os.getpid()}, ")

    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found")

    monkeypatch.setattr(base.getpass, "getuser", nameless)
    assert base.whoever() == f"{os.getuid()}@{base.socket.gethostname()}"


def test_a_lock_file_is_named_after_database_and_lock(tmp_path: Path) -> None:
    with FileLock(tmp_path / "mlflow.db", "qure/test champion-1.x", wait=0.0) as lock:
        assert [one.name for one in tmp_path.iterdir()] == ["mlflow.db.qure_test_champion-1.x.lock"]
        assert lock.file.read_text() == lock.owner
        assert FileLock(tmp_path / "mlflow.db", "qure/test champion-1.x", wait=0.0)._holder() == lock.owner
    assert not lock.losable
    assert lock.file.exists(), "never removed: somebody may wait for it"


def _open_files() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_lock_file_that_cannot_be_opened_or_locked_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(StageFailed, match=r"mlflow\.db\.x\.lock cannot be opened: No such file"):
        FileLock(tmp_path / "gone" / "mlflow.db", "x", wait=0.0).__enter__()
    assert FileLock(tmp_path / "gone" / "mlflow.db", "x", wait=0.0)._holder() is None
    (tmp_path / "mlflow.db.y.lock").write_bytes(b"\xff")
    assert FileLock(tmp_path / "mlflow.db", "y", wait=0.0)._holder() is None
    (tmp_path / "mlflow.db.y.lock").write_bytes(b"")
    assert FileLock(tmp_path / "mlflow.db", "y", wait=0.0)._holder() is None
    opened = _open_files()

    def no_locks(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr("fcntl.flock", no_locks)
    with pytest.raises(StageFailed, match=r"mlflow\.db\.x\.lock cannot be locked: No locks available"):
        FileLock(tmp_path / "mlflow.db", "x", wait=0.0).__enter__()
    assert _open_files() == opened, "and nothing stays open"


def test_a_file_lock_that_is_taken_leaves_nothing_open_in_who_waits(tmp_path: Path) -> None:
    with FileLock(tmp_path / "mlflow.db", "x", wait=0.0):
        opened = _open_files()
        with pytest.raises(StageFailed):
            FileLock(tmp_path / "mlflow.db", "x", wait=0.0).__enter__()
        assert _open_files() == opened
    assert _open_files() == opened - 1


def test_a_lock_file_that_is_removed_before_it_is_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked, removed, before = fcntl.flock, [], _open_files()

    def removing(handle: int, how: int) -> None:
        if not removed:
            removed.append(tmp_path / "mlflow.db.x.lock")
            removed[0].unlink()
        locked(handle, how)

    monkeypatch.setattr(fcntl, "flock", removing)
    with FileLock(tmp_path / "mlflow.db", "x", wait=5.0) as lock:
        lock.check()
        assert lock.file.read_text() == lock.owner
        assert _open_files() == before + 1
    assert removed == [lock.file]


def test_behind_a_server_it_is_looked_for_several_times_within_a_lease(sqlite_uri: str) -> None:
    assert _experiment_lock(sqlite_uri, lease=5.0)._longest_pause() == 1.0
    assert _experiment_lock(sqlite_uri, lease=30.0)._longest_pause() == 2.0


def test_an_owner_is_dead_after_a_whole_lease_without_a_beat(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    now = [100.0]
    monkeypatch.setattr(experiments.time, "monotonic", lambda: now[0])
    nobody: Any = None
    lock = ExperimentLock(nobody, "x", lease=8.0, wait=0.0)

    def free(beat: str, number: int = 1, *, held: bool = True) -> bool:
        tags = {experiments.BEAT: beat, experiments.OWNER: "anna@laptop"}
        return lock._may_be_taken(experiments._Generation(number, "7", held, tags))

    assert lock._may_be_taken(None)
    assert free("0", held=False)
    assert not free("0"), "the first look tells nothing"
    for later, beat, taken in ((7.75, "0", False), (7.875, "1", False), (15.75, "1", False), (15.875, "1", True)):
        now[0] = 100.0 + later
        assert free(beat) is taken, later
    assert "anna@laptop held the lock x and has given no sign of life for 8 s" in caplog.text
    assert not free("1", number=2), "the next owner has a lease of its own"


def test_an_owner_that_was_replaced_takes_nothing_of_its_heirs_away(sqlite_uri: str) -> None:
    """Held experiments of the dead go with the next owner; whoever holds the lock is named, and nobody else is."""
    client: Any = connect(TrackingSettings(uri=sqlite_uri))
    silent = _silent(sqlite_uri, lease=0.4)
    assert _experiment_lock(sqlite_uri)._holder() == silent.owner
    with _experiment_lock(sqlite_uri, lease=0.4) as heir:
        held = client.search_experiments(filter_string="name LIKE 'qure-lock/%'")
        assert [one.name for one in held] == ["qure-lock/test-lock/2"]
        assert _experiment_lock(sqlite_uri)._holder() == heir.owner
    assert _experiment_lock(sqlite_uri)._holder() is None


def test_errors_of_the_server_are_no_lost_race(sqlite_uri: str) -> None:
    from mlflow.exceptions import MlflowException

    def broken(**_: Any) -> None:
        raise MlflowException("the disk is full")

    with pytest.raises(MlflowException, match="the disk is full"):
        experiments._tolerant(broken)
    assert experiments._tolerant(lambda: None)
    client: Any = connect(TrackingSettings(uri=sqlite_uri))
    assert experiments._tolerant(client.create_experiment, "one")
    assert not experiments._tolerant(client.create_experiment, "one"), "another was faster"
    assert not experiments._tolerant(client.delete_experiment, "12345")

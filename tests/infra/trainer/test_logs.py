"""Log streams: every line of every start of a container once, in order, also the last ones."""

import threading
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest

from infra.trainer import logs
from infra.trainer.api import ApiUnavailable, End, Worker
from infra.trainer.logs import LogStreams
from qure.errors import BadInput


class Pods:
    """Logs by (pod, previous): lines, or an exception in a line's place; `hold` keeps streams open until it is set."""

    def __init__(self, **lines: list[Any]) -> None:
        self.lines = lines
        self.asked: list[tuple[str, bool]] = []
        self.hold: threading.Event | None = None

    def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
        self.asked.append((pod, previous))
        source = self.lines[f"{pod}_before" if previous else pod]
        for line in list(source):
            if isinstance(line, Exception):
                source.remove(line)
                raise line
            yield line
        if self.hold is not None:
            self.hold.wait(20)


def streams(pods: Pods) -> tuple[LogStreams, list[str]]:
    lines: list[str] = []
    return LogStreams(pods, lines.append), lines  # type: ignore[arg-type]


def settle(stream: LogStreams) -> None:
    for thread in stream._threads.values():
        thread.join(20)


RUNNING = Worker("a", began=True, running=True)
ENDED = Worker("a", began=True)


def test_all_pods_arrive_once_and_in_order() -> None:
    stream, lines = streams(Pods(a=["1", "2"], b=["3"]))
    stream.drain([ENDED, Worker("b", began=True)])
    assert [line for line in lines if "[a]" in line] == ["[a] 1", "[a] 2"]
    assert [line for line in lines if "[b]" in line] == ["[b] 3"]


def test_a_pod_that_has_not_begun_has_no_log() -> None:
    pods = Pods()
    stream, _ = streams(pods)
    stream.drain([Worker("a")])
    assert pods.asked == []


def test_a_broken_stream_is_taken_up_without_repeating_lines() -> None:
    pods = Pods(a=["1", ApiUnavailable("broken"), "2", ApiUnavailable("broken"), "3"])
    stream, lines = streams(pods)
    for _ in range(3):
        stream.follow_all([RUNNING])
        settle(stream)
    assert lines == ["[a] 1", "[a] 2", "[a] 3"]


def test_a_stream_that_goes_on_is_not_followed_twice() -> None:
    pods = Pods(a=["1"])
    pods.hold = threading.Event()
    stream, lines = streams(pods)
    for _ in range(20):
        stream.follow_all([RUNNING])
    assert threading.active_count() < 20
    pods.hold.set()
    settle(stream)
    assert pods.asked == [("a", False)]
    assert lines == ["[a] 1"]


def test_a_pod_that_has_ended_is_read_once() -> None:
    pods = Pods(a=["1", "2"])
    stream, lines = streams(pods)
    for _ in range(5):
        stream.follow_all([ENDED])
        settle(stream)
    assert pods.asked == [("a", False)], "not once per look at the job"
    assert lines == ["[a] 1", "[a] 2"]


def test_a_restart_in_place_begins_a_new_log_of_which_no_line_is_swallowed() -> None:
    """Trainer restarts the container in its pod: the new log begins at line 1 again."""
    pods = Pods(a=["one", "two", "error: first"])
    stream, lines = streams(pods)
    stream.follow_all([RUNNING])
    settle(stream)
    pods.lines = {"a_before": ["one", "two", "error: first", "written last"], "a": ["one", "going on"]}
    again = Worker("a", 1, began=True, running=True)
    stream.follow_all([again])
    settle(stream)
    stream.drain([again])
    assert lines == [f"[a] {line}" for line in ("one", "two", "error: first", "written last", "one", "going on")]
    assert stream.error_of(End("a", 0, 1)) == "error: first"


def test_a_start_that_was_never_seen_running_is_told_after_the_fact() -> None:
    stream, lines = streams(Pods(a_before=["error: short"], a=["next"]))
    stream.drain([Worker("a", 1, began=True, running=True)])
    assert lines == ["[a] error: short", "[a] next"]


def test_the_log_before_a_restart_is_read_once() -> None:
    pods = Pods(a_before=["1"], a=["2", ApiUnavailable("broken"), "3"])
    stream, lines = streams(pods)
    for _ in range(2):
        stream.follow_all([Worker("a", 1, began=True, running=True)])
        settle(stream)
    assert pods.asked == [("a", True), ("a", False), ("a", False)]
    assert lines == ["[a] 1", "[a] 2", "[a] 3"]


def test_a_log_that_is_gone_is_said_and_the_next_one_read(caplog: pytest.LogCaptureFixture) -> None:
    stream, lines = streams(Pods(a_before=[BadInput("previous terminated container not found")], a=["next"]))
    stream.drain([Worker("a", 1, began=True)])
    assert lines == ["[a] next"]
    assert "previous terminated container" in caplog.text


def test_a_restart_while_the_last_lines_are_awaited_is_not_lost() -> None:
    """The stream of the start before is still open when the job is seen to have ended."""
    pods = Pods(a=["1"], a_before=["1"])
    pods.hold = threading.Event()
    stream, lines = streams(pods)
    stream.follow_all([RUNNING])
    threading.Timer(0.2, lambda: (pods.lines.update(a=["2"]), pods.hold.set())).start()
    stream.drain([Worker("a", 1, began=True)])
    assert lines == ["[a] 1", "[a] 2"]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("error: params.yaml: unknown key", True),
        ("RuntimeError: CUDA error: out of memory", True),
        ("torch.OutOfMemoryError: CUDA out of memory", True),
        ("KeyboardInterrupt", True),
        ("INFO qure: error rate 0.1", False),
        ("ErrorBars are drawn", False),
    ],
)
def test_the_first_line_that_names_an_error_is_kept(line: str, told: bool) -> None:
    stream, _ = streams(Pods(a=["INFO begin", line, "error: later"]))
    stream.drain([ENDED])
    assert stream.error_of(End("a", 0, 1)) == (line if told else "error: later")
    assert stream.error_of(End("b", 0, 143)) == (line if told else "error: later"), "where a pod has none, the other's"


def test_draining_ends_though_a_log_does_not() -> None:
    names = "abcdefgh"
    pods = Pods(**{name: ["1"] for name in names})
    pods.hold = threading.Event()
    stream, lines = streams(pods)
    begin = time.monotonic()
    stream.drain([Worker(name, began=True) for name in names], seconds=0.3)
    assert time.monotonic() - begin < 5, "all pods together, not each"
    pods.hold.set()
    assert sorted(lines) == [f"[{name}] 1" for name in names]


def test_draining_an_api_that_is_away_neither_ends_early_nor_spins() -> None:
    pods = Pods(a=[ApiUnavailable("away"), ApiUnavailable("away"), "1"])
    stream, lines = streams(pods)
    stream.drain([ENDED])
    assert lines == ["[a] 1"]
    assert len(pods.asked) == 3


def test_the_last_lines_are_awaited_for_ten_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a clock that only its own pauses move; the API stays away, and takes its time to say so."""
    pauses: list[float] = []

    class Away(Pods):
        def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
            self.asked.append((pod, previous))
            threading.Event().wait(0.001)
            assert len(self.asked) < 1000, "asked without a pause"
            raise ApiUnavailable("away")
            yield

    pods = Away()
    monkeypatch.setattr(logs, "time", SimpleNamespace(monotonic=lambda: sum(pauses), sleep=pauses.append))
    stream, _ = streams(pods)
    stream.drain([ENDED])
    assert set(pauses) == {0.2}
    assert 50 <= len(pauses) <= 51
    assert 50 <= len(pods.asked) <= 52


def test_pods_that_go_on_are_not_waited_for_with_one_that_has_ended() -> None:
    """A worker that refuses its input ends the job; the others' logs have no end yet."""
    pods, released = Pods(a=["1"], b=[]), threading.Event()

    class Endless(Pods):
        def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
            if pod == "b":
                released.wait(20)
            yield from pods.follow(pod, previous=previous)

    stream, lines = streams(Endless())
    stream.follow_all([RUNNING, Worker("b", began=True, running=True)])
    begin = time.monotonic()
    stream.drain([ENDED])
    assert time.monotonic() - begin < 5
    assert lines == ["[a] 1"]
    released.set()


def test_a_log_that_is_gone_is_not_asked_for_again() -> None:
    pods = Pods(a=[BadInput("pod not found")])
    stream, _ = streams(pods)
    for _ in range(2):
        stream.follow_all([RUNNING])
        settle(stream)
    assert pods.asked == [("a", False)]


def test_a_log_that_goes_on_keeps_no_process_from_ending() -> None:
    pods = Pods(a=["1"])
    pods.hold = threading.Event()
    stream, _ = streams(pods)
    stream.follow_all([RUNNING])
    assert [thread.daemon for thread in stream._threads.values()] == [True]
    pods.hold.set()
    settle(stream)


def test_nothing_is_handed_on_after_the_end() -> None:
    class Endless(Pods):
        def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
            while True:
                yield "line"
                time.sleep(0.005)

    stream, lines = streams(Endless())
    stream.drain([RUNNING], seconds=0.05)
    stream.close()
    time.sleep(0.05)
    count = len(lines)
    assert count > 0
    time.sleep(0.05)
    assert len(lines) == count

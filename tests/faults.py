"""Lets any call into the operating system fail, or be the last one: an act is watched by Python's own profiler.

What is counted are calls of the C functions of `os`, `fcntl` and files, wherever in the act they are made (pathlib and
shutil included), and `qure.files._try_to_exchange`, which calls the C library itself.
"""

import io
import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

#: Functions of `os` that do nothing to the outside.
_PURE = {"fspath", "getpid", "getuid", "getppid", "urandom", "strerror"}


class Watch:
    """Counts calls and does something right before one of them.

    Args:
        number: which, from 1; 0 for none.
        deed: what then; an exception that it raises is raised by the call, which is not made.
    """

    def __init__(self, number: int = 0, deed: Callable[[], None] = lambda: None) -> None:
        self._number, self._deed = number, deed
        self.calls: list[str] = []

    def __enter__(self) -> "Watch":
        sys.setprofile(self._look)
        return self

    def __exit__(self, *_: object) -> None:
        sys.setprofile(None)

    @property
    def reached(self) -> bool:
        """Whether there were so many calls."""
        return len(self.calls) >= self._number

    def _look(self, frame: FrameType, event: str, called: Any) -> None:
        if event == "call" and frame.f_code.co_name == "_try_to_exchange":
            name = "exchange"
        elif event == "c_call" and _reaches_out(called):
            name = called.__name__
        else:
            return
        self.calls.append(name)
        if len(self.calls) == self._number:
            self._deed()


def _reaches_out(called: Any) -> bool:
    module, owner = getattr(called, "__module__", None), getattr(called, "__self__", None)
    if module in ("posix", "fcntl"):
        return called.__name__ not in _PURE
    return called.__name__ == "open" or isinstance(owner, io.IOBase)


def raising(error: BaseException) -> Callable[[], None]:
    """A deed: the call fails with this."""

    def deed() -> None:
        raise error

    return deed


def killed_before(number: int, act: Callable[[], None]) -> bool:
    """Does an act in a copy of this process, which ends by kill -9 right before a call; False if it ends before."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            with Watch(number, lambda: os.kill(os.getpid(), signal.SIGKILL)):
                act()
            status = 0
        finally:
            os._exit(status)
    ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert ended in (0, -signal.SIGKILL), f"the act itself failed: {ended}"
    return ended != 0


def in_process(act: Callable[[], None]) -> int:
    """Begins an act in a copy of this process, whose number is returned; it ends with 0, or 1 when the act raises."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            act()
            status = 0
        finally:
            os._exit(status)
    return child


def ended(child: int) -> int:
    """Waits for a process of `in_process`: its exit code, negative for the signal that killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])

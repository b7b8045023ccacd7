"""Worker processes: they do what they are given, and end with their parent, also where that is killed."""

import os
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path

import psutil
import pytest

from qure.processes import worker_pool

STARTS = ("forkserver", "spawn")

PARENT = """
import multiprocessing, os, sys, time
from pathlib import Path
from qure.processes import worker_pool

if __name__ == "__main__":
    pool = worker_pool(2, multiprocessing.get_context(sys.argv[1]))
    working = [pool.submit(time.sleep, 600 if sys.argv[2] == "working" else 0.01) for _ in range(4)]
    while len(multiprocessing.active_children()) < 2:
        time.sleep(0.01)
    if sys.argv[2] == "waiting":
        for one in working:
            one.result()
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    sys.stdin.read()
"""


def _remember(name: str) -> None:
    os.environ["TOLD"] = name


@pytest.mark.parametrize("start", STARTS)
def test_a_process_is_told_what_it_needs_before_it_works(start: str) -> None:
    with worker_pool(1, get_context(start), _remember, ("dress",)) as pool:
        assert pool.submit(os.getenv, "TOLD").result() == "dress"


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("busy", ["working", "waiting"])
def test_processes_end_when_their_parent_is_killed(tmp_path: Path, start: str, busy: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    command = [sys.executable, str(script), start, busy]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        children = [psutil.Process(int(pid)) for pid in parent.stdout.readline().split()]
        assert len(children) == 2
        parent.kill()
    deadline = time.monotonic() + 30
    while (left := [one for one in children if _lives(one)]) and time.monotonic() < deadline:
        time.sleep(0.01)
    for one in left:
        one.kill()
    assert left == []


def _lives(process: psutil.Process) -> bool:
    """Not once it has ended, whenever its new parent, the machine's first process, takes note."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False

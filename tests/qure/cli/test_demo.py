"""`qure demo` as a person meets it: what it makes of what DVC says, and what it says itself."""

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest

from qure.cli import chain, demo
from qure.cli.chain import ABOUT, Chain, Follower
from qure.cli.demo import announcement, read_seconds
from qure.errors import StageFailed

REPOSITORY = Path(__file__).resolve().parents[3]

FIRST = """\
'data.dvc' didn't change, skipping
Stage 'validate@cirr' didn't change, skipping
Running stage 'train@cirr':
> qure train --training-set cirr
Updating lock file 'dvc.lock'

something that is new to us
Running stage 'promote@cirr':
> qure promote --training-set cirr
Updating lock file 'dvc.lock'

To track the changes with git, run:

\tgit add dvc.lock

To enable auto staging, run:

\tdvc config core.autostage true
Use `dvc push` to send your updates to remote storage.
"""


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """The demo's own lines."""
    caplog.set_level(logging.INFO, logger="qure")
    return caplog


def test_each_stage_is_named_before_it_runs(said: pytest.LogCaptureFixture, caplog: Any, capsys: Any) -> None:
    known = Chain(total=13)
    follower = Follower(known)
    for line in FIRST.splitlines():
        follower.hear(line)
    first, second = caplog.messages
    assert first.startswith(f"stage 2 of 13, train@cirr: {ABOUT['train']}")
    assert second.startswith(f"stage 3 of 13, promote@cirr: {ABOUT['promote']}")
    assert (known.ran, known.kept) == (["train@cirr", "promote@cirr"], ["validate@cirr"])
    assert capsys.readouterr().err == "something that is new to us\n"


def test_every_stage_has_its_words() -> None:
    import yaml

    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"]
    assert set(ABOUT) == set(stages)


def test_the_time_is_that_of_measured_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = read_seconds()
    assert all(least <= most for least, most in measured["whole"].values())
    minutes = [round(seconds / 60) for both in measured["whole"].values() for seconds in both]
    assert re.search(rf"{min(minutes)} (to {max(minutes)} )?min on {measured['cores']} idle cores", announcement())
    monkeypatch.setattr(
        "qure.cli.demo.read_seconds", lambda: {"cores": 2, "whole": {"one": [300.0, 375.0], "other": [268.0, 268.0]}}
    )
    assert "takes 4 to 6 min on 2 idle cores" in announcement()
    monkeypatch.setattr("qure.cli.demo.read_seconds", lambda: {"cores": 2, "whole": {"one": [250.0, 268.0]}})
    assert "takes about 4 min on 2 idle cores" in announcement()


#: Stands in for DVC: keeps what is in `kept`, fails at what is in `failing`, and notes what it was asked for.
DVC = """
import json, os, subprocess, sys, time
arguments = [one for one in sys.argv[1:] if not one.startswith("--")]
plan = json.load(open("plan.json"))
with open("asked.jsonl", "a") as stream:
    stream.write(json.dumps([arguments, os.environ.get("QURE_LOG_LABEL"), os.environ.get("OMP_NUM_THREADS")]) + "\\n")
if arguments[0] == "stage":
    print("\\n".join([*plan["stages"], "data.dvc"]))
elif arguments[0] == "status":
    sys.exit(0 if plan.get("current") else 1)
else:
    for target in arguments[1:] or plan["stages"][-1:]:
        if target in plan.get("kept", ()):
            print(f"Stage '{target}' didn't change, skipping")
            continue
        print(f"Running stage '{target}':", flush=True)
        print(f"12:00:00  {target} says something", file=sys.stderr)
        open(f"verbosity-{target}", "w").write(os.environ["QURE_VERBOSITY"])
        open(f"server-{target}", "w").write(os.environ["QURE_FORK_SERVER"])
        if target in plan.get("failing", ()):
            sys.exit(255)
        if target in plan.get("waiting", ()):
            wait = "import os, time; open('new', 'w').write(str(os.getpid())); os.rename('new', 'pid'); time.sleep(700)"
            subprocess.run([sys.executable, "-c", wait])
"""
STAGES = ["validate@cirr", "validate@fashioniq", "backbone", "train@cirr", "promote@cirr", "promote@fashioniq"]


@pytest.fixture
def dvc(project: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """A `python -m dvc` that follows a plan; two cores, whatever this machine has."""
    (project / "dvc.py").write_text(DVC)
    (project / "dvc.yaml").write_text("stages: {}")
    (project / "dvc.lock").write_text("")
    (project / "data").mkdir()
    (project / "data" / "something").write_text("")
    monkeypatch.setattr(demo, "results", lambda **_: print("the results"))
    monkeypatch.setattr(chain.os, "sched_getaffinity", lambda _: {0, 1})
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    return lambda **plan: (project / "plan.json").write_text(json.dumps({"stages": STAGES} | plan))


def _asked(project: Path) -> list[Any]:
    lines = [json.loads(line) for line in (project / "asked.jsonl").read_text().splitlines()]
    return [one for one in lines if one[0][0] == "repro"]


def test_training_sets_run_side_by_side_a_thread_each(
    dvc: Callable[..., None], qure: Callable[..., Any], project: Path, said: pytest.LogCaptureFixture
) -> None:
    dvc(kept=["validate@cirr"])
    ended = qure("demo", "--timings", "t.json")
    assert (ended.exit_code, ended.out) == (0, "the results\n")
    asked = _asked(project)
    assert sorted(asked[:2]) == [
        [["repro", "validate@cirr"], "cirr", "1"],
        [["repro", "validate@fashioniq"], "fashioniq", "1"],
    ]
    assert asked[2] == [["repro", "backbone"], None, "1"]
    assert sorted(asked[3:]) == [
        [["repro", "promote@fashioniq"], "fashioniq", "1"],
        [["repro", "train@cirr", "promote@cirr"], "cirr", "1"],
    ]
    assert "12:00:00  promote@cirr says something" in ended.err
    assert any(line.startswith("done: 5 of 6 stages ran") for line in said.messages)
    assert set(json.loads((project / "t.json").read_text())["seconds"]) == {"data", *STAGES} - {"validate@cirr"}


@pytest.mark.parametrize(("options", "expected"), [((), "0"), (("-q",), "-1"), (("-v",), "1")])
def test_stages_say_as_much_as_the_demo(
    dvc: Callable[..., None], qure: Callable[..., Any], project: Path, options: Sequence[str], expected: str
) -> None:
    dvc()
    before = logging.getLogger("qure").level
    try:
        assert qure(*options, "demo").exit_code == 0
    finally:
        logging.getLogger("qure").setLevel(before)
    assert {(project / f"verbosity-{stage}").read_text() for stage in STAGES} == {expected}


def test_all_stages_may_ask_one_server_which_ends_with_the_demo(
    dvc: Callable[..., None], qure: Callable[..., Any], project: Path
) -> None:
    dvc()
    assert qure("demo").exit_code == 0
    (address,) = {(project / f"server-{stage}").read_text() for stage in STAGES}
    assert address
    assert not Path(address).exists()
    assert not [one for one in psutil.Process().children() if "qure.forking" in one.cmdline()]


def test_a_stage_of_ones_own_is_not_forgotten(
    dvc: Callable[..., None], qure: Callable[..., Any], project: Path
) -> None:
    dvc(stages=[*STAGES, "mine"])
    assert qure("demo").exit_code == 0
    assert _asked(project)[-1][0] == ["repro"]


def test_on_one_core_one_after_the_other(
    dvc: Callable[..., None], qure: Callable[..., Any], project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(chain.os, "sched_getaffinity", lambda _: {0})
    dvc()
    assert qure("demo").exit_code == 0
    assert {(label, threads) for _, label, threads in _asked(project)} == {(None, None)}


def test_a_failed_stage_is_named_ends_red_and_lets_the_other_set_finish(
    dvc: Callable[..., None], qure: Callable[..., Any], project: Path
) -> None:
    dvc(failing=["promote@cirr"])
    ended = qure("demo")
    assert ended.exit_code == 1
    assert "stage 'promote@cirr' failed (exit 255)" in ended.err
    assert "the results" not in ended.out
    assert ["repro", "promote@fashioniq"] in [asked for asked, *_ in _asked(project)]


def test_nothing_goes_on_after_a_shared_stage_that_failed(
    dvc: Callable[..., None], qure: Callable[..., Any], project: Path
) -> None:
    dvc(failing=["backbone"])
    assert qure("demo").exit_code == 1
    assert [asked for asked, *_ in _asked(project)][2:] == [["repro", "backbone"]]


@pytest.mark.parametrize("waiting", ["backbone", "promote@fashioniq"])
def test_ended_by_a_signal_it_leaves_no_stage_running(dvc: Callable[..., None], project: Path, waiting: str) -> None:
    """In a process of its own, as a scheduler or `kill` ends it; alone, and beside another training set's stage."""
    dvc(waiting=[waiting])
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "qure.cli", "demo"]
    with subprocess.Popen(command, cwd=project, env=environment, stderr=subprocess.PIPE, text=True) as process:
        while not (project / "pid").exists():
            assert process.poll() is None, process.stderr and process.stderr.read()
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        _, told = process.communicate(timeout=60)
    assert process.returncode == 128 + signal.SIGTERM
    assert "Traceback" not in told
    assert _ends(int((project / "pid").read_text()))


def _ends(number: int) -> bool:
    """Whether a process ends within ten seconds; one that nobody waits for stays, as a zombie."""
    for _ in range(500):
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(number).status() != psutil.STATUS_ZOMBIE:
                time.sleep(0.02)
                continue
        return True
    return False


def test_a_second_run_says_that_nothing_had_to_be_done(
    dvc: Callable[..., None], qure: Callable[..., Any], project: Path, said: pytest.LogCaptureFixture
) -> None:
    dvc(current=True)
    ended = qure("demo", "--timings", "t.json")
    assert (ended.exit_code, ended.out) == (0, "the results\n")
    assert "nothing had to be done: all 6 stages are up to date" in said.messages
    assert not _asked(project)


def test_without_a_lock_file_dvc_is_not_asked_whether_all_is_done(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("it was asked"))
    assert not chain.up_to_date()


def test_stages_that_dvc_cannot_read_are_told_with_its_status(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 255, stdout=""))
    with pytest.raises(StageFailed, match=r"DVC cannot read dvc\.yaml \(exit 255\); its message stands above"):
        chain.list_stages()


def test_only_the_main_thread_says_what_signals_do() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def within() -> None:
        with chain.ended_together():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=within)
    thread.start()
    thread.join()
    assert seen == [before]
    with chain.ended_together():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before


def test_elsewhere_it_says_where_it_belongs(qure: Callable[..., Any], project: Path) -> None:
    ended = qure("demo")
    assert ended.exit_code == 2
    assert "there is no dvc.yaml in this folder" in ended.err

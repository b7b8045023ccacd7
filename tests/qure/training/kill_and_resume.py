"""Runs a training in processes that kill themselves with SIGKILL at given points, resumes each, and runs one whole.

Usage: kill_and_resume.py PLAN.json, where the plan holds `settings`, `root` (data, backbone, features), `output`, and
`points`: name -> [dotted name of a function, number of the call, "before" or "after"]. Each process is forked from
this one, which imports everything once and never computes, and logs what it draws to OUTPUT/NAME/draws.jsonl.
"""

import hashlib
import importlib
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

import qure.training.batches
import qure.training.mining
from qure.config import Settings
from qure.training.stage import train


def main(plan: dict[str, Any]) -> None:
    output = Path(plan["output"])
    outcome: dict[str, Any] = {"whole": in_a_process(run, plan, output / "whole")}
    for name, (target, call, when) in plan["points"].items():
        folder = output / name
        killed = in_a_process(run, plan, folder, (target, call, when))
        resumed = in_a_process(run, plan, folder)
        outcome[name] = [killed, resumed]
    (output / "outcome.json").write_text(json.dumps(outcome))


def in_a_process(function: Callable[..., None], *arguments: Any) -> int:
    """Exit code of a forked process that calls `function`; minus the signal that killed it."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            function(*arguments)
            code = 0
        finally:
            sys.stderr.flush()
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def run(plan: dict[str, Any], folder: Path, kill: tuple[str, int, str] | None = None) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    # Drawing takes most of the time of so short a training and decides nothing in it.
    for name in ("draw_sorted_scores", "draw_ranks"):
        setattr(qure.training.mining, name, lambda drawn, path, title="": path.write_text(title))
    log_draws(folder / "draws.jsonl")
    if kill is not None:
        kill_at(*kill)
    root = Path(plan["root"])
    train(
        Settings.model_validate(plan["settings"]),
        "fashioniq",
        data=root / "data",
        features=root / "features" / "fashioniq",
        backbone=root / "backbone",
        validation=None,
        output=folder / "artifacts",
        work=folder / "work",
        device="cpu",
    )


def log_draws(log: Path) -> None:
    drawing = qure.training.batches.draw

    def logged(*arguments: Any, **named: Any) -> Any:
        drawn = drawing(*arguments, **named)
        digest = hashlib.sha256(drawn.tobytes()).hexdigest()
        with log.open("a") as stream:
            stream.write(json.dumps([named["mining"], named["epoch"], digest]) + "\n")
        return drawn

    qure.training.batches.draw = logged


def kill_at(target: str, call: int, when: str) -> None:
    """Replaces a function by one whose given call, counted from 1, ends in SIGKILL."""
    module_name, _, name = target.rpartition(".")
    owner: Any
    try:
        owner = importlib.import_module(module_name)
    except ModuleNotFoundError:
        parent, _, class_name = module_name.rpartition(".")
        owner = getattr(importlib.import_module(parent), class_name)
    function = getattr(owner, name)
    calls = 0

    def killing(*arguments: Any, **named: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == call and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **named)
        if calls == call:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    setattr(owner, name, killing)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(json.loads(Path(sys.argv[1]).read_text()))

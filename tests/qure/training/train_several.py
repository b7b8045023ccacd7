"""Trains several settings one after the other, alone or under torchrun. Usage: train_several.py PLAN.json

The plan holds `root` (data, backbone, features), `output`, `runs`: name -> settings, and `kill`: null or a run's name
with the number of its optimizer step after which the process kills itself with SIGKILL.
"""

import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

import torch

import qure.training.loop
from qure.config import Settings
from qure.training.stage import train


def main(plan: dict[str, Any]) -> None:
    root, output = Path(plan["root"]), Path(plan["output"])
    for name, settings in plan["runs"].items():
        if plan["kill"] and plan["kill"][0] == name:
            kill_after(plan["kill"][1])
        result = train(
            Settings.model_validate(settings),
            "fashioniq",
            data=root / "data",
            features=root / "features" / "fashioniq",
            backbone=root / "backbone",
            validation=None,
            output=output / name / "artifacts",
            work=output / name / "work",
            device="cpu",
        )
        rank = os.environ.get("RANK", "0")
        (output / f"{name}.{rank}").write_text(result.fingerprint)


def kill_after(steps: int) -> None:
    stepping = qure.training.loop.optimizer_step
    taken = 0

    def counting(*arguments: Any) -> None:
        nonlocal taken
        stepping(*arguments)
        taken += 1
        if taken == steps:
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(qure.training.loop, "optimizer_step", counting)  # noqa: B010


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(json.loads(Path(sys.argv[1]).read_text()))

"""A training killed with SIGKILL anywhere and started again ends as if it had never been interrupted, bit for bit."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qure.files import folder_digest

pytestmark = pytest.mark.integration

#: 4 epochs of 6 steps, one mining (before epoch 2, 0-based), checkpoints after every 4 steps and after every epoch.
OVERRIDES = {"epochs": 4, "negatives": {"definitions": 2}, "temperature": "learned", "checkpoint_every_steps": 4}

LOOP, CHECKPOINT, MINING = "qure.training.loop", "qure.training.checkpoint", "qure.training.mining"

POINTS = {
    "before the first step": (f"{LOOP}.optimizer_step", 1, "before"),
    "mid-epoch, before a checkpoint": (f"{LOOP}.optimizer_step", 3, "after"),
    "mid-epoch, after a checkpoint": (f"{LOOP}.optimizer_step", 5, "after"),
    "between backward and step": (f"{LOOP}.optimizer_step", 9, "before"),
    "at an epoch's end, before its checkpoint": (f"{LOOP}.epoch_record", 2, "after"),
    "between two epochs": ("qure.training.state.RunState.next_epoch", 1, "after"),
    "during the corpus encoding": ("qure.training.encoding.TrainingEncoder.corpus", 1, "after"),
    "during mining, second category": (f"{MINING}.mine", 2, "before"),
    "while a mining is written": (f"{MINING}.draw_ranks", 1, "before"),
    "just after mining": (f"{LOOP}.mining_digest", 1, "after"),
    "first step after mining": (f"{LOOP}.optimizer_step", 13, "after"),
    "mid-epoch after mining and checkpoint": (f"{LOOP}.optimizer_step", 17, "after"),
    "checkpoint's tensors half written": (f"{CHECKPOINT}.save_file", 4, "before"),
    "checkpoint's tensors written, its state not": (f"{CHECKPOINT}.save_file", 4, "after"),
    "checkpoint written, latest not moved": (f"{CHECKPOINT}.Checkpoints._point_to", 4, "before"),
    "latest moved, old checkpoint still there": (f"{CHECKPOINT}.Checkpoints._point_to", 4, "after"),
    "last epoch's checkpoint written": (f"{CHECKPOINT}.Checkpoints._point_to", 8, "after"),
    "model written, history not": ("qure.training.outputs._write_minings", 1, "before"),
    "outputs written, checkpoints not removed": (f"{CHECKPOINT}.Checkpoints.remove", 1, "before"),
}


@pytest.fixture(scope="module")
def output(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a whole run and one killed and resumed run per point."""
    output = tmp_path_factory.mktemp("killed")
    plan = {
        "settings": world.settings(**OVERRIDES).model_dump(mode="json"),
        "root": str(world.root),
        "output": str(output),
        "points": POINTS,
    }
    (output / "plan.json").write_text(json.dumps(plan))
    script = Path(__file__).with_name("kill_and_resume.py")
    done = subprocess.run([sys.executable, str(script), str(output / "plan.json")], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]
    return output


@pytest.fixture(scope="module")
def outcome(output: Path) -> dict[str, Any]:
    """Exit codes by point."""
    codes: dict[str, Any] = json.loads((output / "outcome.json").read_text())
    assert codes["whole"] == 0
    return codes


@pytest.mark.parametrize("point", POINTS)
def test_resumed_run_equals_the_whole_run(point: str, output: Path, outcome: dict[str, Any]) -> None:
    assert outcome[point] == [-9, 0], "the first process must be killed, the second must finish"
    whole, resumed = output / "whole" / "artifacts", output / point / "artifacts"
    for file in ("training/steps.jsonl", "training/history.jsonl", "model/model.safetensors"):
        assert (resumed / file).read_bytes() == (whole / file).read_bytes(), f"{file} differs"
    assert folder_digest(resumed) == folder_digest(whole)
    assert draws(output / point).keys() == draws(output / "whole").keys()
    assert draws(output / point) == draws(output / "whole")


@pytest.mark.parametrize("point", POINTS)
def test_nothing_is_left_in_the_scratch_folder(point: str, output: Path, outcome: dict[str, Any]) -> None:
    assert outcome[point][1] == 0
    assert list((output / point / "work").iterdir()) == []


def test_the_run_is_long_enough_to_be_killed(output: Path, outcome: dict[str, Any]) -> None:
    steps = (output / "whole" / "artifacts" / "training" / "steps.jsonl").read_text().splitlines()
    assert len(steps) == 24
    assert len({json.loads(line)["loss"] for line in steps}) == 24
    assert sorted(draws(output / "whole")) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def draws(folder: Path) -> dict[tuple[int, int], str]:
    """Digest of what was drawn by (mining, epoch since); a repeated draw must be the same."""
    found: dict[tuple[int, int], str] = {}
    for line in (folder / "draws.jsonl").read_text().splitlines():
        mining, epoch, digest = json.loads(line)
        assert found.setdefault((mining, epoch), digest) == digest
    return found

"""Checkpoints survive kills and damage, and never go on under another identity."""

import hashlib
import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest
import torch

from qure.errors import BadInput
from qure.files import atomic_folder
from qure.training.checkpoint import (
    Checkpoint,
    Checkpoints,
    Identity,
    optimizer_tensors,
    other_runs,
    restore_optimizer,
)

IDENTITY = Identity(settings="s" * 64, inputs="i" * 64)


@pytest.fixture
def checkpoints(tmp_path: Path) -> Checkpoints:
    return Checkpoints(tmp_path, IDENTITY)


def save(checkpoints: Checkpoints, *steps: int) -> None:
    for step in steps:
        checkpoints.save(step, Checkpoint({"model/weight": torch.full((2, 3), float(step))}, {"step": step}))


def newest_step(checkpoints: Checkpoints) -> int:
    checkpoint = checkpoints.load()
    assert checkpoint is not None
    assert checkpoint.tensors["model/weight"].unique().tolist() == [checkpoint.state["step"]]
    return int(checkpoint.state["step"])


def test_comes_back_to_the_last_bit(checkpoints: Checkpoints) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = {
        "model/a": torch.randn(3, 2, generator=generator).T,
        "model/scalar": torch.tensor(0.1),
        "optimizer/a/step": torch.tensor(7.0),
        "losses": torch.randn(4, generator=generator, dtype=torch.float64),
    }
    checkpoints.save(3, Checkpoint(tensors, {"step": 3, "loss": 0.1 + 0.2}))
    loaded = checkpoints.load()
    assert loaded is not None
    assert loaded.state == {"step": 3, "loss": 0.1 + 0.2}
    assert loaded.tensors.keys() == tensors.keys()
    assert all(torch.equal(loaded.tensors[name], tensor) for name, tensor in tensors.items())


def test_the_last_two_stay(checkpoints: Checkpoints) -> None:
    save(checkpoints, 10, 20, 30)
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == [
        "latest.json",
        "step-000000020",
        "step-000000030",
    ]
    assert newest_step(checkpoints) == 30


def test_there_may_be_none(checkpoints: Checkpoints) -> None:
    assert checkpoints.load() is None


def test_a_checkpoint_that_latest_does_not_name_yet_is_not_used(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(checkpoints, 10)
    monkeypatch.setattr(Checkpoints, "_point_to", lambda self, path: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save(checkpoints, 20)
    assert newest_step(checkpoints) == 10


@pytest.mark.parametrize("file", ["state.json", "tensors.safetensors"])
@pytest.mark.parametrize("how", ["cut", "flipped", "missing"])
def test_damage_falls_back_to_the_one_before(
    checkpoints: Checkpoints, file: str, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(checkpoints, 10, 20)
    path = checkpoints.folder / "step-000000020" / file
    content = path.read_bytes()
    if how == "cut":
        path.write_bytes(content[: len(content) // 2])
    elif how == "flipped":
        path.write_bytes(content[:-3] + bytes([content[-3] ^ 1]) + content[-2:])
    else:
        path.unlink()
    if (file, how) == ("state.json", "flipped"):
        path.write_bytes(content.replace(b'"identity"', b'"identitu"'))
    assert newest_step(checkpoints) == 10
    assert "step-000000020 is damaged" in caplog.text


def test_nothing_whole_starts_again_aloud(checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture) -> None:
    save(checkpoints, 10)
    shutil.rmtree(checkpoints.folder / "step-000000010")
    assert checkpoints.load() is None
    assert "starts again" in caplog.text


def test_another_identity_is_refused_by_both_fingerprints(checkpoints: Checkpoints, tmp_path: Path) -> None:
    save(checkpoints, 10)
    other = Checkpoints(tmp_path, Identity(settings="t" * 64, inputs="i" * 64))
    shutil.copytree(checkpoints.folder, other.folder)
    with pytest.raises(BadInput, match=r"s{64}.*t{64}"):
        other.load()


def test_other_settings_have_their_own_folder(checkpoints: Checkpoints, tmp_path: Path) -> None:
    save(checkpoints, 10)
    identity = Identity(settings="t" * 64, inputs="i" * 64)
    other = Checkpoints(tmp_path, identity)
    assert other.load() is None
    assert other_runs(tmp_path, identity) == [checkpoints.folder.name]
    assert other_runs(tmp_path, IDENTITY) == []


def test_a_run_is_named_by_settings_and_inputs(tmp_path: Path) -> None:
    """The name finds a run that an older version has begun."""
    assert Checkpoints(tmp_path, IDENTITY).folder == tmp_path / "run-29cd46917c030476"
    identities = [IDENTITY, Identity("t" * 64, "i" * 64), Identity("s" * 64, "j" * 64), Identity("i" * 64, "s" * 64)]
    assert len({Checkpoints(tmp_path, one).folder for one in identities}) == 4


def test_only_runs_and_checkpoints_are_taken_for_them(checkpoints: Checkpoints, tmp_path: Path) -> None:
    save(checkpoints, 10)
    (tmp_path / "run-notes.txt").touch()
    (checkpoints.folder / "step-notes").mkdir()
    (checkpoints.folder / "step-0000000100").mkdir()
    save(checkpoints, 20, 30)
    assert newest_step(checkpoints) == 30
    assert (checkpoints.folder / "step-notes").is_dir()
    assert (checkpoints.folder / "step-0000000100").is_dir()
    assert other_runs(tmp_path, Identity("t" * 64, "i" * 64)) == [checkpoints.folder.name]


def test_a_run_is_removed_with_all_that_lies_in_it(checkpoints: Checkpoints, tmp_path: Path) -> None:
    save(checkpoints, 10)
    (checkpoints.folder / "minings").mkdir()
    for _ in range(2):  # also where another process was quicker
        checkpoints.remove()
        assert list(tmp_path.iterdir()) == []


def test_tensors_that_are_none_are_damage_whatever_their_digest(
    checkpoints: Checkpoints, caplog: pytest.LogCaptureFixture
) -> None:
    save(checkpoints, 10, 20)
    path = checkpoints.folder / "step-000000020"
    (path / "tensors.safetensors").write_bytes(b"no tensors")
    state = json.loads((path / "state.json").read_text())
    state["tensors"] = hashlib.sha256(b"no tensors").hexdigest()
    (path / "state.json").write_text(json.dumps(state))
    assert newest_step(checkpoints) == 10
    assert "step-000000020 is damaged (tensors.safetensors: " in caplog.text


@pytest.mark.usefixtures("no_bytecode")
def test_leftovers_of_a_killed_write_go(checkpoints: Checkpoints, helper: Callable[[str], ModuleType]) -> None:
    faults = helper("faults")
    save(checkpoints, 10)

    def killed() -> None:
        with atomic_folder(checkpoints.folder / "step-000000020") as half:
            (half / "tensors.safetensors").write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    assert faults.ended(faults.in_process(killed)) == -signal.SIGKILL
    assert len(list(checkpoints.folder.iterdir())) == 3
    assert newest_step(checkpoints) == 10
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["latest.json", "step-000000010"]


@pytest.mark.parametrize("restart", [5, 15, 100])
def test_a_run_whose_kept_ones_are_all_damaged_keeps_what_it_writes(checkpoints: Checkpoints, restart: int) -> None:
    save(checkpoints, 90, 100)
    for path in checkpoints.folder.glob("step-*"):
        (path / "state.json").write_text("{")
    assert checkpoints.load() is None
    save(checkpoints, restart)
    assert newest_step(checkpoints) == restart
    save(checkpoints, restart + 10)
    assert newest_step(checkpoints) == restart + 10
    (checkpoints.folder / f"step-{restart + 10:09d}" / "state.json").write_text("{")
    assert newest_step(checkpoints) == restart
    save(checkpoints, restart + 10)
    names = [f"step-{step:09d}" for step in (restart, restart + 10)]
    assert sorted(path.name for path in checkpoints.folder.glob("step-*")) == names


def test_optimizer_state_comes_back_exactly() -> None:
    def trained(steps: int) -> tuple[torch.nn.Linear, torch.optim.AdamW]:
        torch.manual_seed(0)
        layer = torch.nn.Linear(4, 2)
        optimizer = torch.optim.AdamW(layer.parameters(), lr=0.1, weight_decay=0.05)
        step(layer, optimizer, steps)
        return layer, optimizer

    def step(layer: torch.nn.Linear, optimizer: torch.optim.AdamW, steps: int) -> None:
        for _ in range(steps):
            optimizer.zero_grad()
            layer(torch.ones(3, 4)).square().sum().backward()
            optimizer.step()

    names = ["weight", "bias"]
    whole, _ = trained(5)
    part, optimizer = trained(3)
    tensors = optimizer_tensors(optimizer, names)
    assert sorted(tensors) == sorted(
        f"optimizer/{name}/{field}" for name in names for field in ("step", "exp_avg", "exp_avg_sq")
    )
    fresh = torch.optim.AdamW(part.parameters(), lr=0.1, weight_decay=0.05)
    restore_optimizer(fresh, names, {name: tensor.clone() for name, tensor in tensors.items()})
    step(part, fresh, 2)
    assert torch.equal(part.weight, whole.weight)
    assert torch.equal(part.bias, whole.bias)

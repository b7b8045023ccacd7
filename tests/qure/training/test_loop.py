"""The loop: recorded loss sequences, also when interrupted; early stop; findings; the options do what they say."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import qure.training.loop
from qure.errors import BadInput, StageFailed
from qure.training.optimisation import LOWEST_TEMPERATURE

#: 4 epochs, one mining before epoch 2 (0-based). The published objective, and the catalogue recipe's with sharing.
RUNS: dict[str, dict[str, Any]] = {
    "published": {
        "epochs": 4,
        "batch_size": 16,
        "temperature": "learned",
        "temperature_value": 0.07,
        "negatives": {"definitions": 2, "search_window": None, "shared_negatives": False},
    },
    "shared": {
        "epochs": 4,
        "batch_size": 16,
        "several_negatives": "softmax",
        "temperature": "fixed",
        "temperature_value": 0.05,
        "negatives": {"definitions": 2, "negatives_per_query": 2, "shared_negatives": True},
    },
}

#: Recorded with torch 2.13.0 on a CPU, one thread.
LOSSES = {
    "published": [
        *(0.719010, 0.756502, 0.731605, 0.895204, 0.686987, 0.666673),
        *(0.602239, 0.590024, 0.567198, 0.665440, 0.563207, 0.552755),
    ],
    "shared": [
        *(2.686586, 2.829370, 2.753573, 2.708713, 2.715178, 2.680708),
        *(1.580728, 1.376952, 1.361110, 1.335991, 1.363565, 1.564204),
    ],
}

needs_recorded_torch = pytest.mark.skipif(
    not torch.__version__.startswith("2.13.0"), reason="losses were recorded with torch 2.13.0"
)


@needs_recorded_torch
@pytest.mark.parametrize("name", RUNS)
@pytest.mark.parametrize("interrupted_after", [None, 7])
def test_losses_are_the_recorded_ones(
    name: str, interrupted_after: int | None, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if interrupted_after is not None:
        interrupt_after(interrupted_after, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            world.train(tmp_path, **RUNS[name])
        monkeypatch.undo()
    world.train(tmp_path, **RUNS[name])
    assert losses(tmp_path) == pytest.approx(LOSSES[name], abs=1e-5)


def test_the_callers_random_state_is_left_alone(world: Any, tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    world.train(tmp_path, epochs=1)
    assert torch.equal(torch.rand(3), expected)
    assert not torch.are_deterministic_algorithms_enabled()


def test_seeds_differ_in_order_draws_and_dropout(world: Any, tmp_path: Path) -> None:
    for seed in (0, 1):
        world.train(tmp_path / str(seed), epochs=1, seed=seed)
    assert losses(tmp_path / "0") != losses(tmp_path / "1")


def test_accumulation_only_saves_memory(world: Any, tmp_path: Path) -> None:
    # Without dropout and sharing a batch in parts is the same batch. The tiny model has dropout: parts drop anew.
    backbone = without_dropout(world, tmp_path)
    for parts in (1, 3):
        plain = {"epochs": 1, "accumulation_steps": parts, "negatives": {"shared_negatives": False}}
        backbone.train(tmp_path / str(parts), **plain)
    assert losses(tmp_path / "1") == pytest.approx(losses(tmp_path / "3"), rel=1e-5)


def test_early_stop_keeps_the_best_epoch(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    measured = iter([0.2, 0.5, 0.4, 0.5, 0.3])
    weights: list[torch.Tensor] = []

    def recall(encoder: Any, data: Any) -> float:
        assert len(data) == 6, "15 triplets a category: 2 of each are held out"
        weights.append(encoder._model.query_tokens.detach().clone())
        return next(measured)

    # The real recall moves too little in so short a run; test_encoding.py checks it.
    monkeypatch.setattr(qure.training.loop, "recall", recall)
    caplog.set_level(logging.INFO, "qure")
    result = world.train(tmp_path, epochs=6, loss="contrastive", held_out_share=0.15, early_stop_patience=3)
    assert (result.epochs, result.selected_epoch) == (5, 1)
    assert "early stop" in caplog.text
    kept = load_file(result.model / "model.safetensors")["query_tokens"]
    assert torch.equal(kept, weights[1])
    assert not torch.equal(kept, weights[-1])
    summary = json.loads((result.training / "summary.json").read_text())
    assert (summary["stopped_early"], summary["held_out"], summary["triplets"]) == (True, 6, 39)


def test_best_weights_survive_an_interruption(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    changes = {"epochs": 3, "loss": "contrastive", "held_out_share": 0.15}
    whole = world.train(tmp_path / "whole", **changes)
    interrupt_after(13, monkeypatch)
    with pytest.raises(KeyboardInterrupt):
        world.train(tmp_path / "cut", **changes)
    monkeypatch.undo()
    resumed = world.train(tmp_path / "cut", **changes)
    assert resumed.fingerprint == whole.fingerprint
    assert [json.loads(line)["held_out_recall_at_10"] for line in history(whole)] == [
        json.loads(line)["held_out_recall_at_10"] for line in history(resumed)
    ]


def test_stopped_learning_is_said_loudly(world: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    result = world.train(
        tmp_path,
        epochs=2,
        learning_rate=1e-5,
        temperature="learned",
        temperature_value=0.0095,
        negatives={"shared_negatives": False},
    )
    summary = json.loads((result.training / "summary.json").read_text())
    assert LOWEST_TEMPERATURE < summary["temperature"] < 0.01
    assert any("temperature has fallen" in finding for finding in summary["findings"])
    warnings = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert set(summary["findings"]) <= set(warnings)
    assert result.findings == tuple(summary["findings"])


def test_a_fixed_temperature_stays(world: Any, tmp_path: Path) -> None:
    result = world.train(tmp_path, epochs=1, temperature="fixed", temperature_value=0.03)
    assert result.temperature == pytest.approx(0.03)
    assert load_file(result.model / "model.safetensors")["temperature"].item() == pytest.approx(0.03)


def test_a_loss_that_is_not_finite_stops_the_run(world: Any, tmp_path: Path) -> None:
    with pytest.raises(StageFailed, match=r"not finite near step \d+.*learning_rate"):
        world.train(tmp_path, epochs=3, learning_rate=1e30)
    assert not (tmp_path / "artifacts").exists()


def test_fp16_needs_a_gpu(world: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="fp16"):
        world.train(tmp_path, precision="fp16")


def interrupt_after(steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after so many optimizer steps."""
    stepping = qure.training.loop.optimizer_step
    taken = 0

    def counting(*arguments: Any) -> None:
        nonlocal taken
        stepping(*arguments)
        taken += 1
        if taken == steps:
            raise KeyboardInterrupt

    monkeypatch.setattr(qure.training.loop, "optimizer_step", counting)


def without_dropout(world: Any, folder: Path) -> Any:
    """The same world with a backbone that has no dropout."""
    from qure.models.model import QureModel

    root = folder / "world"
    root.mkdir()
    for name in ("data", "features"):
        (root / name).symlink_to(world.root / name)
    model = QureModel.load(world.root / "backbone")
    qformer = model.config.qformer.model_copy(update={"dropout": 0.0})
    plain = QureModel(model.config.model_copy(update={"qformer": qformer}), model.tokenizer)
    plain.load_state_dict(model.state_dict())
    plain.save(root / "backbone")
    return type(world)(root)


def history(result: Any) -> list[str]:
    """Lines of the history."""
    return (result.training / "history.jsonl").read_text().splitlines()


def losses(folder: Path) -> list[float]:
    """Loss of every step."""
    lines = (folder / "artifacts" / "training" / "steps.jsonl").read_text().splitlines()
    return [json.loads(line)["loss"] for line in lines]

"""The loop: recorded loss sequences, also when interrupted; early stop; findings; the options do what they say."""

import contextlib
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import qure.training.loop
import qure.training.stage
from qure.datasets.benchmarks import read_training
from qure.errors import BadInput, StageFailed
from qure.features.store import FeatureStore
from qure.models.model import QureModel
from qure.training.batches import epoch_negatives
from qure.training.checkpoint import Checkpoints
from qure.training.data import training_data
from qure.training.loop import step_seed
from qure.training.mining import warm_up
from qure.training.optimisation import LOWEST_TEMPERATURE, prepare_temperature
from qure.training.order import epoch_batches
from qure.training.speed import Speed

_COMMON: dict[str, Any] = {"epochs": 4, "batch_size": 16}

#: 4 epochs of 3 batches, one mining before epoch 2 (0-based): the published objective, the catalogue recipe's sharing,
#: and each of the ways in which a run differs from them.
RUNS: dict[str, dict[str, Any]] = {
    "published": {
        **_COMMON,
        "temperature": "learned",
        "temperature_value": 0.07,
        "negatives": {"definitions": 2, "search_window": None, "shared_negatives": False},
    },
    "shared, softmax": {
        **_COMMON,
        "several_negatives": "softmax",
        "temperature": "fixed",
        "temperature_value": 0.05,
        "negatives": {"definitions": 2, "negatives_per_query": 2, "shared_negatives": True},
    },
    "shared, mean": {
        **_COMMON,
        "several_negatives": "mean",
        "temperature": "fixed",
        "temperature_value": 0.05,
        "negatives": {"definitions": 2, "shared_negatives": True},
    },
    "several own, in parts": {
        **_COMMON,
        "accumulation_steps": 2,
        "several_negatives": "softmax",
        "temperature": "fixed",
        "temperature_value": 0.05,
        "negatives": {"definitions": 2, "negatives_per_query": 3, "shared_negatives": False},
    },
    "contrastive": {**_COMMON, "loss": "contrastive", "temperature": "fixed", "temperature_value": 0.05},
}

#: Without dropout the same seeds lead elsewhere.
WITHOUT_DROPOUT = ("published", "shared, softmax")

#: Recorded with torch 2.13.0 on a CPU, one thread; the first of each is also computed anew.
LOSSES: dict[str, list[float]] = {
    "published": [
        *(1.690796, 1.582400, 0.701494, 0.777135, 0.695644, 0.788412),
        *(0.877116, 0.762215, 0.705721, 0.957863, 0.642553, 0.749993),
    ],
    "shared, softmax": [
        *(5.762959, 3.288025, 3.789000, 3.790083, 3.040438, 2.819673),
        *(1.599457, 1.753809, 1.395197, 1.707682, 1.471990, 1.438376),
    ],
    "shared, mean": [
        *(1.450206, 1.011650, 1.572736, 0.834339, 1.041600, 0.949034),
        *(0.974694, 0.826028, 0.544726, 0.746968, 0.673597, 0.671425),
    ],
    "several own, in parts": [
        *(3.145691, 2.386499, 1.833193, 1.833749, 1.774553, 1.532872),
        *(1.536225, 1.382269, 1.447648, 1.369732, 1.285132, 1.480768),
    ],
    "contrastive": [
        *(6.899068, 3.456405, 4.173988, 2.980137, 3.037866, 2.891413),
        *(3.325439, 3.358303, 2.839541, 2.917380, 3.008349, 3.065143),
    ],
    "published, without dropout": [
        *(0.719010, 0.756500, 0.731605, 0.895207, 0.686985, 0.666674),
        *(0.602239, 0.590023, 0.567198, 0.665440, 0.563207, 0.552755),
    ],
    "shared, softmax, without dropout": [
        *(2.686586, 2.829370, 2.753574, 2.708713, 2.715178, 2.680708),
        *(1.580728, 1.376952, 1.361110, 1.335992, 1.363565, 1.564203),
    ],
}

#: Of the first epoch's steps: pairs that the target wins in all pairs.
PAIR_ACCURACIES: dict[str, list[float]] = {
    "published": [3 / 16, 3 / 16, 8 / 13],
    "shared, softmax": [17 / 35, 53 / 105, 53 / 105],
    "shared, mean": [47 / 105, 1 / 2, 83 / 210],
    "several own, in parts": [5 / 12, 25 / 48, 14 / 39],
    "contrastive": [33 / 70, 103 / 210, 13 / 35],
}

needs_recorded_torch = pytest.mark.skipif(
    not torch.__version__.startswith("2.13.0"), reason="losses were recorded with torch 2.13.0"
)


@pytest.fixture(scope="module")
def plain(world: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The world whose backbone has no dropout."""
    return world.without_dropout(tmp_path_factory.mktemp("without dropout"))


@needs_recorded_torch
@pytest.mark.parametrize("interrupted_after", [None, 7])
@pytest.mark.parametrize("name", RUNS)
def test_losses_are_the_recorded_ones(
    name: str, interrupted_after: int | None, world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if interrupted_after is not None:
        interrupt_after(interrupted_after, monkeypatch)
        with pytest.raises(KeyboardInterrupt):
            world.train(tmp_path, plots=False, **RUNS[name])
        monkeypatch.undo()
    taken = counted_steps(monkeypatch)
    world.train(tmp_path, plots=False, **RUNS[name])
    assert len(taken) == (12 if interrupted_after is None else 6), "it goes on from the end of the second epoch"
    assert losses(tmp_path) == pytest.approx(LOSSES[name], abs=1e-5)
    assert pair_accuracies(tmp_path)[:3] == pytest.approx(PAIR_ACCURACIES[name], abs=1e-6)


@needs_recorded_torch
@pytest.mark.parametrize("name", RUNS)
def test_first_losses_are_the_plain_definition(name: str, world: Any, plain_step: Callable[..., Any]) -> None:
    """Whatever was recorded, was it right? One step by plain loops, dropout and all."""
    settings = world.settings(**RUNS[name]).training_for("fashioniq")
    model = QureModel.load(world.root / "backbone", vision=False).train()
    store = FeatureStore.open(world.root / "features" / "fashioniq")
    triplets, corpora = read_training("fashioniq", world.root / "data")
    assert model.tokenizer is not None
    data = training_data(triplets, corpora, store, model.tokenizer)
    sets = None if settings.loss == "contrastive" else warm_up(data).sets
    negatives = epoch_negatives(sets, settings, 0, len(data))
    prepare_temperature(model, settings)
    first = epoch_batches(
        data.categories, batch_size=16, seed=settings.seed, epoch=0, one_category=settings.one_category_batches
    )[0]
    parts = np.array_split(first, settings.accumulation_steps)
    done = [
        plain_step(model, data, store, negatives, settings, part.tolist(), seed=step_seed(settings.seed, 0, number))
        for number, part in enumerate(parts)
    ]
    assert np.mean([loss for one in done for loss in one.losses]) == pytest.approx(LOSSES[name][0], abs=1e-5)
    accuracy = sum(one.won for one in done) / sum(one.pairs for one in done)
    assert accuracy == pytest.approx(PAIR_ACCURACIES[name][0])


@needs_recorded_torch
@pytest.mark.parametrize("name", WITHOUT_DROPOUT)
def test_losses_without_dropout_are_the_recorded_ones(name: str, plain: Any, tmp_path: Path) -> None:
    plain.train(tmp_path, plots=False, **RUNS[name])
    assert losses(tmp_path) == pytest.approx(LOSSES[f"{name}, without dropout"], abs=1e-5)


class Watched:
    """What a run tells whoever watches it, in order."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.epochs: list[tuple[int, int]] = []
        self.images: list[int] = []
        self.windows: list[int] = []
        self.saved: list[int] = []
        self.bars: list[tuple[str, int, int]] = []
        self.notes: list[str] = []
        self.deterministic: set[bool] = set()
        self._follow_speed(monkeypatch)
        self._follow_progress(monkeypatch)
        counting, saving = qure.training.loop.Trainer._count, Checkpoints.save
        monkeypatch.setattr(
            qure.training.loop.Trainer,
            "_count",
            lambda trainer, window: (self.windows.append(len(window)), counting(trainer, window)),
        )
        monkeypatch.setattr(
            Checkpoints, "save", lambda own, step, point: (self.saved.append(step), saving(own, step, point))
        )

    def _follow_speed(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told = self

        class Followed(Speed):
            def __init__(self, steps: int, later_steps: int) -> None:
                super().__init__(steps, later_steps)
                told.epochs.append((steps, later_steps))

            def step(self, images: int) -> None:
                super().step(images)
                told.images.append(images)
                told.deterministic.add(torch.are_deterministic_algorithms_enabled())

        monkeypatch.setattr(qure.training.loop, "Speed", Followed)

    def _follow_progress(self, monkeypatch: pytest.MonkeyPatch) -> None:
        told = self

        class Bar:
            def add_task(self, title: str, *, total: int, completed: int, note: str) -> str:
                told.bars.append((title, total, completed))
                return title

            def update(self, task: str, *, advance: int, note: str) -> None:
                told.notes += [f"{task}: {note}"] * advance

        monkeypatch.setattr(qure.training.loop, "progress_bar", lambda: contextlib.nullcontext(Bar()))


def test_who_watches_is_told_of_every_step_and_epoch(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """45 triplets in three batches; an image each for reference and target, and three for negatives."""
    told, observed = Watched(monkeypatch), list[tuple[Any, ...]]()
    for name in ("epoch_done", "mined", "found"):
        monkeypatch.setattr(
            qure.training.stage.RunObserver, name, lambda _, *of, name=name: observed.append((name, *of))
        )
    monkeypatch.setattr(qure.training.loop, "WINDOW", 2)
    monkeypatch.setattr(qure.training.loop, "mining_findings", lambda statistics: ["H is large"])
    caplog.set_level(logging.INFO, "qure")
    world.train(tmp_path, plots=False, **RUNS["several own, in parts"] | {"epochs": 3})
    assert told.epochs == [(3, 6), (3, 3), (3, 0)]
    assert told.images == [80, 80, 65] * 3
    assert told.windows == [2, 1] * 3
    assert told.saved == [3, 6, 9]
    assert told.bars == [(f"epoch {number}/3", 3, 0) for number in (1, 2, 3)]
    assert [note.split(",")[0].rpartition(" ")[0] for note in told.notes] == [
        f"epoch {number}/3: loss" for number in (1, 1, 1, 2, 2, 2, 3, 3, 3)
    ]
    assert told.deterministic == {True}
    assert [(name, *of[:1]) for name, *of in observed if name != "epoch_done"] == [
        *(("mined", 1), ("found", 1)),
        *(("mined", 2), ("found", 2)),
    ]
    records = [of[0] for name, *of in observed if name == "epoch_done"]
    assert [record["epoch"] for record in records] == [0, 1, 2]
    assert all(of[1]["images_per_second"] > 0 for name, *of in observed if name == "epoch_done")
    for number, record in enumerate(records, start=1):
        assert any(
            line.startswith(f"epoch {number} of 3: ") and f"{record['loss']:.4f}" in line for line in caplog.messages
        )
    assert ("found", 1, "negatives", "H is large") in observed
    assert "epoch 2: H is large" in caplog.messages
    summary = json.loads((tmp_path / "artifacts" / "training" / "summary.json").read_text())
    assert "epoch 2: H is large" in summary["findings"]


@needs_recorded_torch
def test_it_goes_on_within_an_epoch(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Three batches an epoch and a checkpoint every two steps: stopped in the ninth, after the mining of its epoch."""
    changes = RUNS["published"] | {"checkpoint_every_steps": 2}
    with monkeypatch.context() as patch:
        told = Watched(patch)
        interrupt_after(9, patch)
        with pytest.raises(KeyboardInterrupt):
            world.train(tmp_path, plots=False, **changes)
        assert told.saved == [2, 3, 4, 6, 8]
        assert told.windows == [2, 1, 1, 2, 2]
    caplog.set_level(logging.INFO, "qure")
    told = Watched(monkeypatch)
    world.train(tmp_path, plots=False, **changes)
    assert "going on at epoch 3, step 8" in caplog.messages
    assert told.epochs == [(1, 3), (3, 0)]
    assert told.bars == [("epoch 3/4", 3, 2), ("epoch 4/4", 3, 0)]
    assert told.saved == [9, 10, 12]
    assert losses(tmp_path) == pytest.approx(LOSSES["published"], abs=1e-5)


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


def test_accumulation_only_saves_memory(plain: Any, tmp_path: Path) -> None:
    # Without dropout and sharing a batch in parts is the same batch. The tiny model has dropout: parts drop anew.
    for parts in (1, 3):
        changes = {"epochs": 1, "accumulation_steps": parts, "negatives": {"shared_negatives": False}}
        plain.train(tmp_path / str(parts), **changes)
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


def counted_steps(monkeypatch: pytest.MonkeyPatch) -> list[None]:
    """Grows by one with every optimizer step."""
    stepping, taken = qure.training.loop.optimizer_step, list[None]()

    def counting(*arguments: Any) -> None:
        stepping(*arguments)
        taken.append(None)

    monkeypatch.setattr(qure.training.loop, "optimizer_step", counting)
    return taken


def interrupt_after(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C after so many optimizer steps."""
    stepping = qure.training.loop.optimizer_step
    taken = 0

    def counting(*arguments: Any) -> None:
        nonlocal taken
        stepping(*arguments)
        taken += 1
        if taken == number:
            raise KeyboardInterrupt

    monkeypatch.setattr(qure.training.loop, "optimizer_step", counting)


def history(result: Any) -> list[str]:
    """Lines of the history."""
    return (result.training / "history.jsonl").read_text().splitlines()


def losses(folder: Path) -> list[float]:
    """Loss of every step."""
    return [step["loss"] for step in steps(folder)]


def pair_accuracies(folder: Path) -> list[float]:
    """Share of the pairs that the target won, of every step."""
    return [step["pair_accuracy"] for step in steps(folder)]


def steps(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "artifacts" / "training" / "steps.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]

"""What a training knows: counted by hand, and the same after its way through a checkpoint."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
import torch

from qure.training.checkpoint import Checkpoint
from qure.training.state import Learner, RunState


def test_steps_add_up_over_their_rows() -> None:
    state = RunState()
    assert (state.epoch, state.batch, state.step, state.triplets, state.stopped) == (0, 0, 0, 0, False)
    assert (state.loss, state.pair_accuracy) == (0.0, 1.0), "before the first step"
    state.add_step(4, (2.0, 3.0, 8.0))
    state.add_step(1, (3.0, 1.0, 2.0))
    assert (state.losses, state.accuracies) == ([0.5, 3.0], [0.375, 0.5])
    assert (state.triplets, state.sums) == (5, [5.0, 4.0, 10.0])
    assert (state.loss, state.pair_accuracy) == (1.0, 0.4), "of rows and of pairs, not the mean over steps"
    state.add_step(1, (1.0, 0.0, 0.0))
    assert state.accuracies[-1] == 1.0, "where nothing is compared nothing is lost"


def test_an_epoch_begins_with_nothing_and_the_record_goes_on() -> None:
    state = RunState(epoch=2, batch=7, step=30, best={"epoch": 1, "recall": 0.5})
    state.add_step(4, (2.0, 3.0, 8.0))
    state.next_epoch()
    assert (state.epoch, state.batch, state.step, state.triplets, state.sums) == (3, 0, 30, 0, [0.0, 0.0, 0.0])
    assert (state.losses, state.best) == ([0.5], {"epoch": 1, "recall": 0.5})


class Tiny(torch.nn.Linear):
    """Two parameters that are trained, and one that is not."""

    def __init__(self) -> None:
        super().__init__(3, 2)
        self.frozen = torch.nn.Parameter(torch.ones(1), requires_grad=False)

    def named_trainable_parameters(self) -> Iterator[tuple[str, torch.nn.Parameter]]:
        return ((name, one) for name, one in self.named_parameters() if one.requires_grad)


def made(seed: int) -> Any:
    torch.manual_seed(seed)
    model: Any = Tiny()
    optimizer = torch.optim.AdamW([one for _, one in model.named_trainable_parameters()], lr=0.1)
    return Learner(model, optimizer, torch.amp.GradScaler("cpu", enabled=True, init_scale=8.0, growth_interval=2))


def trained(learner: Any, steps: int) -> None:
    for _ in range(steps):
        learner.optimizer.zero_grad()
        loss = learner.model(torch.ones(4, 3)).square().sum()
        learner.scaler.scale(loss).backward()
        learner.scaler.step(learner.optimizer)
        learner.scaler.update()
        learner.state.add_step(4, (loss.item(), 1.0, 3.0))
        learner.state.step += 1


@pytest.mark.parametrize("best", [False, True])
def test_a_learner_that_was_restored_goes_on_as_the_one_it_was(best: bool) -> None:
    learner = made(0)
    trained(learner, 3)
    if best:
        learner.best = learner.weights()
        learner.state.best = {"epoch": 0, "recall": 0.25}
    kept = learner.checkpoint()
    assert not any("frozen" in name for name in kept.tensors)
    state = json.loads(json.dumps(kept.state))
    copied = Checkpoint({name: one.clone() for name, one in kept.tensors.items()}, state)
    other = made(1)
    other.restore(copied)
    assert asdict(other.state) == asdict(learner.state)
    assert other.best.keys() == learner.best.keys()
    assert all(torch.equal(other.best[name], learner.best[name]) for name in learner.best)
    assert other.scaler.get_scale() == learner.scaler.get_scale() == 16.0
    for one in (learner, other):
        trained(one, 2)
    assert other.state.losses == learner.state.losses
    assert all(torch.equal(other.weights()[name], one) for name, one in learner.weights().items())


def test_weights_that_were_taken_do_not_change_with_the_model() -> None:
    learner = made(0)
    before = learner.weights()
    assert list(before) == ["weight", "bias"]
    copy = {name: one.clone() for name, one in before.items()}
    trained(learner, 1)
    assert all(torch.equal(before[name], copy[name]) for name in copy)
    assert not torch.equal(learner.model.weight, before["weight"])
    learner.set_weights(before)
    assert torch.equal(learner.model.weight, before["weight"])
    assert not before["weight"].requires_grad


def test_losses_come_back_to_the_last_bit() -> None:
    learner = made(0)
    learner.state.losses, learner.state.accuracies = [0.1, 1 / 3, 1e-300], [1.0]
    kept = learner.checkpoint()
    assert "losses" not in kept.state["run"]
    other = made(1)
    other.restore(Checkpoint(kept.tensors, json.loads(json.dumps(kept.state))))
    assert (other.state.losses, other.state.accuracies) == ([0.1, 1 / 3, 1e-300], [1.0])

"""AdamW, schedule, clipping and temperature as published."""

from typing import Any

import pytest
import torch

from qure.config import TrainingSettings, read_recipe
from qure.models.model import QureModel
from qure.training.optimisation import (
    LOWEST_TEMPERATURE,
    learning_rate,
    make_optimizer,
    optimizer_step,
    prepare_temperature,
    set_learning_rate,
    steps_taken,
)


@pytest.fixture
def model(world: Any) -> QureModel:
    return QureModel.load(world.root / "backbone", vision=False)


def passing() -> torch.amp.GradScaler:
    return torch.amp.GradScaler("cpu", enabled=False)


@pytest.mark.parametrize(("name", "epochs", "rate"), [("fashioniq-published", 30, 5e-6), ("cirr-published", 50, 1e-5)])
def test_published_schedule(name: str, epochs: int, rate: float) -> None:
    settings = TrainingSettings.model_validate(read_recipe(name))
    assert (settings.epochs, settings.batch_size, settings.weight_decay) == (epochs, 32, 0.05)
    assert (settings.precision, settings.loss, settings.temperature) == ("fp16", "bradley_terry", "learned")
    assert (settings.gradient_clipping, settings.held_out_share, settings.negatives.search_window) == (None, 0, None)
    assert not settings.shares_candidates
    assert not settings.one_category_batches
    # torch's own cosine, stepped once an epoch, is the reference.
    parameter = torch.nn.Parameter(torch.zeros(1))
    optimizer = torch.optim.AdamW([parameter], lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs, eta_min=rate / 100)
    for epoch in range(epochs):
        assert learning_rate(settings, epoch) == pytest.approx(optimizer.param_groups[0]["lr"], rel=1e-9)
        optimizer.step()
        schedule.step()


def test_weight_decay_is_on_everything_trainable(model: QureModel) -> None:
    optimizer = make_optimizer(model, TrainingSettings(weight_decay=0.05))
    (group,) = optimizer.param_groups
    assert group["weight_decay"] == 0.05
    names = {name for name, one in model.named_parameters() if any(one is other for other in group["params"])}
    assert {"ln_vision.weight", "ln_vision.bias", "query_tokens", "temperature", "text_proj.bias"} <= names
    assert not {"itm_head.weight", "itm_head.bias"} & names


def test_a_processor_takes_one_kernel_and_a_plain_learning_rate(model: QureModel) -> None:
    """One that lives on a GPU is a tensor."""
    settings = TrainingSettings(learning_rate=3e-4)
    (group,) = make_optimizer(model, settings).param_groups
    assert type(group["lr"]) is float
    assert (group["lr"], group["fused"], group["capturable"]) == (3e-4, True, False)


@pytest.mark.parametrize("scale", [None, 1024.0])
def test_clipping_bounds_all_gradients_together(model: QureModel, scale: float | None) -> None:
    """Of the loss, not of the loss as it was scaled."""
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=1.0)
    before = [one.detach().clone() for one in model.trainable_parameters()]
    scaler = passing() if scale is None else torch.amp.GradScaler("cpu", init_scale=scale)
    scaler.scale(torch.stack([one.sum() for one in model.trainable_parameters()]).sum()).backward()
    optimizer_step(optimizer, scaler, model, 0.5)
    moved = torch.cat([(one - old).flatten() for one, old in zip(model.trainable_parameters(), before, strict=True)])
    assert moved.detach().norm().item() == pytest.approx(0.5, rel=1e-3)
    assert all(one.grad is None for one in model.parameters())


def test_a_learned_temperature_never_reaches_zero(model: QureModel) -> None:
    settings = TrainingSettings(temperature_value=0.002)
    prepare_temperature(model, settings)
    assert model.temperature.item() == pytest.approx(0.002)
    optimizer = torch.optim.SGD(model.trainable_parameters(), lr=1.0)
    model.temperature.grad = torch.tensor(5.0)
    optimizer_step(optimizer, passing(), model, None)
    assert model.temperature.item() == pytest.approx(LOWEST_TEMPERATURE)


def test_a_fixed_temperature_is_no_parameter_to_train(model: QureModel) -> None:
    prepare_temperature(model, TrainingSettings(temperature="fixed", temperature_value=0.05))
    assert model.temperature.item() == pytest.approx(0.05)
    assert all(one is not model.temperature for one in model.trainable_parameters())


def test_steps_left_out_by_loss_scaling_are_not_counted(model: QureModel) -> None:
    optimizer = make_optimizer(model, TrainingSettings())
    scaler = torch.amp.GradScaler("cpu", init_scale=4.0)
    assert steps_taken(optimizer) == 0
    for size in (1.0, float("inf"), 1.0):
        for one in model.trainable_parameters():
            one.grad = None
        scaler.scale(model.query_tokens.sum() * size).backward()
        optimizer_step(optimizer, scaler, model, 1.0)
    assert steps_taken(optimizer) == 2
    assert torch.isfinite(model.query_tokens).all()


def test_learning_rate_is_set_on_every_group() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    optimizer = torch.optim.SGD([{"params": [one]} for one in parameters], lr=1.0)
    set_learning_rate(optimizer, 0.25)
    assert [group["lr"] for group in optimizer.param_groups] == [0.25, 0.25]


def test_a_learning_rate_that_is_a_tensor_is_changed_where_it_lies() -> None:
    """A captured graph reads that memory, and would not see another tensor."""
    rate = torch.tensor(0.5)
    parameter = torch.nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=rate)
    set_learning_rate(optimizer, 0.25)
    assert optimizer.param_groups[0]["lr"] is rate
    parameter.sum().backward()
    optimizer.step()
    assert (rate.item(), parameter.item()) == (0.25, 0.75)

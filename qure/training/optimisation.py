"""AdamW, its schedule and one optimizer step, as published (paper, appendix; released code)."""

import math

import torch
from torch import nn

from qure.config import TrainingSettings
from qure.models.model import QureModel

#: A learned temperature that falls further is held here: at 0 or below scores would lose their meaning. The published
#: model has no bound; its learning rate cannot carry the temperature this far.
LOWEST_TEMPERATURE = 1e-4


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """The learning rate of a 0-based epoch: half a cosine from the first to its final share, one step an epoch.

    >>> settings = TrainingSettings(epochs=2, learning_rate=1.0, final_learning_rate_ratio=0.0)
    >>> [round(learning_rate(settings, epoch), 3) for epoch in (0, 1, 2)]
    [1.0, 0.5, 0.0]
    """
    final = settings.learning_rate * settings.final_learning_rate_ratio
    return final + (settings.learning_rate - final) * (1 + math.cos(math.pi * epoch / settings.epochs)) / 2


def prepare_temperature(model: QureModel, settings: TrainingSettings) -> None:
    """Sets the temperature to its first value, and frees or fixes it; part of the model's trainable parameters."""
    with torch.no_grad():
        model.temperature.fill_(settings.temperature_value)
    model.temperature.requires_grad_(settings.temperature == "learned")


def make_optimizer(model: QureModel, settings: TrainingSettings) -> torch.optim.AdamW:
    """AdamW over every trainable parameter; weight decay on all of them, biases and LayerNorms too, as released.

    One kernel updates everything: on a CPU it takes a fifth of the time of torch's plain steps. On a GPU the learning
    rate lives there too, so that a step captured as a CUDA graph sees it change.
    """
    cuda = model.device.type == "cuda"
    return torch.optim.AdamW(
        model.trainable_parameters(),
        lr=torch.tensor(settings.learning_rate, device=model.device) if cuda else settings.learning_rate,
        weight_decay=settings.weight_decay,
        fused=True,
        capturable=cuda,
    )


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Changes the learning rate of all parameters."""
    for group in optimizer.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate


def optimizer_step(
    optimizer: torch.optim.Optimizer, scaler: torch.amp.GradScaler, model: QureModel, clipping: float | None
) -> None:
    """Clips, steps, and clears the gradients; with loss scaling, a step whose gradients overflowed is left out.

    Args:
        clipping: largest norm of all gradients together; None: not clipped, as published.
    """
    if clipping is not None:
        scaler.unscale_(optimizer)
        nn.utils.clip_grad_norm_(model.trainable_parameters(), clipping)
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    if model.temperature.requires_grad:
        with torch.no_grad():
            model.temperature.clamp_(min=LOWEST_TEMPERATURE)


def steps_taken(optimizer: torch.optim.Optimizer) -> int:
    """How many steps have changed the parameters: those left out by loss scaling are not counted."""
    counts = [state["step"] for state in optimizer.state.values() if "step" in state]
    return int(max((float(count) for count in counts), default=0.0))

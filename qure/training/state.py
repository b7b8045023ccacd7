"""What a training knows between two steps, and its way into a checkpoint and back."""

from dataclasses import asdict, dataclass, field
from typing import Any

import torch
from torch import Tensor

from qure.models.model import QureModel
from qure.training.checkpoint import Checkpoint, optimizer_tensors, restore_optimizer

#: Loss, pairs won, pairs compared: what every step adds to its epoch.
Sums = tuple[float, float, float]


@dataclass
class RunState:
    """Where a training is.

    Attributes:
        epoch: 0-based epoch in progress; the number of epochs when all are done.
        batch: batches of this epoch that are done.
        step: optimizer steps so far.
        triplets: rows seen in this epoch.
        sums: sums over this epoch's rows: losses, pairs won, pairs compared.
        losses, accuracies: of every step so far.
        history: one record per finished epoch.
        findings: what the user must hear.
        mining: {"epoch", "digest"} of the mining in force; None during warm-up.
        best: {"epoch", "recall"} of the best epoch by the held-out queries; None without them.
        stopped: early stop has ended the run.
    """

    epoch: int = 0
    batch: int = 0
    step: int = 0
    triplets: int = 0
    sums: list[float] = field(default_factory=lambda: [0.0, 0.0, 0.0])
    losses: list[float] = field(default_factory=list)
    accuracies: list[float] = field(default_factory=list)
    history: list[dict[str, Any]] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    mining: dict[str, Any] | None = None
    best: dict[str, Any] | None = None
    stopped: bool = False

    def add_step(self, rows: int, counts: Sums) -> None:
        """Counts one step of `rows` triplets."""
        loss, won, pairs = counts
        self.losses.append(loss / rows)
        self.accuracies.append(won / pairs if pairs else 1.0)
        self.sums = [total + value for total, value in zip(self.sums, counts, strict=True)]
        self.triplets += rows

    @property
    def loss(self) -> float:
        """Mean loss of the epoch in progress."""
        return self.sums[0] / max(self.triplets, 1)

    @property
    def pair_accuracy(self) -> float:
        """Share of this epoch's (target, negative) pairs that the target won."""
        return self.sums[1] / self.sums[2] if self.sums[2] else 1.0

    def next_epoch(self) -> None:
        """Turns to the next epoch."""
        self.epoch += 1
        self.batch, self.triplets, self.sums = 0, 0, [0.0, 0.0, 0.0]


@dataclass
class Learner:
    """Everything that a checkpoint restores.

    Attributes:
        model, optimizer, scaler: changed by every step.
        state: counts and records.
        best: weights of the best epoch by name, on the CPU; empty without held-out queries.
    """

    model: QureModel
    optimizer: torch.optim.Optimizer
    scaler: torch.amp.GradScaler
    state: RunState = field(default_factory=RunState)
    best: dict[str, Tensor] = field(default_factory=dict)

    def weights(self) -> dict[str, Tensor]:
        """A copy of everything trained, by parameter name, on the CPU."""
        return {name: one.detach().cpu().clone() for name, one in self.model.named_trainable_parameters()}

    def set_weights(self, weights: dict[str, Tensor]) -> None:
        """Overwrites what `weights` names."""
        with torch.no_grad():
            for name, parameter in self.model.named_trainable_parameters():
                parameter.copy_(weights[name])

    def checkpoint(self) -> Checkpoint:
        """The learner as tensors and JSON. Random numbers need no place in it: all come from seed and step."""
        records = {"losses": self.state.losses, "accuracies": self.state.accuracies}
        tensors = {f"model/{name}": one.detach() for name, one in self.model.named_trainable_parameters()}
        tensors |= optimizer_tensors(self.optimizer, self._names())
        tensors |= {f"best/{name}": one for name, one in self.best.items()}
        tensors |= {f"record/{name}": torch.tensor(one, dtype=torch.float64) for name, one in records.items()}
        state = {name: value for name, value in asdict(self.state).items() if name not in records}
        return Checkpoint(tensors, {"run": state, "scaler": self.scaler.state_dict()})

    def restore(self, checkpoint: Checkpoint) -> None:
        """Goes back to where `checkpoint` was taken, to the last bit."""
        tensors = checkpoint.tensors
        self.set_weights(_below("model/", tensors))
        restore_optimizer(self.optimizer, self._names(), tensors)
        self.scaler.load_state_dict(checkpoint.state["scaler"])
        records = {name: one.tolist() for name, one in _below("record/", tensors).items()}
        self.state = RunState(**(checkpoint.state["run"] | records))
        self.best = _below("best/", tensors)

    def _names(self) -> list[str]:
        return [name for name, _ in self.model.named_trainable_parameters()]


def _below(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): one for name, one in tensors.items() if name.startswith(prefix)}

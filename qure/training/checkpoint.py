"""Checkpoints: safetensors and JSON, written whole or not at all, read back to the last bit.

A run's folder holds

    step-000000120/state.json, tensors.safetensors     the last two checkpoints
    latest.json                                        names the one to go on from
    minings/, best/                                    what `qure.training.loop` keeps beside them

`latest.json` moves only after the checkpoint that it names is on the disk. Nothing is pickled.
"""

import logging
import re
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from qure.errors import BadInput
from qure.files import atomic_folder, file_digest, fingerprint, read_json, write_json
from qure.scratch import remove_leftovers

logger = logging.getLogger(__name__)

TENSORS, STATE, LATEST = "tensors.safetensors", "state.json", "latest.json"
KEPT = 2
_NAME = re.compile(r"step-\d{9}")


@dataclass(frozen=True)
class Identity:
    """What a run depends on: a checkpoint goes on only under the identity that it was made under.

    Attributes:
        settings: fingerprint of the training settings.
        inputs: fingerprint of backbone, features and triplets.
    """

    settings: str
    inputs: str

    @property
    def fingerprint(self) -> str:
        """Both in one."""
        return fingerprint(asdict(self))


@dataclass(frozen=True)
class Checkpoint:
    """A point to go on from: named tensors and a JSON-able state."""

    tensors: dict[str, Tensor]
    state: dict[str, Any]


class Checkpoints:
    """The checkpoints of one run.

    Args:
        work: folder that holds the runs' folders; each run's is named by its identity, so a run with other
            settings or inputs starts afresh beside it.
        identity: what the run depends on.
    """

    def __init__(self, work: Path, identity: Identity) -> None:
        self.identity = identity
        self.folder = Path(work) / f"run-{identity.fingerprint[:16]}"

    def save(self, step: int, checkpoint: Checkpoint) -> None:
        """Writes a step's checkpoint, then points `latest.json` to it, then removes all but it and the one before."""
        path = self.folder / f"step-{step:09d}"
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in checkpoint.tensors.items()}
        with atomic_folder(path) as temporary:
            save_file(tensors, temporary / TENSORS, metadata={"format": "pt"})
            described = {"identity": asdict(self.identity), "tensors": file_digest(temporary / TENSORS)}
            write_json(temporary / STATE, {**described, "state": checkpoint.state})
        self._point_to(path)
        names = self._names()
        number = names.index(path.name) + 1
        # Later ones are of a run that could not be gone on with: they were damaged.
        for old in names[: max(0, number - KEPT)] + names[number:]:
            shutil.rmtree(self.folder / old)

    def load(self) -> Checkpoint | None:
        """The checkpoint to go on from; None when there is none.

        A damaged checkpoint is skipped with a warning for the one before it.

        Raises:
            BadInput: a checkpoint of other settings or inputs; names both fingerprints.
        """
        remove_leftovers(self.folder)
        if not (self.folder / LATEST).is_file():
            return None
        newest = str(read_json(self.folder / LATEST).get("checkpoint"))
        for name in reversed([name for name in self._names() if name <= newest]):
            try:
                return self._read(self.folder / name)
            except _Damaged as error:
                logger.warning("checkpoint %s is damaged (%s): going back to the one before it", name, error)
        logger.warning("no whole checkpoint in %s: the training starts again from the beginning", self.folder)
        return None

    def remove(self) -> None:
        """Removes the run's folder, once its outputs are in place."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _point_to(self, path: Path) -> None:
        write_json(self.folder / LATEST, {"checkpoint": path.name})

    def _names(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("step-*") if _NAME.fullmatch(path.name))

    def _read(self, path: Path) -> Checkpoint:
        try:
            content = read_json(path / STATE)
            identity = Identity(**content["identity"])
            state, digest = content["state"], content["tensors"]
        except (BadInput, KeyError, TypeError) as error:
            raise _Damaged(f"{STATE}: {error}") from None
        if identity != self.identity:
            raise BadInput(
                f"this checkpoint belongs to settings {identity.settings} and inputs {identity.inputs}; "
                f"this run has settings {self.identity.settings} and inputs {self.identity.inputs}",
                file=path,
                remedy=f"Remove {self.folder} to start afresh",
            )
        try:
            if file_digest(path / TENSORS) != digest:
                raise _Damaged(f"{TENSORS} is not the file that was written")
            return Checkpoint(load_file(path / TENSORS), state)
        except (OSError, SafetensorError) as error:
            raise _Damaged(f"{TENSORS}: {error}") from None


class _Damaged(Exception):
    """A checkpoint that cannot be read back."""


def other_runs(work: Path, identity: Identity) -> list[str]:
    """Names of unfinished runs with other settings or inputs in the same scratch folder."""
    own = Checkpoints(work, identity).folder.name
    return sorted(path.name for path in Path(work).glob("run-*") if path.is_dir() and path.name != own)


def optimizer_tensors(optimizer: torch.optim.Optimizer, names: list[str]) -> dict[str, Tensor]:
    """The optimizer's state as flat named tensors: `optimizer/{parameter}/{field}`.

    Args:
        names: the parameters' names in the optimizer's order.
    """
    state = optimizer.state_dict()["state"]
    return {
        f"optimizer/{names[place]}/{field}": torch.as_tensor(value)
        for place, fields in state.items()
        for field, value in fields.items()
    }


def restore_optimizer(optimizer: torch.optim.Optimizer, names: list[str], tensors: dict[str, Tensor]) -> None:
    """Puts back what `optimizer_tensors` took."""
    state: dict[int, dict[str, Tensor]] = {}
    places = {name: place for place, name in enumerate(names)}
    for key, tensor in tensors.items():
        if key.startswith("optimizer/"):
            _, name, field = key.split("/")
            state.setdefault(places[name], {})[field] = tensor
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})

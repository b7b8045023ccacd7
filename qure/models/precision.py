"""Number formats in one place: which autocast a stage computes in and whether its loss is scaled."""

from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch

from qure.config import Precision
from qure.errors import BadInput

DTYPES: dict[Precision, torch.dtype] = {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16}


@dataclass(frozen=True)
class PrecisionPolicy:
    """How numbers are computed on one device. Parameters stay fp32 in every policy: only operations change.

    fp32: nothing is cast. bf16: autocast, range of fp32, no scaling needed, any device. fp16: autocast and loss
    scaling, as the published recipe; CUDA only, because gradients below 6e-8 vanish without the scaler and CPUs
    have no fast fp16.
    """

    precision: Precision
    device: torch.device

    @classmethod
    def of(cls, precision: Precision, device: torch.device | str) -> "PrecisionPolicy":
        """The policy for a precision by name on a device.

        Raises:
            BadInput: fp16 on a device other than CUDA.
        """
        device = torch.device(device)
        if precision == "fp16" and device.type != "cuda":
            raise BadInput(
                f"precision 'fp16' needs a CUDA GPU, this run is on {device.type!r}",
                field="precision",
                remedy="Set precision to bf16 or fp32, or run on a GPU",
            )
        return cls(precision, device)

    @property
    def dtype(self) -> torch.dtype:
        """The format that autocast computes matrix products in."""
        return DTYPES[self.precision]

    def autocast(self) -> AbstractContextManager[object]:
        """Context in which the forward pass and the loss are computed."""
        return torch.autocast(self.device.type, dtype=self.dtype, enabled=self.precision != "fp32")

    def scaler(self) -> torch.amp.GradScaler:
        """Loss scaling: works for fp16, passes everything through unchanged otherwise."""
        return torch.amp.GradScaler(self.device.type, enabled=self.precision == "fp16")


def name_of(dtype: torch.dtype) -> Precision:
    """A format's name in the settings.

    >>> name_of(torch.float16)
    'fp16'
    """
    found: Precision = next(name for name, one in DTYPES.items() if one == dtype)
    return found


def default_device() -> torch.device:
    """The GPU when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")

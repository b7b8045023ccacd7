"""What every collective gives in one of several processes. Usage: collectives.py FOLDER, under torchrun's variables.

Writes FOLDER/{rank}.json. Rank r holds numbers that tell who they are from: 10 r, 10 r + 1, ...
"""

import json
import os
import sys
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from qure.training.distributed import Processes, processes


def observed(group: Processes) -> dict[str, Any]:
    own = 10.0 * group.rank + torch.arange(2.0)
    rows = torch.stack([own, own + 5])
    summed = own.clone()
    total = group.sum(summed)
    return {
        "world": [group.rank, group.world, group.main, str(group.device)],
        "sum": total.tolist(),
        "sum of what has a gradient": group.sum(own.clone().requires_grad_()).requires_grad,
        "summed stays": torch.equal(summed, own),
        "gather": group.gather(rows).tolist(),
        "gather of columns": group.gather(rows.T).tolist(),
        **gradients(group, rows),
        "share": group.share({"from": group.rank, "text": "é", "list": [1, None]}),
        "share nothing": group.share(None),
        "share from the main process alone": group.share("told" if group.main else None),
        "tensors": described(group.share_tensors(tensors() if group.main else None)),
        "no tensors": group.share_tensors(None),
    }


def gradients(group: Processes, rows: Tensor) -> dict[str, Any]:
    """Of a loss that every process makes of everybody's rows, each with weights of its own."""
    leaf = rows.clone().requires_grad_()
    gathered = group.gather(leaf)
    weights = (group.rank + 1) * torch.arange(1.0, 1 + gathered.numel()).view_as(gathered)
    loss = (gathered**2 * weights).sum()
    loss.backward()
    assert leaf.grad is not None
    return {"loss": loss.item(), "gradient": leaf.grad.tolist()}


def tensors() -> dict[str, Tensor]:
    return {
        "half": torch.tensor([1.5, -2.0], dtype=torch.float16),
        "columns": torch.arange(6).view(2, 3).T,
        "empty": torch.zeros((0, 4)),
        "number": torch.tensor(7, dtype=torch.int32),
        "flags": torch.tensor([True, False]),
    }


def described(found: dict[str, Tensor]) -> dict[str, Any]:
    return {
        name: [str(one.dtype), list(one.shape), str(one.device), one.tolist()] for name, one in sorted(found.items())
    }


def main(folder: Path) -> None:
    found = []
    for _ in range(2):  # a command may train several times: the processes join once
        with processes(torch.device("cpu")) as group:
            found.append(observed(group))
        assert dist.is_initialized()
    assert found[0] == found[1]
    (folder / f"{os.environ['RANK']}.json").write_text(json.dumps(found[0]))


if __name__ == "__main__":
    torch.set_num_threads(1)
    main(Path(sys.argv[1]))

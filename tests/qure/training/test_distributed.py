"""What needs no second process; two processes are in test_distributed_integration.py."""

import pytest
import torch

from qure.errors import BadInput
from qure.training.distributed import Processes, processes

CPU = torch.device("cpu")


def test_alone_every_collective_is_the_identity() -> None:
    alone = Processes(0, 1, CPU)
    tensor = torch.arange(3.0, requires_grad=True)
    assert alone.main
    assert alone.gather(tensor) is tensor
    assert torch.equal(alone.sum(tensor), tensor)
    assert alone.share({"epoch": 1}) == {"epoch": 1}
    assert alone.share_tensors(None) == {}
    assert alone.share_tensors({"a": tensor})["a"] is tensor


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with processes(CPU) as group:
        assert (group.rank, group.world, group.device) == (0, 1, CPU)


def test_more_processes_than_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "1")
    # The number of GPUs is all that is replaced: this must fail on machines without any, too.
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(BadInput, match="process 1 of this machine has no GPU"), processes(torch.device("cuda")):
        pass

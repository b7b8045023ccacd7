"""The collectives alone and between two processes; whole trainings in two are in test_distributed_integration.py."""

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist

from qure.errors import BadInput
from qure.training import distributed
from qure.training.distributed import Processes, processes

CPU, GPU = torch.device("cpu"), torch.device("cuda")


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
    with pytest.raises(BadInput, match=r"process 1 of this machine has no GPU.*there are 1"), processes(GPU):
        pass


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which GPU and which way to talk; what they would do with it needs two GPUs."""
    done: list[Any] = []
    for name, value in {"WORLD_SIZE": "2", "RANK": "1", "LOCAL_RANK": "1"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", done.append)
    monkeypatch.setattr(dist, "init_process_group", done.append)
    monkeypatch.setattr(distributed.atexit, "register", done.append)
    monkeypatch.setattr(dist, "get_rank", lambda: 1)
    monkeypatch.setattr(dist, "get_world_size", lambda: 2)
    with processes(GPU) as group:
        assert (group.rank, group.world, group.device, group.main) == (1, 2, torch.device("cuda", 1), False)
    assert done == [1, "nccl", dist.destroy_process_group]


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What `collectives.py` has seen in each of two processes that talk through gloo."""
    folder = tmp_path_factory.mktemp("two")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    script = str(Path(__file__).with_name("collectives.py"))
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "OMP_NUM_THREADS": "1"}
    started = [
        subprocess.Popen(
            [sys.executable, script, str(folder)],
            env=os.environ | common | {"RANK": str(rank), "LOCAL_RANK": str(rank)},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in (0, 1)
    ]
    try:
        for _ in range(1800):
            if all(process.poll() == 0 for process in started) or any(process.poll() for process in started):
                break
            time.sleep(0.1)
        ended = [process.poll() for process in started]
    finally:
        for process in started:
            process.kill()
    assert ended == [0, 0], [process.communicate()[1][-2000:] for process in started]
    return [json.loads((folder / f"{rank}.json").read_text()) for rank in (0, 1)]


def test_each_process_knows_its_place(two: list[dict[str, Any]]) -> None:
    assert [one["world"] for one in two] == [[0, 2, True, "cpu"], [1, 2, False, "cpu"]]


def test_sums_are_over_all_processes(two: list[dict[str, Any]]) -> None:
    for one in two:
        assert one["sum"] == [10.0, 12.0]
        assert one["summed stays"], "the caller's tensor is not what is summed into"
        assert one["sum of what has a gradient"] is False


def test_gathered_rows_stand_in_the_order_of_the_processes(two: list[dict[str, Any]]) -> None:
    for one in two:
        assert one["gather"] == [[0, 1], [5, 6], [10, 11], [15, 16]]
        assert one["gather of columns"] == [[0, 5], [1, 6], [10, 15], [11, 16]]


def test_gradients_come_back_from_every_process(two: list[dict[str, Any]]) -> None:
    """Against one process that holds all rows: its loss is the sum of the processes' losses."""
    rows = torch.tensor([[0.0, 1], [5, 6], [10, 11], [15, 16]], requires_grad=True)
    weights = torch.arange(1.0, 9).view(4, 2)
    loss = (rows**2 * weights).sum() + (rows**2 * 2 * weights).sum()
    loss.backward()
    assert rows.grad is not None
    assert two[0]["loss"] + two[1]["loss"] == loss.item()
    assert two[1]["loss"] == 2 * two[0]["loss"]
    assert [*two[0]["gradient"], *two[1]["gradient"]] == rows.grad.tolist()


def test_values_are_those_of_the_main_process(two: list[dict[str, Any]]) -> None:
    for one in two:
        assert one["share"] == {"from": 0, "text": "é", "list": [1, None]}
        assert one["share nothing"] is None
        assert one["share from the main process alone"] == "told"


def test_tensors_keep_their_type_and_shape(two: list[dict[str, Any]]) -> None:
    expected = {
        "columns": ["torch.int64", [3, 2], "cpu", [[0, 3], [1, 4], [2, 5]]],
        "empty": ["torch.float32", [0, 4], "cpu", []],
        "flags": ["torch.bool", [2], "cpu", [True, False]],
        "half": ["torch.float16", [2], "cpu", [1.5, -2.0]],
        "number": ["torch.int32", [], "cpu", 7],
    }
    for one in two:
        assert one["tensors"] == expected
        assert one["no tensors"] == {}

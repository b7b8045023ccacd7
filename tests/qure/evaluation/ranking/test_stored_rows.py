"""Rows read in parts where they lie: no more calls than there are gaps, and every byte though the system gives few."""

import contextlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from qure.errors import BadInput
from qure.evaluation.ranking.stored_rows import InMemory, StoredRows, read_header, read_ids, read_rows

VALUES = np.random.default_rng(0).standard_normal((12, 2, 3)).astype(np.float32)


class Counting:
    """Rows that know what was asked for."""

    shape = (12, 2, 3)

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []

    def read(self, start: int, stop: int) -> np.ndarray:
        self.asked.append((start, stop))
        return VALUES[start:stop]


@pytest.mark.parametrize(
    ("rows", "asked"),
    [
        ([3, 4, 5], [(3, 6)]),
        ([5, 3, 9, 4], [(3, 6), (9, 10)]),
        ([0, 2], [(0, 1), (2, 3)]),
        ([4, 4, 3], [(3, 5), (4, 5)]),
        ([11], [(11, 12)]),
    ],
)
def test_neighbours_are_read_at_once_and_come_in_the_order_asked_for(
    rows: list[int], asked: list[tuple[int, int]]
) -> None:
    vectors = Counting()
    assert np.array_equal(read_rows(vectors, np.array(rows)), VALUES[rows])
    assert vectors.asked == asked


@pytest.mark.parametrize("shape", [(12,), (12, 1, 2, 3), (0, 3), (12, 0), (12, 0, 3)])
def test_arrays_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match=r"rows: embeddings of shape \(.*\), neither \(N, D\) nor \(N, T, D\)"):
        InMemory(np.ones(shape, np.float32), "rows")


def test_an_array_has_a_vector_or_several_an_image() -> None:
    several, one = InMemory(VALUES, "rows"), InMemory(VALUES[:, 0].astype(np.float16), "rows")
    assert (several.shape, one.shape) == ((12, 2, 3), (12, 1, 3))
    assert np.array_equal(several.read(2, 4), VALUES[2:4])
    assert one.read(2, 4).dtype == np.float32
    assert np.array_equal(one.read(2, 4)[:, 0], VALUES[2:4, 0].astype(np.float16).astype(np.float32))


def test_a_stretch_of_an_array_is_not_copied() -> None:
    """A gallery is read whole for every block of queries."""
    vectors = InMemory(VALUES, "rows")
    assert np.shares_memory(vectors.read(2, 4), VALUES)
    assert np.shares_memory(read_rows(vectors, np.array([2, 3, 4])), VALUES)


@pytest.fixture(params=[torch.float16, torch.bfloat16, torch.float32])
def stored(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, np.ndarray]:
    """A file whose rows lie behind another tensor, and what is in it."""
    values = torch.from_numpy(VALUES).to(request.param)
    path = tmp_path / "e.safetensors"
    save_file({"aaa": torch.ones(5), "embeddings": values}, path, metadata={"ids": json.dumps(list("abcdefghijkl"))})
    return path, values.float().numpy()


def test_rows_of_a_file_however_few_bytes_a_call_gives(
    stored: tuple[Path, np.ndarray], monkeypatch: pytest.MonkeyPatch
) -> None:
    path, values = stored
    really = os.preadv
    monkeypatch.setattr(os, "preadv", lambda handle, views, offset: really(handle, [views[0][:7]], offset))
    rows = StoredRows(path, read_header(path))
    assert rows.shape == (12, 2, 3)
    assert np.array_equal(rows.read(0, 12), values)
    assert np.array_equal(rows.read(5, 7), values[5:7])
    assert rows.read(5, 7).dtype == np.float32
    assert rows.read(3, 3).shape == (0, 2, 3)


def test_a_file_is_closed_with_whoever_reads_it(stored: tuple[Path, np.ndarray]) -> None:
    path, values = stored

    rows = StoredRows(path, read_header(path))
    assert [os.get_inheritable(handle) for handle in handles(path)] == [False]
    path.unlink()
    assert np.array_equal(rows.read(0, 12), values), "what is read stays, whatever becomes of its name"
    assert len(handles(path)) == 1
    del rows
    assert handles(path) == []


def handles(path: Path) -> list[int]:
    """This process's open files of that name, also of a name that is gone."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # the handle that lists them
            if str(link.readlink()).removesuffix(" (deleted)") == str(path):
                found.append(int(link.name))
    return found


def test_a_header_without_ids_or_vectors_says_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    save_file({"b": torch.ones(1), "a": torch.ones(1)}, path, metadata={"other": ""})
    header = read_header(path)
    assert sorted(header) == ["__metadata__", "a", "b"]
    with pytest.raises(BadInput, match="no tensor 'embeddings'; tensors there: a, b"):
        StoredRows(path, header)
    with pytest.raises(BadInput, match="no tensor 'embeddings'; tensors there: none"):
        StoredRows(path, {})
    with pytest.raises(BadInput, match="no 'ids' in the header"):
        read_ids(path, header)


def test_ids_are_of_the_header_or_else_of_a_tensor(tmp_path: Path) -> None:
    path = tmp_path / "e.safetensors"
    tensor = torch.frombuffer(bytearray(b'["c", "d"]'), dtype=torch.uint8)
    save_file({"aaa": torch.ones(3), "ids": tensor}, path)
    assert read_ids(path, read_header(path)) == ["c", "d"]
    save_file({"ids": tensor}, path, metadata={"ids": '["a", "b"]'})
    assert read_ids(path, read_header(path)) == ["a", "b"]

"""Embeddings files: what is read is what was written, and every mistake is named."""

import json
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from safetensors.torch import save_file as save_torch

from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings, read_embeddings, write_embeddings

IDS = [f"image-{number}" for number in range(10)]


def rows(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def save(path: Path, values: np.ndarray, ids: object = IDS, *, name: str = "embeddings") -> Path:
    save_file({name: values}, path, metadata={"ids": json.dumps(ids)})
    return path


@pytest.mark.parametrize("shape", [(10, 4), (10, 3, 4)])
def test_reads_what_any_safetensors_writer_wrote(tmp_path: Path, shape: tuple[int, ...]) -> None:
    values = rows(*shape)
    embeddings = read_embeddings(save(tmp_path / "e.safetensors", values))
    assert embeddings.ids == tuple(IDS)
    assert (len(embeddings), embeddings.dimension) == (10, 4)
    assert embeddings.tokens == (3 if len(shape) == 3 else 1)
    assert np.array_equal(embeddings.vectors, values.reshape(10, -1, 4))


def test_finds_the_tensor_among_others(tmp_path: Path) -> None:
    values = rows(10, 4)
    file = tmp_path / "e.safetensors"
    save_file({"aaa": rows(3), "embeddings": values, "zzz": rows(5)}, file, metadata={"ids": json.dumps(IDS)})
    assert np.array_equal(read_embeddings(file).vectors[:, 0], values)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_reads_every_format_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    values = torch.from_numpy(rows(10, 2, 4)).to(dtype)
    save_torch({"embeddings": values}, tmp_path / "e.safetensors", metadata={"ids": json.dumps(IDS)})
    assert np.array_equal(read_embeddings(tmp_path / "e.safetensors").vectors, values.float().numpy())


@pytest.mark.parametrize("shape", [(10, 4), (10, 1, 4), (10, 3, 4)])
def test_writes_what_safetensors_reads(tmp_path: Path, shape: tuple[int, ...]) -> None:
    from safetensors import safe_open

    values = rows(*shape)
    write_embeddings(tmp_path / "e.safetensors", IDS, values)
    with safe_open(tmp_path / "e.safetensors", framework="np") as file:
        stored = file.get_tensor("embeddings")
        assert json.loads(file.metadata()["ids"]) == IDS
    assert np.array_equal(stored, values[:, 0] if shape == (10, 1, 4) else values)


def test_writes_from_anything_that_reads_in_parts(tmp_path: Path) -> None:
    values = rows(10, 3, 4)

    class Parts:
        shape = (10, 3, 4)

        def read(self, start: int, stop: int) -> np.ndarray:
            return values[start:stop]

    write_embeddings(tmp_path / "e.safetensors", IDS, Parts(), dtype="fp16")
    assert np.array_equal(
        read_embeddings(tmp_path / "e.safetensors").vectors, values.astype(np.float16).astype(np.float32)
    )


def test_a_number_that_fp16_cannot_hold_is_refused_and_nothing_is_written(tmp_path: Path) -> None:
    values = rows(10, 4)
    values[7, 2] = 1e6
    with pytest.raises(BadInput, match="'image-7'"):
        write_embeddings(tmp_path / "e.safetensors", IDS, values, dtype="fp16")
    assert list(tmp_path.iterdir()) == []


def test_blocks_give_the_asked_rows_in_stored_order(tmp_path: Path) -> None:
    values = rows(10, 2, 4)
    embeddings = read_embeddings(save(tmp_path / "e.safetensors", values))
    asked = ["image-7", "image-2", "image-3", "image-9"]
    blocks = list(embeddings.blocks(asked, size=2))
    assert [positions.tolist() for positions, _ in blocks] == [[1, 2], [0, 3]]
    assert np.array_equal(np.concatenate([block for _, block in blocks]), values[[2, 3, 7, 9]])


def test_take_keeps_order_and_repeats() -> None:
    values = rows(10, 4)
    taken = Embeddings(IDS, values).take(["image-3", "image-1", "image-3"])
    assert np.array_equal(taken[:, 0], values[[3, 1, 3]])


def test_missing_ids_are_named_and_counted() -> None:
    with pytest.raises(BadInput, match=r"7 of 8 needed ids .* 'x0', 'x1', 'x2', 'x3', 'x4' and 2 more"):
        Embeddings(IDS, rows(10, 4)).rows(["image-1", *(f"x{number}" for number in range(7))])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_named(tmp_path: Path, value: float) -> None:
    values = rows(10, 2, 4)
    values[4, 1, 2] = value
    embeddings = read_embeddings(save(tmp_path / "e.safetensors", values))
    with pytest.raises(BadInput, match=r"e.safetensors, row 4, .*NaN or infinity in the embedding of 'image-4'"):
        embeddings.take(IDS)
    assert embeddings.take(["image-3", "image-5"]).shape == (2, 2, 4), "rows that nobody asks for do not matter"


@pytest.mark.parametrize("factor", [1e30, 1e16, 1e-16, 1e-30])
def test_numbers_whose_products_single_precision_cannot_hold_are_refused(tmp_path: Path, factor: float) -> None:
    """Products of such rows are infinite, or all zero: a ranking of ties."""
    values = rows(10, 2, 4)
    values[4] *= np.float32(factor)
    embeddings = read_embeddings(save(tmp_path / "e.safetensors", values))
    with pytest.raises(BadInput, match=r"row 4, .*too large or too small .* 'image-4'\. Store rows of unit length"):
        embeddings.take(IDS)


def test_rows_of_zeros_and_of_any_usual_length_are_taken() -> None:
    values = rows(10, 2, 4)
    values[0], values[1], values[2] = 0.0, values[1] * 1e6, values[2] * 1e-6
    assert np.array_equal(Embeddings(IDS, values).take(IDS), values)


def test_rows_of_another_length_are_told_once(caplog: pytest.LogCaptureFixture) -> None:
    embeddings = Embeddings(IDS, rows(10, 4))
    for _ in range(2):
        list(embeddings.blocks(IDS, size=2))
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    assert "not of unit length" in caplog.text
    caplog.clear()
    list(Embeddings(["a", "b"], np.eye(2, dtype=np.float32)).blocks(["a", "b"], size=1))
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (IDS[:9], "9 ids for 10 rows"),
        ([*IDS[:8], "image-0", "image-1"], "more than once: 'image-0', 'image-1'"),
        ([*IDS[:9], 9], "row 9, field 'ids': 9 is not an id"),
        ([*IDS[:9], ""], "row 9, field 'ids': '' is not an id"),
        ({"image-0": 0}, "not a list but dict"),
    ],
)
def test_bad_ids_are_named(tmp_path: Path, ids: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        read_embeddings(save(tmp_path / "e.safetensors", rows(10, 4), ids))


def test_other_bad_files_are_named(tmp_path: Path) -> None:
    file = tmp_path / "e.safetensors"
    with pytest.raises(BadInput, match="does not exist"):
        read_embeddings(file)
    with pytest.raises(BadInput, match="no tensor 'embeddings'; tensors there: vectors"):
        read_embeddings(save(file, rows(10, 4), name="vectors"))
    for shape in ((10,), (10, 2, 2, 2), (10, 0)):
        with pytest.raises(BadInput, match="shape"):
            read_embeddings(save(file, rows(*shape)))
    with pytest.raises(BadInput, match="numbers of type F64"):
        read_embeddings(save(file, rows(10, 4).astype(np.float64)))
    save_file({"embeddings": rows(10, 4)}, file)
    with pytest.raises(BadInput, match="no 'ids' in the header"):
        read_embeddings(file)
    save_file({"embeddings": rows(10, 4)}, file, metadata={"ids": "image-0, image-1"})
    with pytest.raises(BadInput, match="field 'ids': not JSON"):
        read_embeddings(file)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "header"])
def test_a_damaged_file_is_named(tmp_path: Path, damage: str) -> None:
    file = save(tmp_path / "e.safetensors", rows(10, 4))
    content = file.read_bytes()
    damaged = {"cut": content[:-8], "text": b"hello" * 20, "empty": b"", "header": struct.pack("<Q", 1 << 60)}
    file.write_bytes(damaged[damage])
    with pytest.raises(BadInput, match=r"e\.safetensors: not a whole safetensors file"):
        read_embeddings(file)


@pytest.mark.parametrize("dtype", ["fp32", "fp16"])
def test_ids_too_long_for_a_header_are_a_tensor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: str) -> None:
    """safetensors opens no file whose header has more than 100 MB: a few million ids."""
    from safetensors import safe_open

    from qure.evaluation.ranking import embeddings as module

    values, ids = rows(10, 3, 4).astype(np.float16).astype(np.float32), [f'ä "{number}"\\' for number in range(10)]
    monkeypatch.setattr(module, "IDS_IN_HEADER", 20)
    write_embeddings(tmp_path / "e.safetensors", ids, values, dtype=dtype)
    with safe_open(tmp_path / "e.safetensors", framework="np") as file:
        assert sorted(file.keys()) == ["embeddings", "ids"]
        assert not file.metadata()
    found = read_embeddings(tmp_path / "e.safetensors")
    assert found.ids == tuple(ids)
    assert np.array_equal(found.vectors, values)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (np.frombuffer(b'["a", "b"', np.uint8), "not JSON"),
        (np.frombuffer(b'{"a": 1}', np.uint8), "not a list but dict"),
        (np.zeros(10, np.float32), "no 'ids' in the header"),
    ],
)
def test_a_tensor_that_is_no_list_of_ids_is_refused(tmp_path: Path, ids: np.ndarray, message: str) -> None:
    save_file({"embeddings": rows(10, 4), "ids": ids}, tmp_path / "e.safetensors")
    with pytest.raises(BadInput, match=message):
        read_embeddings(tmp_path / "e.safetensors")


def test_an_open_file_is_read_to_its_end_though_its_name_is_gone(tmp_path: Path) -> None:
    values = rows(10, 2, 4)
    embeddings = read_embeddings(save(tmp_path / "e.safetensors", values))
    (tmp_path / "e.safetensors").rename(tmp_path / "old")
    save(tmp_path / "e.safetensors", values + 1)
    (tmp_path / "old").unlink()
    assert np.array_equal(embeddings.vectors, values)


def test_a_file_that_becomes_shorter_is_told(tmp_path: Path) -> None:
    file = save(tmp_path / "e.safetensors", rows(10, 2, 4))
    embeddings = read_embeddings(file)
    with file.open("r+b") as stream:
        stream.truncate(file.stat().st_size - 8)
    assert embeddings.take(["image-0"]).shape == (1, 2, 4)
    with pytest.raises(BadInput, match="the file became shorter"):
        embeddings.take(["image-9"])


@pytest.mark.parametrize(("length", "told"), [(1.0, False), (1.005, False), (0.995, False), (1.02, True), (0.98, True)])
def test_rounding_to_half_precision_is_no_other_length(
    length: float, told: bool, caplog: pytest.LogCaptureFixture
) -> None:
    Embeddings(["a", "b"], length * np.eye(2, 3, dtype=np.float32)).take(["a", "b"])
    assert ("not of unit length" in caplog.text) == told


def test_a_gallery_is_written_in_parts_of_32_mebibytes(tmp_path: Path) -> None:
    """Rows of 12 MiB in single precision: two fit."""
    asked = []

    class Large:
        shape = (5, 3, 1 << 20)

        def read(self, start: int, stop: int) -> np.ndarray:
            asked.append((start, stop))
            return np.ones((stop - start, *self.shape[1:]), dtype=np.float32)

    write_embeddings(tmp_path / "e.safetensors", IDS[:5], Large(), dtype="fp16")
    assert asked == [(0, 2), (2, 4), (4, 5)]
    assert (tmp_path / "e.safetensors").stat().st_size > 5 * 3 * (1 << 21)


def test_the_header_ends_where_numbers_can_be_mapped(tmp_path: Path) -> None:
    for count in range(1, 9):
        write_embeddings(tmp_path / "e.safetensors", ["x" * count], rows(1, 4))
        (length,) = struct.unpack("<Q", (tmp_path / "e.safetensors").read_bytes()[:8])
        assert length % 8 == 0
        assert (tmp_path / "e.safetensors").stat().st_size == 8 + length + 16

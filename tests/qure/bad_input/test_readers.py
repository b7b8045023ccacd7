"""Every reader of a file that a stage hands on: cut at any byte, or holding anything at all, it is a BadInput or whole.

The benchmarks' own readers are treated the same way in tests/qure/datasets/test_rows.py, image shards and their index
in test_image_store.py there.
"""

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from qure.errors import BadInput
from qure.files import read_json

Qure = Callable[..., tuple[int, str]]


@dataclass(frozen=True)
class Reader:
    """What reads a file, the file's name in its folder, and a good content."""

    read: Callable[[Path], Any]
    name: str
    good: Any


def _registration(folder: Path) -> Any:
    from qure.registry.stage import read_registration

    return read_registration(folder / "registration.json", "fashioniq")


def _exclusions(folder: Path) -> Any:
    from qure.datasets.validated import ValidatedData

    return ValidatedData(folder, folder).exclusions("fashioniq")


def _verdict(folder: Path) -> Any:
    from qure.datasets.validated import IMAGES, require_validated, write_images

    if not (folder / IMAGES).is_file():
        write_images(folder, [])
    return require_validated(folder, folder)


def _statistics(folder: Path) -> Any:
    from qure.validation.drift import read_statistics

    return read_statistics(folder / "statistics.json")


def _store(folder: Path) -> Any:
    from qure.features.store import read_manifest

    return read_manifest(folder)


def _model(folder: Path) -> Any:
    from qure.models.manifest import read_manifest

    return read_manifest(folder)


def _config(folder: Path) -> Any:
    from qure.models.folder import read_config

    return read_config(folder)


def _settings(folder: Path) -> Any:
    from qure.config import Settings

    return Settings.load(folder / "params.yaml")


EXCLUDED = {"success": True, "annotations": {}, "excluded": {"fashioniq": {"images": ["a"], "queries": []}}}
STORE = {
    "format": 1,
    "fingerprint": "a",
    "vision_fingerprint": "b",
    "images_fingerprint": "c",
    "dtype": "fp16",
    "tokens": 5,
    "width": 8,
    "images": 1,
    "shard_images": 4,
    "share": [0, 1],
    "shards": {},
}
READERS = {
    "registration": Reader(
        _registration,
        "registration.json",
        {"name": "qure-fashioniq", "version": 1, "model_fingerprint": "a", "data_fingerprint": "b"},
    ),
    "exclusions": Reader(_exclusions, "result.json", EXCLUDED),
    "verdict": Reader(_verdict, "result.json", EXCLUDED),
    "statistics": Reader(_statistics, "statistics.json", {"version": 1, "splits": {}}),
    "feature store": Reader(_store, "manifest.json", STORE),
    "model folder": Reader(_model, "manifest.json", {"fingerprint": "a", "vision_fingerprint": "b"}),
    "any JSON": Reader(lambda folder: read_json(folder / "x.json"), "x.json", {"deep": [1, {"ä": None}]}),
}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FUZZ = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.parametrize("name", READERS)
def test_json_cut_at_every_byte(name: str, tmp_path: Path) -> None:
    reader = READERS[name]
    content = json.dumps(reader.good, ensure_ascii=False).encode()
    (tmp_path / reader.name).write_bytes(content)
    reader.read(tmp_path)
    for end in range(len(content)):
        (tmp_path / reader.name).write_bytes(content[:end])
        with pytest.raises(BadInput, match=reader.name):
            reader.read(tmp_path)


@pytest.mark.parametrize("name", [*READERS, "model dimensions", "params"])
@FUZZ
@given(value=JSON, field=st.sampled_from(["", "excluded", "splits", "shards", "fingerprint", "version", "training"]))
def test_any_json_is_read_or_bad_input(name: str, value: Any, field: str, tmp_path: Path) -> None:
    others = {"model dimensions": Reader(_config, "config.json", {}), "params": Reader(_settings, "params.yaml", {})}
    reader = {**READERS, **others}[name]
    content = {**reader.good, field: value} if field else value
    (tmp_path / reader.name).write_text(json.dumps(content))
    with contextlib.suppress(BadInput):
        reader.read(tmp_path)


@pytest.mark.parametrize("name", READERS)
@FUZZ
@given(content=st.binary(max_size=40))
def test_any_bytes_are_read_or_bad_input(name: str, content: bytes, tmp_path: Path) -> None:
    reader = READERS[name]
    (tmp_path / reader.name).write_bytes(content)
    with contextlib.suppress(BadInput):
        reader.read(tmp_path)


def test_embeddings_cut_at_every_byte(tmp_path: Path) -> None:
    from qure.evaluation.ranking.embeddings import read_embeddings, write_embeddings

    file = tmp_path / "embeddings.safetensors"
    write_embeddings(file, ["a", "b"], np.eye(2, dtype=np.float32))
    content = file.read_bytes()
    assert read_embeddings(file).ids
    for end in range(len(content)):
        file.write_bytes(content[:end])
        with pytest.raises(BadInput, match=r"embeddings\.safetensors"):
            read_embeddings(file)


def test_feature_shards_and_index_cut_anywhere(tmp_path: Path) -> None:
    """Every 7th byte: a shard of this size has thousands."""
    import torch

    from qure.features.store import FeatureStore
    from qure.features.writing import Shard, StoreIdentity, write_shard, write_store

    rows = [["a", "0" * 64], ["b", "1" * 64]]
    write_shard(tmp_path / "one", torch.zeros(2, 3, 4), rows)
    identity = StoreIdentity("vision", "images", 2, "fp32", 3, 4, 2)
    write_store(tmp_path / "store", identity, [Shard(0, tmp_path / "one", rows)], share=(0, 1))
    assert FeatureStore.open(tmp_path / "store").ids == ("a", "b")
    for name in ("shard-00000.safetensors", "index.parquet"):
        file = tmp_path / "store" / name
        content = file.read_bytes()
        for end in range(0, len(content), 7):
            file.unlink()  # a shard is a link to what `write_shard` wrote
            file.write_bytes(content[:end])
            with pytest.raises(BadInput, match=name):
                FeatureStore.open(tmp_path / "store")
        file.write_bytes(content)


@pytest.mark.parametrize("content", ["9" * 5000, "[" * 100_000, "\ufeff{}", '"\ud800"'])
def test_json_that_chokes_a_parser_is_named(content: str, tmp_path: Path) -> None:
    file = tmp_path / "x.json"
    file.write_bytes(content.encode("utf-8", "surrogatepass"))
    with pytest.raises(BadInput, match=r"x\.json: (not valid JSON|JSON nested too deeply|not UTF-8)"):
        read_json(file)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text("{}")
    (tmp_path / "x.json").chmod(0)
    with pytest.raises(BadInput, match=r"x\.json: cannot be read: Permission denied"):
        read_json(tmp_path / "x.json")


def test_a_name_that_is_too_long_is_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read: File name too long"):
        read_json(tmp_path / ("x" * 300))


@pytest.mark.parametrize("content", ["", "[", "{}", '{"success": 1}'])
def test_through_the_command_line(project: Any, qure: Qure, content: str) -> None:
    project.output.mkdir(parents=True)
    (project.output / "result.json").write_text(content)
    for command in ("precompute", "train"):
        code, said = qure(command, "--training-set", "fashioniq")
        assert code == 2
        assert "artifacts/fashioniq/validation/result.json" in said
    assert project.written() == {"fashioniq/validation/result.json"}

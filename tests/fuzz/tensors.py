"""safetensors files, model folders and published weights."""

import io
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from qure_tests_fuzz_damage import damaged_bytes, damaged_json, damaged_safetensors, damaged_zip
from qure_tests_fuzz_target import Target

from qure.config import BackboneSettings
from qure.evaluation.ranking.embeddings import read_embeddings, write_embeddings
from qure.features.store import FeatureStore
from qure.features.writing import Shard, StoreIdentity, read_shard_rows, write_shard, write_store
from qure.files import file_digest, read_json, write_json
from qure.models import QureModel
from qure.models.build import build_catalogue_model
from qure.models.config import QureConfig
from qure.models.lavis import convert_state_dict, expected_shapes, published_name
from qure.models.text import CaptionTokenizer
from qure.models.weights import read_pth, read_tokenizer
from qure.negatives import record, sets
from qure.serving.retriever import Retriever

#: A backbone of a few hundred numbers.
TINY = {
    "vision": {"image_size": 16, "patch_size": 8, "width": 8, "layers": 1, "heads": 2},
    "qformer": {
        "hidden": 8,
        "layers": 2,
        "heads": 2,
        "intermediate": 8,
        "query_tokens": 2,
        "embedding": 4,
        "text_tokens": 8,
    },
}
SHARD = "store/shard-00000.safetensors"


def model() -> QureModel:
    return build_catalogue_model(BackboneSettings.model_validate(TINY), ["is red", "is blue and longer"], seed=0)


def lay_model(folder: Path) -> None:
    """A model folder and a gallery."""
    model().save(folder / "model")
    (folder / "gallery").mkdir()
    vectors = np.random.default_rng(0).normal(size=(3, 2, 4)).astype(np.float32)
    write_embeddings(folder / "gallery/embeddings.safetensors", ["a", "b", "c"], vectors)
    write_json(folder / "gallery/groups.json", {"dress": ["a", "b"]})
    write_json(folder / "gallery/features.json", {"dtype": "fp16"})


def lay_store(folder: Path) -> None:
    """A feature store of two images."""
    rows = [["a", "0" * 64], ["b", "1" * 64]]
    write_shard(folder / "one", torch.zeros(2, 3, 4), rows)
    write_store(
        folder / "store",
        StoreIdentity("vision", "images", 2, "fp32", 3, 4, 2),
        [Shard(0, folder / "one", rows)],
        share=(0, 1),
    )
    (folder / "one").unlink()


def put_shard(file: Path, content: bytes) -> None:
    """The manifest says how long the shard is, and which: a stranger's would."""
    file.write_bytes(content)
    manifest = read_json(file.with_name("manifest.json"))
    manifest["shards"][file.name] |= {"bytes": len(content), "sha256": file_digest(file)}
    write_json(file.with_name("manifest.json"), manifest)


def _read_store(folder: Path) -> Any:
    store = FeatureStore.open(folder / "store")
    return store.read(store.rows(store.ids)), store.hold("memory").read([0] if len(store) else [])


def _read_embeddings(folder: Path) -> Any:
    found = read_embeddings(folder / "file")
    json.dumps(found.ids, ensure_ascii=False).encode()
    return found.vectors, found.take(found.ids)


def lay_sets(folder: Path) -> None:
    sets.HardNegatives([0, 2, 5], [3, 7, 0, 1, 9]).save(folder / "file")


def _read_sets(folder: Path) -> Any:
    found = sets.load(folder / "file")
    return [found.of(row) for row in range(len(found))], found.sizes


def mining_record() -> bytes:
    """What a mining saw of two queries in a corpus of three images."""
    two = np.arange(2, dtype=np.int64)
    columns = np.zeros((2, 1), dtype=np.int32)
    kept = record.Record(
        positions=np.arange(3, dtype=np.int64),
        scores=np.zeros((2, 3), dtype=np.float32),
        best=columns,
        hard=columns,
        hard_ranks=columns,
        edges=np.zeros((2, 4), dtype=np.float32),
        **dict.fromkeys(("target_rank", "start", "end", "first", "last", "size", "corpus_size"), two),
    )
    return saved(lambda file: record.save(file, kept, queries=["0", "1"], images=["a", "b", "c"]))


def published() -> dict[str, torch.Tensor]:
    """A state dict under the published names, of the tiny model."""
    found = {}
    for name, shape in expected_shapes(_config()).items():
        key = published_name(name)
        size = [3 * shape[0], *shape[1:]] if ".in_proj_" in key else list(shape)
        found[key] = torch.zeros(size)
    return found


def _config() -> QureConfig:
    return model().config


def _read_weights(folder: Path) -> Any:
    file = folder / "weights.pth"
    return convert_state_dict(read_pth(file), _config(), file=file)


def _read_bert(folder: Path) -> Any:
    words = read_tokenizer(folder / "words", _config())
    return words(["is red", "", "Ä \u200b !!"]), words.to_json()


def _read_words(folder: Path) -> Any:
    words = CaptionTokenizer.load(folder / "words")
    return words(["is red", ""]), words.to_json()


def lay_words(folder: Path) -> None:
    (folder / "words").mkdir()


def embeddings() -> bytes:
    """An embeddings file of two images."""
    return saved(lambda file: write_embeddings(file, ["a", "b"], np.eye(2, dtype=np.float32)))


def saved(save: Callable[[Path], Any]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save(Path(folder) / "file")
        return (Path(folder) / "file").read_bytes()


def weights(*, zipped: bool = True) -> bytes:
    """The tiny model's published state dict as torch saves it."""
    output = io.BytesIO()
    torch.save({"model": published()}, output, _use_new_zipfile_serialization=zipped)
    return output.getvalue()


TARGETS = [
    Target("embeddings", "file", (_read_embeddings,), damaged_safetensors),
    Target("hard-negatives", "file", (_read_sets,), damaged_safetensors),
    Target("mining-record", "file", (lambda folder: record.load(folder / "file"),), damaged_safetensors),
    Target(
        "feature-shard",
        SHARD,
        (_read_store, lambda folder: read_shard_rows(folder / SHARD)),
        damaged_safetensors,
        lay_store,
        put=put_shard,
    ),
    Target("feature-manifest", "store/manifest.json", (_read_store,), damaged_json, lay_store),
    Target(
        "model-tensors",
        "model/model.safetensors",
        (lambda folder: QureModel.load(folder / "model"),),
        damaged_safetensors,
        lay_model,
    ),
    Target(
        "model-dimensions",
        "model/config.json",
        (lambda folder: QureModel.load(folder / "model"),),
        damaged_json,
        lay_model,
    ),
    Target(
        "gallery-groups",
        "gallery/groups.json",
        (lambda folder: Retriever.load(folder / "model", folder / "gallery"),),
        damaged_json,
        lay_model,
    ),
    Target("tokenizer", "words/tokenizer.json", (_read_words, _read_bert), damaged_json, lay_words),
    Target("vocabulary", "words/vocab.txt", (_read_bert,), damaged_bytes, lay_words),
    Target("published-weights", "weights.pth", (_read_weights,), damaged_zip),
]

"""Writes the whole files of the corpus anew: `python -m tests.fuzz.valid` from the checkout.

Needed when a format changes. The other files of the corpus stay: they were too much for a reader once.
"""

import json
import tempfile
from pathlib import Path
from typing import Any


def write() -> None:
    """One or more `valid-*` in every target's folder."""
    for target in TARGETS:
        folder = CORPUS / target.name
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("valid-*"):
            old.unlink()
        for name, content in _contents(target).items():
            (folder / f"valid-{name}").write_bytes(content)


def _contents(target: Any) -> dict[str, bytes]:
    special = {
        "pictures": lambda: dict(pictures.pictures()),
        "embeddings": lambda: {"two": tensors.embeddings()},
        "hard-negatives": lambda: _laid(tensors.lay_sets, "file"),
        "mining-record": lambda: {"two": tensors.mining_record()},
        "tokenizer": lambda: _laid(tensors.lay_model, "model/tokenizer/tokenizer.json"),
        "vocabulary": lambda: {"vocab.txt": "\n".join(WORDS).encode()},
        "published-weights": lambda: {"zipped": tensors.weights(), "older": tensors.weights(zipped=False)},
        "argument": lambda: {"yaml": documents.PARAMS.replace("recipe.yaml", "catalogue").encode()},
        "arms": lambda: {"yaml": documents.ARMS.encode()},
        "submission": lambda: _written(documents.submissions()),
        "statistics": lambda: _written({"three": documents.statistics()}),
        "registration": lambda: _written({"one": REGISTRATION}),
        "requests": lambda: _written(served.requests()),
    }
    if target.name in special:
        return special[target.name]()
    return _laid(target.lay, target.file)


def _laid(lay: Any, file: str) -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        lay(Path(folder))
        return {Path(file).name: (Path(folder) / file).read_bytes()}


def _written(found: dict[str, Any]) -> dict[str, bytes]:
    return {f"{name}.json": json.dumps(value).encode() for name, value in found.items()}


WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "is", "red", "blue"]
REGISTRATION = {"name": "qure-fashioniq", "version": 1, "model_fingerprint": "a", "data_fingerprint": "b"}

if __name__ == "__main__":
    import runpy

    runpy.run_path(str(Path(__file__).with_name("conftest.py")))  # loads the helpers
    import qure_tests_fuzz_documents as documents
    import qure_tests_fuzz_pictures as pictures
    import qure_tests_fuzz_served as served
    import qure_tests_fuzz_tensors as tensors
    from qure_tests_fuzz_target import CORPUS

    TARGETS = runpy.run_path(str(Path(__file__).with_name("test_fuzz.py")))["TARGETS"]
    write()

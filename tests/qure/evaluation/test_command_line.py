"""`qure evaluate-embeddings` as a person runs it: the table, the file, and mistakes named before any number."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from qure.cli import app
from qure.evaluation.ranking.embeddings import Embeddings

CATEGORIES = ("dress", "shirt", "toptee")
ASKED = [f"{category}/{row}" for category in CATEGORIES for row in range(20)]
IMAGES = [f"{category}{number:02d}" for category in CATEGORIES for number in range(30)]


@pytest.fixture
def files(tmp_path: Path, unit_embeddings: Callable[..., Embeddings]) -> Path:
    """queries.safetensors and gallery.safetensors, in order."""
    save(tmp_path / "queries.safetensors", ASKED, unit_embeddings(ASKED, 1).vectors[:, 0])
    save(tmp_path / "gallery.safetensors", IMAGES, unit_embeddings(IMAGES, 2, 3).vectors)
    return tmp_path


def save(path: Path, ids: list[str], vectors: np.ndarray) -> None:
    save_file({"embeddings": vectors}, path, metadata={"ids": json.dumps(ids)})


def arguments(root: Path, folder: Path) -> list[str]:
    found = {"root": root, "split": "val", "queries": folder / "queries.safetensors"}
    found |= {"gallery": folder / "gallery.safetensors", "output": folder / "metrics.json"}
    return [
        "evaluate-embeddings",
        "--benchmark",
        "fashioniq",
        *(x for k, v in found.items() for x in (f"--{k}", str(v))),
    ]


def test_prints_what_it_writes(fashioniq_root: Path, files: Path) -> None:
    command = [sys.executable, "-m", "qure.cli", *arguments(fashioniq_root, files)]
    done = subprocess.run([*command, "--category", "dress"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    metrics = json.loads((files / "metrics.json").read_text())
    low, high = metrics["intervals"]["recall_at_10"]
    printed = done.stdout + done.stderr
    for number in (f"{metrics['recall_at_10']:.2f}", f"{low:.2f} to {high:.2f}"):
        assert number in printed
    assert metrics["queries"] == 20


def damage_missing_query(folder: Path) -> None:
    save(folder / "queries.safetensors", ASKED[1:], np.eye(59, 16, dtype=np.float32))


def damage_missing_image(folder: Path) -> None:
    save(folder / "gallery.safetensors", IMAGES[:-2], np.ones((88, 16), dtype=np.float32))


def damage_duplicate(folder: Path) -> None:
    save(folder / "gallery.safetensors", [*IMAGES[:-1], IMAGES[0]], np.ones((90, 16), dtype=np.float32))


def damage_count(folder: Path) -> None:
    save(folder / "gallery.safetensors", IMAGES[:-1], np.ones((90, 16), dtype=np.float32))


def damage_dimension(folder: Path) -> None:
    save(folder / "gallery.safetensors", IMAGES, np.ones((90, 3, 8), dtype=np.float32))


def damage_nan(folder: Path) -> None:
    vectors = np.ones((60, 16), dtype=np.float32) / 4
    vectors[33, 5] = np.nan
    save(folder / "queries.safetensors", ASKED, vectors)


def damage_last_row(folder: Path) -> None:
    vectors = np.ones((90, 3, 16), dtype=np.float32) / 4
    vectors[-1, 2, 15] = np.inf
    save(folder / "gallery.safetensors", IMAGES, vectors)


def damage_tokens(folder: Path) -> None:
    save(folder / "queries.safetensors", ASKED, np.ones((60, 2, 16), dtype=np.float32))


def damage_ids(folder: Path) -> None:
    save_file({"embeddings": np.ones((90, 16), dtype=np.float32)}, folder / "gallery.safetensors")


def damage_file(folder: Path) -> None:
    path = folder / "gallery.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def damage_absent(folder: Path) -> None:
    (folder / "queries.safetensors").unlink()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (damage_missing_query, ["queries.safetensors", "1 of 60 needed ids have no embedding: 'dress/0'"]),
        (damage_missing_image, ["gallery.safetensors", "2 of 90 needed ids", "'toptee28', 'toptee29'"]),
        (damage_duplicate, ["gallery.safetensors", "'ids'", "more than once: 'dress00'"]),
        (damage_count, ["gallery.safetensors", "89 ids for 90 rows"]),
        (damage_dimension, ["gallery.safetensors", "dimension 8, but the queries' have dimension 16"]),
        (damage_nan, ["queries.safetensors", "row 33", "NaN or infinity in the embedding of 'shirt/13'"]),
        (damage_last_row, ["gallery.safetensors", "row 89", "NaN or infinity in the embedding of 'toptee29'"]),
        (damage_tokens, ["queries.safetensors", "2 vectors per query"]),
        (damage_ids, ["gallery.safetensors", "no 'ids' in the header", "JSON list"]),
        (damage_file, ["gallery.safetensors", "not a whole safetensors file"]),
        (damage_absent, ["queries.safetensors", "does not exist"]),
    ],
)
def test_mistakes_are_named_and_no_number_is_printed(
    fashioniq_root: Path,
    files: Path,
    damage: Callable[[Path], None],
    words: list[str],
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(files)
    with pytest.raises(SystemExit) as left:
        app(arguments(fashioniq_root, files))
    printed = capsys.readouterr()
    assert left.value.code == 2
    assert printed.out == ""
    assert "recall" not in printed.err
    assert [word for word in words if word not in printed.err] == []
    assert not (files / "metrics.json").exists()


def test_a_root_without_the_benchmark_is_named(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "empty").mkdir()
    with pytest.raises(SystemExit) as left:
        app(arguments(files / "empty", files))
    assert left.value.code == 2
    assert "cap.dress.val.json" in capsys.readouterr().err


def test_an_older_result_survives_a_mistake(
    fashioniq_root: Path, files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (files / "metrics.json").write_text("{}")
    shutil.copy(files / "queries.safetensors", files / "gallery.safetensors")
    with pytest.raises(SystemExit):
        app(arguments(fashioniq_root, files))
    assert "90 of 90 needed ids" in capsys.readouterr().err
    assert (files / "metrics.json").read_text() == "{}"

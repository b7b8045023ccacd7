"""Building an index: the same bytes each time, whole or not at all, and none that is too bad or of no use."""

import hashlib
import json
import logging
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qure.config import IndexSettings, Settings
from qure.errors import BadInput, StageFailed
from qure.evaluation.ranking.embeddings import read_embeddings, write_embeddings
from qure.serving import index_building
from qure.serving.index_building import build_index, lists_for, why_exact
from qure.serving.ivf_index import INDEX, RECORD, IvfIndex
from qure.serving.retriever import Retriever

faiss = pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'qure[index]'")

IMAGES, TOKENS, DIMENSIONS = 3000, 4, 16


def settings(**changes: object) -> IndexSettings:
    """One byte a token: what most of a build's time goes to, learning 256 centres, is done once and not four times."""
    small = {"kind": "ivf_pq", "lists": 32, "bytes_per_token": 1, "least_recall": 0, "queries": 20}
    return IndexSettings.model_validate(small | changes)


@pytest.fixture
def gallery(tmp_path: Path) -> Path:
    vectors = np.random.default_rng(0).standard_normal((IMAGES, TOKENS, DIMENSIONS)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    write_embeddings(tmp_path / "embeddings.safetensors", [f"image-{row}" for row in range(IMAGES)], vectors)
    return tmp_path


def digests(gallery: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in (gallery / INDEX).iterdir()}


def test_the_same_embeddings_give_the_same_bytes_on_one_thread_and_on_two(gallery: Path) -> None:
    threads, found = faiss.omp_get_max_threads(), []
    try:
        for count in (1, 2, 2):
            faiss.omp_set_num_threads(count)
            build_index(gallery, settings())
            found.append(digests(gallery))
            assert faiss.omp_get_max_threads() == count
    finally:
        faiss.omp_set_num_threads(threads)
    assert found[0] == found[1] == found[2]
    assert found[0].keys() == {RECORD, "part-0.faiss"}


def test_what_is_kept_says_how_it_was_made_and_names_no_path(gallery: Path) -> None:
    made = build_index(gallery, settings(), np.eye(DIMENSIONS, dtype=np.float32))
    kept = json.loads((gallery / INDEX / RECORD).read_text())
    assert kept == made.model_dump(mode="json")
    assert (kept["images"], kept["tokens"], kept["dimension"]) == (IMAGES, TOKENS, DIMENSIONS)
    assert (kept["settings"]["lists"], kept["settings"]["probes"]) == (32, 8)
    assert (kept["faiss"], kept["queries"]) == (faiss.__version__, DIMENSIONS)
    assert 0 < kept["recall_at_10"] <= 1
    assert kept["parts"] == {"part-0.faiss": (gallery / INDEX / "part-0.faiss").stat().st_size}
    for file in (gallery / INDEX).iterdir():
        assert str(gallery).encode() not in file.read_bytes()


def test_an_index_that_finds_too_little_is_refused_and_the_one_before_stays(gallery: Path) -> None:
    build_index(gallery, settings())
    before = digests(gallery)
    poor = settings(probes=1, tokens=10, images=10, least_recall=0.9)
    with pytest.raises(
        StageFailed, match=r"finds 0\.\d+ with 1 probes, less than serving\.index\.least_recall: 0\.9\. Raise"
    ):
        build_index(gallery, poor)
    assert digests(gallery) == before
    assert {path.name for path in gallery.iterdir()} == {INDEX, "embeddings.safetensors"}


def test_as_many_lists_are_looked_through_as_enough_answers_take(gallery: Path) -> None:
    found = [build_index(gallery, settings(lists=128, images=600, least_recall=least)) for least in (0.3, 0.9)]
    assert 8 <= found[0].settings.probes < found[1].settings.probes <= 128
    assert found[0].recall_at_10 >= 0.3
    assert found[1].recall_at_10 >= 0.9
    fewer = settings(lists=128, images=600, least_recall=0.9, probes=found[1].settings.probes // 2)
    with pytest.raises(StageFailed, match="less than"):
        build_index(gallery, fewer)


@pytest.mark.parametrize("moment", ["measure_recall", "write_json"])
def test_a_killed_build_leaves_no_index_and_the_next_one_cleans_up(
    gallery: Path, no_bytecode: None, moment: str
) -> None:
    """In a copy of this process, killed where that function would begin."""
    child = os.fork()
    if child == 0:
        setattr(index_building, moment, lambda *_: os.kill(os.getpid(), signal.SIGKILL))
        try:
            faiss.omp_set_num_threads(1)  # threads that a test before has begun are no part of the copy
            build_index(gallery, settings())
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    assert not (gallery / INDEX).exists()
    build_index(gallery, settings())
    assert {path.name for path in gallery.iterdir()} == {INDEX, "embeddings.safetensors"}


def test_a_disk_that_is_full_is_told(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from qure.cli.errors import ending

    def full(*_: object) -> None:
        raise RuntimeError("write error in index: 12 != 4096 (No space left on device)")

    monkeypatch.setattr(faiss, "write_index", full)
    with pytest.raises(RuntimeError) as caught:
        build_index(gallery, settings())
    end = ending(caught.value)
    assert end is not None
    assert "Make space" in end.message
    assert [path.name for path in gallery.iterdir()] == ["embeddings.safetensors"]


def test_what_does_not_fit_is_refused_before_the_work(gallery: Path) -> None:
    with pytest.raises(
        BadInput, match=r"bytes_per_token': 5 bytes do not divide 16 dimensions\. One of 1, 2, 4, 8, 16"
    ):
        build_index(gallery, settings(bytes_per_token=5))
    with pytest.raises(BadInput, match=r"12,000 vectors are too few for an index of 500 lists, which wants 19,500"):
        build_index(gallery, settings(lists=500))
    with pytest.raises(BadInput, match=r"3,000 images are no more than serving\.index\.images.*kind: exact"):
        build_index(gallery, settings(images=3000))
    with pytest.raises(BadInput, match="dimension"):
        build_index(gallery, settings(), np.eye(8, dtype=np.float32))
    assert [path.name for path in gallery.iterdir()] == ["embeddings.safetensors"]


def test_lists_follow_from_the_number_of_vectors(gallery: Path) -> None:
    embeddings = read_embeddings(gallery / "embeddings.safetensors")
    assert lists_for(settings(lists=None), embeddings) == 128
    assert why_exact(settings(lists=None), embeddings) is None
    assert lists_for(settings(lists=77), embeddings) == 77


def test_a_row_that_cannot_be_ranked_by_is_named(gallery: Path) -> None:
    file = gallery / "embeddings.safetensors"
    with file.open("r+b") as stream:
        stream.seek(file.stat().st_size - 4)
        stream.write(np.float32(np.nan).tobytes())
    with pytest.raises(BadInput, match=r"row 2999.*NaN or infinity in the embedding of 'image-2999'"):
        build_index(gallery, settings(lists=128))
    assert [path.name for path in gallery.iterdir()] == [file.name]


def test_a_served_gallery_gets_the_index_that_the_settings_want(
    served: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """With a feature store and without; the catalogue's galleries are too small unless one insists."""
    from qure.serving.gallery import write_gallery

    made = served("fashioniq")
    wanted = {"kind": "ivf_pq", "lists": 4, "bytes_per_token": 2, "images": 30, "probes": 4, "queries": 25}
    chosen = Settings.model_validate(
        {"training": {"fashioniq": {"recipe": "catalogue"}}, "serving": {"index": wanted}, "tracking": {"uri": None}}
    )
    stores = {"fashioniq": made.model.parent / "features"}
    inputs: dict[str, Any] = {"data": made.data, "model": made.model, "validation": None, "device": "cpu"}
    for name in ("small", "stored", "files"):
        (tmp_path / name).mkdir()
    with caplog.at_level(logging.WARNING, "qure"):
        write_gallery(chosen, "fashioniq", tmp_path / "small", features=stores, **inputs)
    assert "the gallery of fashioniq is searched exactly, without an index" in caplog.text
    assert not (tmp_path / "small" / INDEX).exists()
    monkeypatch.setattr(index_building, "LEAST_FOR_CENTRE", 1)
    write_gallery(chosen, "fashioniq", tmp_path / "stored", features=stores, **inputs)
    write_gallery(chosen, "fashioniq", tmp_path / "files", features=None, **inputs)
    kept = [json.loads((tmp_path / name / INDEX / RECORD).read_text()) for name in ("stored", "files")]
    assert [one["queries"] for one in kept] == [25, 25]
    assert min(one["recall_at_10"] for one in kept) >= 0.9
    retriever = Retriever.load(made.model, tmp_path / "stored")
    assert isinstance(retriever._index, IvfIndex)
    assert retriever.groups == ("dress", "shirt", "toptee")

"""An index finds what exact search finds as far as it looks, and never anything else or in another order."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from qure.config import IndexSettings
from qure.errors import BadInput, StageFailed
from qure.evaluation.ranking.embeddings import read_embeddings, write_embeddings
from qure.evaluation.ranking.flat_index import FlatIndex
from qure.evaluation.ranking.streamed import search_stored
from qure.serving import index_building
from qure.serving.index_building import build_index, measure_recall
from qure.serving.ivf_index import INDEX, RECORD, IvfIndex
from qure.serving.retriever import open_index

pytest.importorskip("faiss", reason="needs faiss-cpu: pip install 'qure[index]'")

IMAGES, TOKENS, DIMENSIONS, LISTS = 3000, 4, 16, 32
#: All lists, all vectors, all images but one: what could be missing is the one that is worst by its codes.
EVERYTHING = {"probes": LISTS, "tokens": IMAGES * TOKENS, "images": IMAGES - 1}


def unit(rows: np.ndarray) -> np.ndarray:
    found: np.ndarray = (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)
    return found


def clustered(seed: int = 0) -> np.ndarray:
    """Images in clusters; every hundredth is the same as the one before it."""
    draw = np.random.default_rng(seed)
    centres = draw.standard_normal((40, 1, DIMENSIONS))
    vectors = centres[draw.integers(40, size=IMAGES)] + 0.5 * draw.standard_normal((IMAGES, TOKENS, DIMENSIONS))
    vectors[99::100] = vectors[98::100]
    return unit(vectors)


def settings(**changes: object) -> IndexSettings:
    small = {"kind": "ivf_pq", "lists": LISTS, "bytes_per_token": 4, "probes": 4, "tokens": 200, "images": 40}
    return IndexSettings.model_validate(small | {"least_recall": 0, "queries": 20} | changes)


@pytest.fixture(scope="module")
def vectors() -> np.ndarray:
    return clustered()


@pytest.fixture(scope="module")
def queries(vectors: np.ndarray) -> torch.Tensor:
    draw = np.random.default_rng(9)
    near = vectors[::150].mean(axis=1)
    return torch.from_numpy(unit(near + 0.1 * draw.standard_normal(near.shape)))


@pytest.fixture(scope="module")
def gallery(vectors: np.ndarray, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("gallery")
    write_embeddings(folder / "embeddings.safetensors", [f"image-{row}" for row in range(IMAGES)], vectors)
    build_index(folder, settings())
    return folder


@pytest.fixture
def index(gallery: Path) -> Callable[..., IvfIndex]:
    """Settings of the search -> the gallery's index."""

    def load(**changes: object) -> IvfIndex:
        loaded = IvfIndex.load(gallery / INDEX, read_embeddings(gallery / "embeddings.safetensors"))
        return IvfIndex(loaded._vectors, loaded._parts, settings(**changes))

    return load


def answers(index: IvfIndex | FlatIndex, queries: torch.Tensor, count: int, own: torch.Tensor | None = None) -> list:
    found = index.search(queries, [count] * len(queries), [own] * len(queries))
    return [(columns.tolist(), scores.tolist()) for columns, scores in found]


@pytest.mark.parametrize("count", [1, 10, 99])
def test_who_looks_everywhere_finds_what_exact_search_finds_to_the_bit(
    index: Callable[..., IvfIndex], vectors: np.ndarray, queries: torch.Tensor, count: int
) -> None:
    """Equal images too: in the gallery's order."""
    exact = answers(FlatIndex(torch.from_numpy(vectors)), queries, count)
    assert answers(index(**EVERYTHING), queries, count) == exact
    asked = torch.from_numpy(vectors[98::100].mean(axis=1))
    found = answers(index(**EVERYTHING), asked, 10)
    assert found == answers(FlatIndex(torch.from_numpy(vectors)), asked, 10)
    pairs = [
        columns.index(row + 1) - columns.index(row) for columns, _ in found for row in columns[:-1] if row % 100 == 98
    ]
    assert len(pairs) > 20
    assert set(pairs) == {1}


def test_what_is_found_has_its_exact_score_and_its_exact_place(
    index: Callable[..., IvfIndex], vectors: np.ndarray, queries: torch.Tensor
) -> None:
    everything = answers(FlatIndex(torch.from_numpy(vectors)), queries, IMAGES)
    for (columns, scores), (all_columns, all_scores) in zip(answers(index(), queries, 10), everything, strict=True):
        exact = dict(zip(all_columns, all_scores, strict=True))
        assert scores == [exact[column] for column in columns]
        assert columns == [column for column in all_columns if column in set(columns)]


def test_whoever_looks_farther_finds_more(index: Callable[..., IvfIndex], gallery: Path, queries: torch.Tensor) -> None:
    exact, _ = search_stored(queries, read_embeddings(gallery / "embeddings.safetensors"), 10)
    looks = [
        {"probes": 1, "tokens": 30, "images": 10},
        {"probes": 4, "tokens": 200, "images": 40},
        {"probes": 16, "tokens": 2000, "images": 400},
        EVERYTHING,
    ]
    found = [measure_recall(index(**one), queries, exact) for one in looks]
    assert found == sorted(found)
    assert found[0] < 0.9 < found[2] <= found[3] == 1


def test_few_rows_of_the_embeddings_are_read(
    index: Callable[..., IvfIndex], queries: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, read = index(), []
    plain = type(opened._vectors).read
    monkeypatch.setattr(
        type(opened._vectors), "read", lambda self, start, stop: read.append(stop - start) or plain(self, start, stop)
    )
    answers(opened, queries[:1], 10)
    assert 10 <= sum(read) <= 40


@pytest.mark.parametrize("size", [5, 39, 150, 400, 1500])
def test_a_group_is_all_there_is_in_its_own_order(
    index: Callable[..., IvfIndex], vectors: np.ndarray, queries: torch.Tensor, size: int
) -> None:
    group = torch.from_numpy(np.random.default_rng(size).permutation(IMAGES)[:size])
    exact = answers(FlatIndex(torch.from_numpy(vectors)), queries, 10, group)
    found = answers(index(), queries, 10, group)
    assert all(len(columns) == min(10, size) and set(columns) <= set(group.tolist()) for columns, _ in found)
    kept = [len(set(columns) & set(best)) / len(best) for (columns, _), (best, _) in zip(found, exact, strict=True)]
    assert np.mean(kept) > 0.8
    if size <= 150:  # no more than are scored anyway, or less work than looking for them
        assert found == exact
    assert answers(index(**EVERYTHING), queries, 10, group) == exact


def test_a_group_far_from_the_query_is_found_all_the_same(
    index: Callable[..., IvfIndex], vectors: np.ndarray, queries: torch.Tensor
) -> None:
    farthest = (torch.from_numpy(vectors).mean(1) @ queries[0]).argsort()[:200]
    narrow = index(probes=1, tokens=10, images=10)
    ((columns, _),) = answers(narrow, queries[:1], 10, farthest)
    assert len(columns) == 10
    assert set(columns) <= set(farthest.tolist())


def test_more_results_than_images_are_scored_and_none(index: Callable[..., IvfIndex], queries: torch.Tensor) -> None:
    opened = index()
    assert [len(columns) for columns, _ in answers(opened, queries[:2], 500)] == [500, 500]
    assert [len(columns) for columns, _ in answers(opened, queries[:1], 10 * IMAGES)] == [IMAGES]
    none, own = opened.search(queries[:2], [10, 3], [torch.tensor([], dtype=torch.int64), torch.tensor([7, 5])])
    assert none[0].tolist() == []
    assert sorted(own[0].tolist()) == [5, 7]


def test_what_is_searched_may_lose_its_name(gallery: Path, queries: torch.Tensor, tmp_path: Path) -> None:
    """A download is removed as soon as it is loaded."""
    copy = tmp_path / "copy"
    shutil.copytree(gallery, copy)
    opened = IvfIndex.load(copy / INDEX, read_embeddings(copy / "embeddings.safetensors"))
    before = answers(opened, queries, 10)
    shutil.rmtree(copy)
    assert answers(opened, queries, 10) == before


@pytest.fixture
def copied(gallery: Path, tmp_path: Path) -> Path:
    shutil.copytree(gallery, tmp_path / "gallery")
    return tmp_path / "gallery"


def opened(gallery: Path) -> IvfIndex:
    return IvfIndex.load(gallery / INDEX, read_embeddings(gallery / "embeddings.safetensors"))


def test_an_index_of_other_embeddings_is_refused(copied: Path) -> None:
    ids = [f"image-{row}" for row in range(IMAGES)]
    for others in (clustered(seed=1), clustered()[::-1]):
        write_embeddings(copied / "embeddings.safetensors", ids, others)
        with pytest.raises(BadInput, match=r"index\.json, field 'fingerprint': the index is of other .*qure index"):
            opened(copied)
    write_embeddings(copied / "embeddings.safetensors", ids[::-1], clustered())
    with pytest.raises(BadInput, match=r"of other embeddings"):
        opened(copied)


def test_a_damaged_index_is_refused_with_the_way_out(copied: Path) -> None:
    part = copied / INDEX / "part-0.faiss"
    whole = part.read_bytes()
    for content, problem in ((whole[:-1000], "written were"), (b"x" * len(whole), "cannot read what faiss")):
        part.write_bytes(content)
        with pytest.raises(BadInput, match=rf"part-0\.faiss: .*{problem}.*qure index GALLERY; or remove it"):
            opened(copied)
    part.unlink()
    with pytest.raises(BadInput, match=r"part-0\.faiss: not there"):
        opened(copied)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "field 'format': 2 is not the format of an index"),
        ({"parts": {}}, "field 'parts'"),
        ({"dimension": 8}, "not a part of this index"),
        ({"images": IMAGES + 1}, "the parts hold 12,000 vectors, not 12,004"),
        ({"more": 1}, "field 'more'"),
    ],
)
def test_a_record_that_is_not_the_indexs_is_refused(copied: Path, change: dict[str, object], said: str) -> None:
    file = copied / INDEX / RECORD
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(BadInput, match=said):
        opened(copied)
    file.write_text("{")
    with pytest.raises(BadInput, match=r"index\.json: not valid JSON"):
        opened(copied)


def test_numbers_that_were_damaged_after_the_index_was_made_answer_nothing(copied: Path, queries: torch.Tensor) -> None:
    searched, file = opened(copied), copied / "embeddings.safetensors"
    begin = file.stat().st_size - 4 * IMAGES * TOKENS * DIMENSIONS
    with file.open("r+b") as stream:
        stream.seek(begin)
        stream.write(np.full(IMAGES * TOKENS * DIMENSIONS, np.nan, np.float32).tobytes())
    with pytest.raises(StageFailed, match="the gallery is damaged: NaN or infinity"):
        answers(searched, queries[:1], 10)


def test_an_index_that_names_an_image_that_is_not_there_answers_nothing(
    index: Callable[..., IvfIndex], queries: torch.Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Damaged:
        def search(self, *_: object, **__: object) -> tuple[np.ndarray, np.ndarray]:
            return np.array([[0.9, 0.8]], np.float32), np.array([[1, IMAGES]])

    searched = index()
    monkeypatch.setattr(searched, "_parts", [Damaged()])
    with pytest.raises(StageFailed, match=r"the index is damaged: it names image 3000 of 3,000\. .*qure index"):
        answers(searched, queries[:1], 10)


def test_without_faiss_one_line_says_what_to_install(gallery: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "faiss", None)  # what an import finds where a library is not installed
    with pytest.raises(BadInput, match=r"an index needs faiss: .*\. Install it with: pip install 'qure\[index\]'$"):
        open_index(gallery, read_embeddings(gallery / "embeddings.safetensors"), "cpu")
    with pytest.raises(BadInput, match=r"pip install 'qure\[index\]'"):
        build_index(gallery, settings())


def test_parts_answer_as_one(
    vectors: np.ndarray, gallery: Path, queries: torch.Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_embeddings(tmp_path / "embeddings.safetensors", [f"image-{row}" for row in range(IMAGES)], vectors)
    monkeypatch.setattr(index_building, "_PART_BYTES", 1000 * TOKENS * 12)
    monkeypatch.setattr(index_building, "_BLOCK_BYTES", 250 * 4 * TOKENS * DIMENSIONS)
    made = build_index(tmp_path, settings())
    assert list(made.parts) == ["part-0.faiss", "part-1.faiss", "part-2.faiss"]
    assert answers(opened(tmp_path), queries, 10) == answers(opened(gallery), queries, 10)

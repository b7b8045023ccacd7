"""People's labels beside a benchmark's files: read strictly, joined to the right queries, left out of CIRCO."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks import Scope, get_benchmark
from qure.datasets.exclusions import Exclusions
from qure.datasets.labels import labels_path, read_labels
from qure.errors import BadInput


@pytest.fixture
def root(catalogue: Path, tmp_path: Path) -> Path:
    """FashionIQ's annotations alone."""
    for folder in ("captions", "image_splits"):
        shutil.copytree(catalogue / "fashioniq" / folder, tmp_path / "fashioniq" / folder)
    shutil.copy(catalogue / "fashioniq" / "truth.json", tmp_path / "fashioniq")
    return tmp_path / "fashioniq"


def _row(query: Any, *right: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": query.query_id,
        "reference_img_id": query.reference,
        "target_img_id": query.target,
        "relative_caption": query.text,
        "gt_img_ids": [query.target, *right],
        **changes,
    }


def _write(root: Path, split: str, rows: Any) -> None:
    labels_path(root, split).write_text(json.dumps(rows))


def _further(root: Path, query: Any, count: int = 2) -> list[str]:
    gallery = get_benchmark("fashioniq").read(root, "val").galleries[query.category].ids
    return [image for image in gallery if image not in (query.target, query.reference)][:count]


def test_labels_become_answers_the_target_first(root: Path) -> None:
    benchmark = get_benchmark("fashioniq")
    before = benchmark.read(root, "val").triplets
    query, other = before[3], before[4]
    further = _further(root, query)
    _write(root, "val", [_row(query, gt_img_ids=[*further, query.target]), _row(other)])
    after = benchmark.read(root, "val").triplets
    assert after[3].answers == (query.target, *further)
    assert after[4].answers == (other.target,)
    assert [one.answers for place, one in enumerate(after) if place not in (3, 4)] == [()] * (len(before) - 2)
    assert benchmark.read(root, "val", Scope(categories=["shirt"])).triplets, (
        "labels of other categories are passed over"
    )
    assert all(not one.answers for one in benchmark.read_training(root)[0]), "val's labels are not train's"


def test_an_excluded_image_is_no_answer(root: Path) -> None:
    query = get_benchmark("fashioniq").read(root, "val").triplets[3]
    further = _further(root, query)
    _write(root, "val", [_row(query, *further)])
    left = get_benchmark("fashioniq").read(root, "val", Scope(exclusions=Exclusions(images=frozenset(further[:1]))))
    (found,) = (one for one in left.triplets if one.query_id == query.query_id)
    assert found.answers == (query.target, further[1])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"reference_img_id": "other"}, "row 0, field 'reference_img_id': must be the query's own"),
        ({"target_img_id": "other"}, "field 'target_img_id'"),
        ({"relative_caption": "is red"}, "labels are of other data"),
        ({"gt_img_ids": ["other"]}, "is not among the right answers"),
        ({"gt_img_ids": ["../x"]}, "image id"),
        ({"gt_img_ids": "x"}, "must be a list"),
        ({"id": 7}, "must be a string"),
    ],
)
def test_labels_of_other_data_are_refused(root: Path, changes: dict[str, Any], words: str) -> None:
    query = get_benchmark("fashioniq").read(root, "val").triplets[0]
    _write(root, "val", [_row(query, **changes)])
    with pytest.raises(BadInput) as caught:
        get_benchmark("fashioniq").read(root, "val")
    assert words in str(caught.value)
    assert "labels.val.json" in str(caught.value)


def test_a_query_is_labelled_once(root: Path) -> None:
    query = get_benchmark("fashioniq").read(root, "val").triplets[0]
    _write(root, "val", [_row(query), _row(query)])
    with pytest.raises(BadInput, match=r"row 1, field 'id': query .* occurs twice"):
        get_benchmark("fashioniq").read(root, "val")
    _write(root, "val", [_row(query, query.reference)])
    with pytest.raises(BadInput, match="the reference is no answer"):
        get_benchmark("fashioniq").read(root, "val")


def test_circos_own_answers_stay_alone(catalogue: Path, tmp_path: Path) -> None:
    root = tmp_path / "circo"
    shutil.copytree(catalogue / "circo", root, ignore=shutil.ignore_patterns("*.png", "*.jpg"))
    before = get_benchmark("circo").read(root, "val").triplets
    _write(root, "val", [{"id": "nothing that fits"}])
    assert get_benchmark("circo").read(root, "val").triplets == before


def test_what_is_no_file_in_the_place_of_labels_is_neither_waited_for_nor_taken_for_none(root: Path) -> None:
    os.mkfifo(labels_path(root, "val"))
    with pytest.raises(BadInput, match=r"labels\.val\.json: this is a named pipe, not a file"):
        read_labels(root, "val")
    labels_path(root, "val").unlink()
    labels_path(root, "val").symlink_to("gone.json")
    with pytest.raises(BadInput, match=r"a link to nothing: no file is at gone\.json"):
        read_labels(root, "val")
    labels_path(root, "val").unlink()
    labels_path(root, "val").mkdir()
    with pytest.raises(BadInput, match=r"this is a folder, not a file.*it may be left out"):
        read_labels(root, "val")

"""True relevance."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qure.datasets.truth import Truth, read_truth
from qure.errors import BadInput

DOCUMENT: dict[str, Any] = {
    "format": "qure-truth",
    "version": 1,
    "attributes": {"category": ["dress", "shirt"], "colour": ["red", "blue"], "sleeve": ["none", "long"]},
    "must": ["category"],
    "images": {
        "train": {"t": [0, 1, 1]},
        "val": {"a": [0, 1, 1], "b": [0, 1, 0], "c": [0, 0, 0], "d": [1, 1, 1], "e": [0, 1, 1]},
    },
    "queries": {"train": {"dress/0": [0, 0, 0]}, "val": {"dress/0": [0, 1, 1], "dress/1": [0, -1, 0]}},
}


def written(folder: Path, document: Any) -> Path:
    (folder / "truth.json").write_text(json.dumps(document), encoding="utf-8")
    return folder


@pytest.fixture
def truth(tmp_path: Path) -> Truth:
    found = read_truth(written(tmp_path, DOCUMENT))
    assert found is not None
    return found


def test_relevance_is_the_share_of_wanted_attributes_met(truth: Truth) -> None:
    relevance = truth.relevance("dress/0", ["a", "b", "c", "d", "t"])
    assert relevance.dtype == np.float32
    assert relevance.tolist() == [1.0, 0.5, 0.0, 0.0, 1.0]


def test_what_a_query_leaves_open_does_not_count(truth: Truth) -> None:
    assert truth.relevance("dress/1", ["a", "b", "c", "d"]).tolist() == [0.0, 1.0, 1.0, 0.0]
    assert truth.wanted("dress/1") == {"category": "dress", "sleeve": "none"}


def test_fully_relevant_images_are_those_of_the_queries_split(truth: Truth) -> None:
    assert truth.relevant("dress/0") == {"a", "e"}
    assert truth.attributes("d") == {"category": "shirt", "colour": "blue", "sleeve": "long"}


def test_matrix_equals_single_queries(truth: Truth) -> None:
    images = ["a", "b", "c", "d", "e"]
    matrix = truth.relevance_matrix(truth.query_ids, images)
    assert matrix.tolist() == [truth.relevance(query, images).tolist() for query in truth.query_ids]


def test_the_same_query_id_of_another_split_is_another_query(tmp_path: Path) -> None:
    train = read_truth(written(tmp_path, DOCUMENT), split="train")
    assert train is not None
    assert train.wanted("dress/0")["colour"] == "red"
    assert train.relevant("dress/0") == frozenset()


def test_real_benchmarks_have_no_truth(tmp_path: Path) -> None:
    assert read_truth(tmp_path) is None


def test_unknown_names_are_bad_input(truth: Truth, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no query 'dress/9'"):
        truth.relevance("dress/9", [])
    with pytest.raises(BadInput, match="no image 'z'"):
        truth.relevance("dress/0", ["a", "z"])
    with pytest.raises(BadInput, match="knows no split 'test'"):
        read_truth(tmp_path, split="test")


@pytest.mark.parametrize("codes", [[0, 1], [0, 1, 2], [0, 1, -1], [0, 1, "1"], [0, 1, True]])
def test_codes_outside_their_values_are_bad_input(tmp_path: Path, codes: list[Any]) -> None:
    images = {"val": {"a": codes}}
    with pytest.raises(BadInput, match=r"field 'images\.val\.a'"):
        read_truth(written(tmp_path, {**DOCUMENT, "images": images}))

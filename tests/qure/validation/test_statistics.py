"""What data is like, counted by hand."""

import pandas as pd
import pytest

from qure.validation.annotations import Annotations
from qure.validation.statistics import ASPECT_EDGES, EDGES, SIDE_EDGES, WORD_EDGES, histogram, statistics

QUERIES = {
    "queries": [
        ("train", "dress", "is red"),
        ("train", "shirt", "is red and  has a collar"),
        ("train", "shirt", None),
        ("train", None, ""),
        ("val", "dress", "is longer"),
    ],
    "unlabelled": [("test", "toptee", "is blue")],
}


@pytest.fixture
def fashioniq() -> Annotations:
    columns = ["split", "category", "captions"]
    return Annotations(
        "fashioniq", {name: pd.DataFrame(rows, columns=columns, dtype=object) for name, rows in QUERIES.items()}
    )


def filled(counts: list[int]) -> dict[int, int]:
    return {place: count for place, count in enumerate(counts) if count}


def test_queries_by_split(fashioniq: Annotations) -> None:
    found = statistics("fashioniq", [fashioniq], {})
    assert (found["version"], found["training_set"]) == (1, "fashioniq")
    assert list(found["splits"]) == ["fashioniq/train", "fashioniq/val", "fashioniq/test"]
    train = found["splits"]["fashioniq/train"]
    words = train.pop("caption_words")
    assert train == {"queries": 4, "categories": {"dress": 1, "shirt": 2}}
    assert filled(words.pop("counts")) == {0: 1, 2: 1, 6: 1}
    assert words == {"count": 3, "mean": 2.6667, "deviation": 2.4944, "quartiles": [1.0, 2.0, 4.0]}
    assert found["splits"]["fashioniq/test"]["categories"] == {"toptee": 1}


def test_images_by_split(fashioniq: Annotations) -> None:
    sizes = pd.DataFrame(
        [("train", 64.0, 128.0), ("train", 64.0, 64.0), ("train", None, 32.0), ("held", 8.0, 1.0)],
        columns=["split", "width", "height"],
    )
    found = statistics("fashioniq", [fashioniq], {"fashioniq": sizes, "cirr": sizes})["splits"]
    assert list(found) == ["fashioniq/train", "fashioniq/val", "fashioniq/test", "fashioniq/held"]
    train = found["fashioniq/train"]
    assert train["images"] == 3, "also one of which nothing is known"
    assert (train["image_width"]["mean"], train["image_height"]["mean"]) == (64.0, 96.0)
    assert train["image_aspect"]["quartiles"] == [0.625, 0.75, 0.875]
    held = found["fashioniq/held"]
    assert (held["queries"], held["images"], held["image_aspect"]["mean"]) == (0, 1, 8.0)
    assert found["fashioniq/val"]["image_width"] == {"count": 0, "counts": [0] * len(SIDE_EDGES)}


def test_a_table_that_is_a_split_by_itself_and_one_that_is_empty() -> None:
    """HP-FashionIQ's rows say no split; CIRR's withheld queries may be missing."""
    answers = Annotations("hp-fashioniq", {"answers": pd.DataFrame({"sentences": ["is red"]})})
    rows = {"queries": [("train", "on a table")], "unlabelled": list[tuple[str, str]]()}
    tables = {name: pd.DataFrame(some, columns=["split", "caption"]) for name, some in rows.items()}
    found = statistics("cirr", [answers, Annotations("cirr", tables)], {})["splits"]
    assert {name: split["queries"] for name, split in found.items()} == {"hp-fashioniq/answers": 1, "cirr/train": 1}
    assert "categories" not in found["cirr/train"]
    nothing = {name: table.iloc[:0] for name, table in tables.items()}
    assert statistics("cirr", [Annotations("cirr", nothing)], {})["splits"] == {}


@pytest.mark.parametrize(
    ("edges", "count", "first", "last"),
    [
        (WORD_EDGES, 61, [0.0, 1.0, 2.0], 60.0),
        (SIDE_EDGES, 46, [0.0, 8.0, 9.514], 16384.0),
        (ASPECT_EDGES, 66, [0.0, 0.0625, 0.0682], 16.0),
    ],
)
def test_bins_are_those_of_version_1(edges: list[float], count: int, first: list[float], last: float) -> None:
    """Other bins are another version: what was counted in these could not be compared any more."""
    assert (len(edges), edges[:3], edges[-1]) == (count, first, last)


def test_measures_have_bins() -> None:
    assert EDGES == {
        "caption_words": WORD_EDGES,
        "image_width": SIDE_EDGES,
        "image_height": SIDE_EDGES,
        "image_aspect": ASPECT_EDGES,
    }


def test_a_value_on_an_edge_begins_the_bin() -> None:
    assert histogram([0.0, 1.0, 2.0, 2.0, 9.0], [0.0, 1.0, 2.0])["counts"] == [1, 1, 3]

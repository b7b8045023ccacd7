"""A part of an evaluation on disk, and parts that are none."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from qure.benchmarks.cirr import files, protocol
from qure.config import EvaluationSettings
from qure.errors import BadInput
from qure.evaluation.parts import Part
from qure.evaluation.ranking.embeddings import Embeddings


@pytest.fixture
def saved(
    cirr_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings, tmp_path: Path
) -> Path:
    triplets, gallery = files.read_triplets(cirr_root, "val"), files.read_gallery(cirr_root, "val")
    queries = unit_embeddings([one.query_id for one in triplets], 1)
    found = protocol.evaluate(triplets, gallery, queries, unit_embeddings(gallery.ids, 2), settings=settings)
    (tmp_path / "part").mkdir()
    Part(replace(found, details={**found.details, "model": "a" * 64}), {}, {"recall_at_10": 16.9}, {"lines": 2}).save(
        tmp_path / "part"
    )
    return tmp_path / "part"


def test_a_part_is_read_as_it_was_written(saved: Path) -> None:
    part = Part.load(saved)
    assert (part.benchmark, part.model, part.controls) == ("cirr", "a" * 64, {})
    assert (part.chance, part.dropped) == ({"recall_at_10": 16.9}, {"lines": 2})


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda part: part | {"model": "b" * 64}, r"field 'model': its results are of another model"),
        (lambda part: part | {"benchmark": "circo"}, "not a part of an evaluation"),
        (lambda part: {**part, "controls": None}, "not a part of an evaluation"),
        (lambda part: [part], "not a part of an evaluation"),
    ],
)
def test_a_part_that_is_none_is_named_with_the_way_out(
    saved: Path, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    file = saved / "part.json"
    file.write_text(json.dumps(change(json.loads(file.read_text()))))
    with pytest.raises(BadInput, match=f"part.json.*{said}"):
        Part.load(saved)

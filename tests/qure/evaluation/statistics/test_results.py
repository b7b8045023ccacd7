"""Evaluations on disk: what is loaded is what was saved."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest

from qure.benchmarks.cirr import files as cirr_files
from qure.benchmarks.cirr import protocol as cirr
from qure.benchmarks.hp_fashioniq import files as hp_fashioniq_files
from qure.benchmarks.hp_fashioniq import protocol as hp_fashioniq
from qure.config import EvaluationSettings
from qure.errors import BadInput
from qure.evaluation.ranking.embeddings import Embeddings
from qure.evaluation.statistics.paired import paired_difference
from qure.evaluation.statistics.results import Evaluation, load_results, save_results, summarised


@pytest.fixture
def two(cirr_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings) -> list[Evaluation]:
    """Two models on the same queries."""
    triplets, gallery = cirr_files.read_triplets(cirr_root, "val"), cirr_files.read_gallery(cirr_root, "val")
    images = unit_embeddings(gallery.ids, 2)
    return [
        cirr.evaluate(
            triplets, gallery, unit_embeddings([one.query_id for one in triplets], seed), images, settings=settings
        )
        for seed in (1, 2)
    ]


def test_loads_what_was_saved(two: list[Evaluation], tmp_path: Path) -> None:
    two[0].save(tmp_path / "one")
    loaded = Evaluation.load(tmp_path / "one")
    pd.testing.assert_frame_equal(loaded.per_query, two[0].per_query)
    for field in ("benchmark", "split", "metrics", "intervals", "top", "measures", "strata", "cluster", "details"):
        assert getattr(loaded, field) == getattr(two[0], field), field
    assert loaded.data_fingerprint == two[0].data_fingerprint == two[1].data_fingerprint


def test_files_have_the_columns_that_are_promised_and_no_row_numbers(two: list[Evaluation], tmp_path: Path) -> None:
    two[0].save(tmp_path / "one")
    assert pq.read_schema(tmp_path / "one" / "top.parquet").names == ["query_id", "ids", "scores"]
    assert pq.read_schema(tmp_path / "one" / "per_query.parquet").names == two[0].per_query.columns.tolist()


def test_rows_keep_no_labels_of_the_table_that_they_were_taken_from(two: list[Evaluation], tmp_path: Path) -> None:
    part = replace(two[0], per_query=two[0].per_query.iloc[[3, 1]])
    part.save(tmp_path / "part")
    loaded = Evaluation.load(tmp_path / "part").per_query
    assert loaded.index.tolist() == [0, 1]
    assert loaded["query_id"].tolist() == part.per_query["query_id"].tolist()


def test_saved_evaluations_are_paired_as_they_were(
    two: list[Evaluation],
    hp_fashioniq_root: Path,
    unit_embeddings: Callable[..., Embeddings],
    settings: EvaluationSettings,
    tmp_path: Path,
) -> None:
    pairs = hp_fashioniq_files.read_pairs(hp_fashioniq_root)
    images = sorted({image for pair in pairs for image in (*pair.set_1, *pair.set_2)})
    people = [
        hp_fashioniq.evaluate(
            pairs,
            unit_embeddings([pair.query_id for pair in pairs], seed),
            unit_embeddings(images, 9),
            settings=settings,
        )
        for seed in (3, 4)
    ]
    for number in (0, 1):
        save_results(tmp_path / str(number), [two[number], people[number]])
    first, second = (load_results(tmp_path / str(number)) for number in (0, 1))
    assert list(first) == ["hp-fashioniq", "cirr"]
    for (a, b), benchmark, metric in (
        (two, "cirr", "average"),
        (people, "hp-fashioniq", "agreement"),
        (people, "hp-fashioniq", "dress_preference_rate_consistent"),
    ):
        saved = paired_difference(first[benchmark], second[benchmark], metric, seed=5)
        assert saved == paired_difference(a, b, metric, seed=5)
        assert saved.a == pytest.approx(a.metrics[metric])
        assert saved.b == pytest.approx(b.metrics[metric])
        assert saved.low <= saved.difference <= saved.high


def test_data_fingerprints_tell_questions_and_images_apart(
    cirr_root: Path, unit_embeddings: Callable[..., Embeddings], settings: EvaluationSettings
) -> None:
    triplets, gallery = cirr_files.read_triplets(cirr_root, "val"), cirr_files.read_gallery(cirr_root, "val")
    queries, images = unit_embeddings([one.query_id for one in triplets], 1), unit_embeddings(gallery.ids, 2)

    def fingerprint(count: int, digest: str) -> str:
        found = cirr.evaluate(triplets[:count], gallery, queries, images, settings=settings, images=digest)
        return found.data_fingerprint

    assert fingerprint(30, "a") == fingerprint(30, "a")
    assert len({fingerprint(30, "a"), fingerprint(29, "a"), fingerprint(30, "b")}) == 3


def test_damaged_results_are_named(two: list[Evaluation], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no evaluation is there"):
        load_results(tmp_path / "none")
    folder = tmp_path / "one"
    two[0].save(folder)
    (folder / "per_query.parquet").write_bytes(b"PAR1")
    with pytest.raises(BadInput, match=r"per_query.parquet: not a whole Parquet file"):
        Evaluation.load(folder)
    (folder / "per_query.parquet").unlink()
    with pytest.raises(BadInput, match=r"per_query.parquet: the file does not exist"):
        Evaluation.load(folder)
    two[0].save(folder)
    summary = json.loads((folder / "evaluation.json").read_text())
    del summary["intervals"]
    (folder / "evaluation.json").write_text(json.dumps(summary))
    with pytest.raises(BadInput, match=r"evaluation.json: not a whole evaluation: KeyError\('intervals'\)"):
        Evaluation.load(folder)
    (folder / "evaluation.json").write_text('{"format": 0}')
    with pytest.raises(BadInput, match="not an evaluation of format 1"):
        Evaluation.load(folder)


def test_an_evaluation_without_a_query_is_refused() -> None:
    nothing = pd.DataFrame({"query_id": [], "rank": []})
    with pytest.raises(BadInput, match="no query is left to evaluate 'cirr' on"):
        summarised("cirr", "val", nothing, [], settings=EvaluationSettings(), counts={}, top={}, data_fingerprint="x")

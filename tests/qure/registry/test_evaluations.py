"""Evaluations beside their version: kept once, given back whole, and missed by name."""

import json
import logging
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from qure.config import TrackingSettings
from qure.errors import BadInput, StageFailed
from qure.evaluation.statistics.bootstrap import Measure
from qure.evaluation.statistics.results import Evaluation, save_results
from qure.registry.evaluations import (
    LOGGED_MODEL,
    TAG,
    EvaluationLost,
    attach,
    count_judged,
    download,
    download_evaluation,
    headline,
    key_of,
    read_evaluations,
)
from qure.tracking import connect

NAME = "qure-fashioniq"


def _evaluation(benchmark: str = "fashioniq", hits: int = 5, asked: str = "this", model: str = "0f") -> Evaluation:
    table = pd.DataFrame({"query_id": [str(number) for number in range(10)]})
    table["hit"] = (np.arange(10) < hits).astype(float)
    metrics = {"recall_at_10": 10.0 * hits, "queries": 10}
    top = {str(number): [("a", 0.5), ("b", 0.25)] for number in range(10)}
    measures = (Measure("recall_at_10", "hit"),)
    return Evaluation(
        benchmark, "val", metrics, {}, table, top, measures, data_fingerprint=asked, details={"model": model}
    )


@pytest.fixture
def client(sqlite_uri: str) -> Any:
    """A registry with three versions, the first two of a run of their own each."""
    client = connect(TrackingSettings(uri=sqlite_uri))
    client.create_registered_model(NAME)
    for _ in range(3):
        run = client.create_run("0")
        client.create_model_version(NAME, source="s3://bucket/model", run_id=run.info.run_id)
    return client


@pytest.fixture
def version(client: Any) -> Callable[..., Any]:
    """Number -> the version as it is now."""
    return lambda number=1: client.get_model_version(NAME, str(number))


@pytest.fixture
def folder(tmp_path: Path) -> Callable[..., Path]:
    """Evaluations -> an evaluate stage's folder."""

    def made(*evaluations: Evaluation, name: str = "evaluation") -> Path:
        save_results(tmp_path / name / "results", evaluations)
        for file in ("metrics.json", "intervals.json"):
            (tmp_path / name / file).write_text(json.dumps({"of": name}))
        return tmp_path / name

    return made


def _artifacts(client: Any, version: Any) -> Path:
    return Path(client.get_run(version.run_id).info.artifact_uri.removeprefix("file://"))


def test_a_stages_folder_is_read_and_a_wrong_one_is_named(folder: Callable[..., Path]) -> None:
    place = folder(_evaluation(), _evaluation("cirr", 3))
    found = read_evaluations(place, "fashioniq", "0f")
    assert {name: one.metrics["recall_at_10"] for name, one in found.items()} == {"fashioniq": 50.0, "cirr": 30.0}
    with pytest.raises(BadInput, match=r"its \w+ results are of the model 0f, not of 1a"):
        read_evaluations(place, "fashioniq", "1a")
    with pytest.raises(BadInput, match="no evaluation on 'fashioniq'"):
        read_evaluations(folder(_evaluation("cirr"), name="other"), "fashioniq", "0f")
    mixed = folder(_evaluation(), _evaluation("cirr", model="1a"), name="mixed")
    with pytest.raises(BadInput, match="its cirr results are of the model 1a, not of 0f"):
        read_evaluations(mixed, "fashioniq", "0f")


def test_a_key_is_of_what_was_asked_on_the_training_sets_own_benchmark() -> None:
    def key(own: str, other: str, hits: int = 5) -> str:
        return key_of(
            {"fashioniq": _evaluation(asked=own, hits=hits), "cirr": _evaluation("cirr", asked=other)}, "cirr"
        )

    assert key("a", "x") == key("b", "x", hits=7)
    assert key("a", "x") != key("a", "y")
    assert len(key("a", "x")) == 16


def test_what_was_kept_comes_back(
    client: Any, version: Callable[..., Any], folder: Callable[..., Path], tmp_path: Path
) -> None:
    own = {"fashioniq": _evaluation(), "cirr": _evaluation("cirr", 3)}
    assert download_evaluation(client, version(), "fashioniq", "key") is None
    assert download(client, version(), "key", tmp_path) is None
    attach(client, version(), folder(*own.values()), own, "key")
    for name, one in own.items():
        found = download_evaluation(client, version(), name, "key")
        assert found is not None
        pd.testing.assert_frame_equal(found.per_query, one.per_query)
        assert (found.metrics, found.top) == (one.metrics, one.top)
    assert download_evaluation(client, version(), "fashioniq", "another key") is None
    (tmp_path / "all").mkdir()
    whole = download(client, version(), "key", tmp_path / "all")
    assert whole is not None
    assert sorted(one.name for one in (whole / "results").iterdir()) == ["cirr", "fashioniq"]
    place = _artifacts(client, version()) / version().tags[f"{TAG}key"]
    assert sorted(one.name for one in place.iterdir()) == ["intervals.json", "metrics.json", "results"]
    assert json.loads((place / "metrics.json").read_text()) == {"of": "evaluation"}


def test_a_report_that_is_kept_names_its_version(
    client: Any, version: Callable[..., Any], folder: Callable[..., Path]
) -> None:
    own = {"fashioniq": _evaluation()}
    place = folder(*own.values())
    (place / "summary.md").write_text("# Summary\n<!-- provenance -->nothing yet<!-- /provenance -->\n")
    attach(client, version(), place, own, "key")
    kept = (_artifacts(client, version()) / version().tags[f"{TAG}key"] / "summary.md").read_text()
    assert "version 1" in kept
    assert "nothing yet" not in kept
    assert "nothing yet" in (place / "summary.md").read_text(), "the stage's own stays as it is"


def test_what_is_there_and_whole_is_not_written_again(
    client: Any, version: Callable[..., Any], folder: Callable[..., Path], caplog: pytest.LogCaptureFixture
) -> None:
    own = {"fashioniq": _evaluation(), "cirr": _evaluation("cirr", 3)}
    place = folder(*own.values())
    attach(client, version(), place, own, "key")
    kept = _artifacts(client, version()) / version().tags[f"{TAG}key"]
    (kept / "metrics.json").unlink()  # so that one can see whether anything is written
    attach(client, version(), place, own, "key")
    assert not (kept / "metrics.json").exists()
    with caplog.at_level(logging.WARNING):
        shutil.rmtree(kept / "results" / "cirr")
        attach(client, version(), place, own, "key")
    assert "keeping it again" in caplog.text
    assert (kept / "metrics.json").exists()
    assert download_evaluation(client, version(), "cirr", "key") is not None
    other = folder(_evaluation(hits=6), name="other")
    attach(client, version(), other, {"fashioniq": _evaluation(hits=6)}, "key")
    found = download_evaluation(client, version(), "fashioniq", "key")
    assert found is not None
    assert found.metrics["recall_at_10"] == 60.0, "the newest of what was asked the same"


@pytest.mark.parametrize("damage", ["gone", "cut off"])
def test_files_that_are_lost_are_named(
    client: Any, version: Callable[..., Any], folder: Callable[..., Path], damage: str, tmp_path: Path
) -> None:
    own = {"fashioniq": _evaluation()}
    attach(client, version(), folder(*own.values()), own, "key")
    place = version().tags[f"{TAG}key"]
    results = _artifacts(client, version()) / place / "results"
    if damage == "gone":
        shutil.rmtree(results)
    else:
        (results / "fashioniq" / "per_query.parquet").write_bytes(b"PAR1")
    said = rf"the evaluation of {NAME} version 1 is gone or damaged, artifact {place} of run {version().run_id}: "
    with pytest.raises(EvaluationLost, match=said) as caught:
        download_evaluation(client, version(), "fashioniq", "key")
    assert isinstance(caught.value, StageFailed)
    if damage == "gone":
        with pytest.raises(EvaluationLost, match=said):
            download(client, version(), "key", tmp_path)


def test_versions_that_were_asked_the_same_are_counted(
    client: Any, version: Callable[..., Any], folder: Callable[..., Path]
) -> None:
    own = {"fashioniq": _evaluation()}
    assert count_judged(client, NAME, "key") == 0
    for number, key in ((1, "key"), (2, "key"), (3, "other"), (1, "other")):
        attach(client, version(number), folder(*own.values()), own, key)
    assert (count_judged(client, NAME, "key"), count_judged(client, NAME, "other")) == (2, 2)
    assert count_judged(client, "qure-cirr", "key") == 0


def test_the_numbers_stand_on_the_run_with_the_data_they_are_of(
    client: Any, version: Callable[..., Any], folder: Callable[..., Path]
) -> None:
    many = {f"metric_{number}": float(number) for number in range(150)}
    own = {"fashioniq": replace(_evaluation(asked="f" * 64), metrics=many)}
    assert headline(own) == {f"fashioniq/{name}": value for name, value in many.items()}
    attach(client, version(), folder(*own.values()), own, "key")
    run = client.get_run(version().run_id)
    assert {name: value for name, value in run.data.metrics.items() if "metric_" in name} == headline(own)
    assert version().tags.get(LOGGED_MODEL) is None, "such a version has no logged model: its run has them all the same"

"""Whether a first run has learned is decided by what docs/first-run.md promises; processors stand side by side."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import first_run
from benchmarks.first_run import merge, ranges, shortcomings


def _artifacts(folder: Path, **changed: float) -> Path:
    """Metrics files of a run that has learned, but for what is changed: `cirr__empty_text=60`, `fashioniq=26.9`."""
    for training_set, reached in (("fashioniq", 43.0), ("cirr", 64.0)):
        controls = {"untrained_backbone": 6.0, "shuffled_references": 21.0, "empty_text": 11.0}
        metrics = {
            training_set: {"recall_at_10": changed.get(training_set, reached)},
            "controls": {
                name: {"recall_at_10": changed.get(f"{training_set}__{name}", value)}
                for name, value in controls.items()
            },
        }
        file = folder / training_set / "evaluation" / "metrics.json"
        file.parent.mkdir(parents=True)
        file.write_text(json.dumps(metrics))
    return folder


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({}, []),
        ({"fashioniq": 27.0}, []),
        ({"fashioniq": 26.9}, ["fashioniq: R@10 26.9 is below 27"]),
        ({"cirr": 44.9}, ["cirr: R@10 44.9 is below 45"]),
        ({"cirr__untrained_backbone": 16.1}, ["cirr: R@10 64.0 is not 4 times the untrained backbone's"]),
        ({"cirr__empty_text": 64.0}, ["cirr: R@10 64.0 is not above empty_text"]),
        ({"fashioniq__shuffled_references": 50.0}, ["fashioniq: R@10 43.0 is not above shuffled_references"]),
    ],
)
def test_what_a_demo_falls_short_of(tmp_path: Path, changed: dict[str, float], says: list[str]) -> None:
    assert shortcomings(_artifacts(tmp_path, **changed)) == says


def _run(seed: int, reached: float) -> dict[str, Any]:
    judged = {"recall_at_10": reached, "ndcg_at_10": 70.0, "controls": {"empty_text": 10.0}}
    learned = {"in_batch_accuracy": 0.7, "held_out_recall_at_1": 0.3, "held_out_recall_at_5": 0.8}
    own = {"seed": seed, "instructions": "avx2"}
    return {**own, "pretraining": learned, "fashioniq": judged, "cirr": judged, "cpu_seconds": {"train": 2.0}}


def test_ranges_are_the_least_and_the_greatest() -> None:
    found = ranges([_run(0, 43.2), _run(1, 51.5)])
    assert found["fashioniq/recall_at_10"] == [43.2, 51.5]
    assert found["cirr/empty_text"] == [10.0, 10.0]


def test_a_processor_replaces_its_own_entry_and_leaves_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_run, "RESULTS", tmp_path)
    for processor, reached in (("one", 40.0), ("two", 50.0), ("one", 45.0)):
        runs = [_run(0, reached)]
        merge(_entry(processor, runs))
    kept = json.loads((tmp_path / "first_run.json").read_text())
    assert [one["measured"]["machine"]["processor"] for one in kept["processors"]] == ["one", "two"]
    assert kept["ranges"]["fashioniq/recall_at_10"] == [45.0, 50.0]


def test_a_processors_other_runs_stay_and_say_when_they_were_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(first_run, "RESULTS", tmp_path)
    merge(_entry("one", [_run(0, 40.0), _run(1, 41.0)], commit="old"))
    merge(_entry("one", [{**_run(1, 43.0), "commit": "new", "date": "later"}, _run(2, 44.0)], commit="new"))
    (kept,) = json.loads((tmp_path / "first_run.json").read_text())["processors"]
    assert [(run["seed"], run["fashioniq"]["recall_at_10"]) for run in kept["runs"]] == [
        (0, 40.0),
        (1, 43.0),
        (2, 44.0),
    ]
    assert [run.get("commit") for run in kept["runs"]] == ["old", "new", None]
    assert kept["ranges"]["fashioniq/recall_at_10"] == [40.0, 44.0]


def _entry(processor: str, runs: list[dict[str, Any]], commit: str = "a1") -> dict[str, Any]:
    measured = {"date": "2026-11-27", "commit": commit, "machine": {"processor": processor}}
    return {"ranges": ranges(runs), "runs": runs, "measured": measured}

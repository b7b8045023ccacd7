"""The ablate stage: what it writes, what it keeps, what it computes anew, and that a kill changes nothing."""

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

import qure.ablation.runs
from qure.errors import BadInput
from qure.evaluation.statistics.results import Evaluation
from qure.files import folder_digest

FILES = ["figure.png", "report.html", "results.csv", "results.json", "table.md"]


@pytest.fixture
def trainings(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """(output folder, seed) of every training that is started."""
    started: list[tuple[str, int]] = []
    train = qure.ablation.runs.train

    def counted(settings: Any, training_set: str, **arguments: Any) -> Any:
        started.append((arguments["output"].parents[1].name, settings.training_for(training_set).seed))
        return train(settings, training_set, **arguments)

    monkeypatch.setattr(qure.ablation.runs, "train", counted)
    return started


def test_writes_results_table_and_figure(done: tuple[Path, dict[str, Any]]) -> None:
    folder, returned = done
    assert sorted(file.name for file in (folder / "output").iterdir()) == FILES
    results = json.loads((folder / "output" / "results.json").read_text())
    assert results == json.loads(json.dumps(returned))
    assert [(one["arm"], one["seed"]) for one in results["runs"]] == [
        ("contrast", 0), ("contrast", 1), ("mined", 0), ("mined", 1),
    ]  # fmt: skip
    with Image.open(folder / "output" / "figure.png") as image:
        assert image.size > (600, 150)


def test_an_arm_is_the_mean_of_its_runs(done: tuple[Path, dict[str, Any]]) -> None:
    results = done[1]
    for arm in results["arms"]:
        own = [run for run in results["runs"] if run["arm"] == arm["arm"]]
        for metric in ("recall_at_10", "ndcg_at_10"):
            values = [run["metrics"][metric] for run in own]
            assert arm["metrics"][metric]["mean"] == pytest.approx(sum(values) / 2)
            assert list(arm["metrics"][metric]["values"]) == values
            assert arm["metrics"][metric]["low"] <= sum(values) / 2 <= arm["metrics"][metric]["high"]
        assert arm["false_negatives"] == pytest.approx(sum(run["negatives"]["false_negatives"] for run in own) / 2)


def test_differences_are_to_the_baseline(done: tuple[Path, dict[str, Any]]) -> None:
    folder, results = done
    baseline, mined = results["arms"]
    assert baseline["differences"] == {}
    for metric in ("recall_at_10", "ndcg_at_10"):
        found = mined["differences"][metric]
        assert found["value"] == pytest.approx(mined["metrics"][metric]["mean"] - baseline["metrics"][metric]["mean"])
        assert found["low"] <= found["value"] <= found["high"]
        assert found["verdict"] in ("below", "level", "above")
    kept = folder / "work" / "runs" / "mined" / "1" / "evaluation"
    assert Evaluation.load(kept).metrics == results["runs"][3]["metrics"]


def test_the_table_shows_every_arm_with_its_numbers(done: tuple[Path, dict[str, Any]]) -> None:
    folder, results = done
    page = (folder / "output" / "table.md").read_text()
    rows = [line for line in page.splitlines() if line.startswith("|")]
    assert all(row.count("|") == rows[0].count("|") for row in rows)
    for arm in results["arms"]:
        (row,) = [row for row in rows if row.startswith(f"| {arm['title']} |")]
        assert f"{arm['metrics']['recall_at_10']['mean']:.1f} (" in row
        assert f"{arm['false_negatives']:.2%}" in row
    assert f"{results['arms'][1]['differences']['ndcg_at_10']['value']:+.1f}" in page
    assert "by chance recall_at_10 " in page


def test_the_csv_has_a_row_per_run(done: tuple[Path, dict[str, Any]]) -> None:
    folder, results = done
    with (folder / "output" / "results.csv").open() as stream:
        rows = list(csv.DictReader(stream))
    assert [(row["arm"], row["run"]) for row in rows] == [
        ("contrast", "0"),
        ("contrast", "1"),
        ("mined", "0"),
        ("mined", "1"),
    ]
    assert float(rows[2]["ndcg_at_10"]) == results["runs"][2]["metrics"]["ndcg_at_10"]


def test_finished_runs_are_kept_and_more_can_be_added(
    world: Any, done: tuple[Path, dict[str, Any]], trainings: list[tuple[str, int]], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(done[0], tmp_path / "copy")
    again = world.ablate(tmp_path / "copy")
    assert trainings == []
    assert again == done[1]
    more = world.ablate(tmp_path / "copy", arms=["contrast", "longer"], seeds=(0,))
    assert trainings == [("longer", 0)]
    assert [arm["epochs"] for arm in more["arms"]] == [1, 2]
    assert more["arms"][1]["metrics"]["recall_at_10"]["low"] is None


def test_other_settings_or_inputs_are_computed_anew(
    world: Any, done: tuple[Path, dict[str, Any]], trainings: list[tuple[str, int]], tmp_path: Path
) -> None:
    import shutil

    shutil.copytree(done[0], tmp_path / "copy")
    world.ablate(tmp_path / "copy", arms=["contrast"], seeds=(0,), epochs=2)
    assert trainings == [("contrast", 0)]
    damaged = tmp_path / "copy" / "work" / "runs" / "mined" / "0" / "result.json"
    damaged.write_text(damaged.read_text()[:100])
    world.ablate(tmp_path / "copy", arms=["mined"])
    assert trainings == [("contrast", 0), ("mined", 0)]


@pytest.mark.parametrize("seeds", [(), (1, 1), (-1,)])
def test_seeds_must_be_different_numbers(world: Any, tmp_path: Path, seeds: tuple[int, ...]) -> None:
    with pytest.raises(BadInput, match="seeds"):
        world.ablate(tmp_path, seeds=seeds)
    assert list(tmp_path.iterdir()) == []


def test_unvalidated_data_is_refused(world: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"result\.json"):
        world.ablate(tmp_path, validation=tmp_path / "validation")
    assert not (tmp_path / "output").exists()


SCRIPT = """
import os, signal, sys
from pathlib import Path
import torch
torch.set_num_threads(1)
import yaml
import qure.ablation.runs
from qure.ablation.stage import ablate
from qure.config import Settings
plan = yaml.safe_load(sys.argv[1])
if plan["kill"]:
    from qure.training.loop import Trainer
    function, calls = Trainer._end_epoch, []
    def killing(*arguments):
        function(*arguments)
        calls.append(1)
        if len(calls) == plan["kill"]:
            os.kill(os.getpid(), signal.SIGKILL)
    Trainer._end_epoch = killing
folder, inputs = Path(plan["folder"]), {name: Path(path) for name, path in plan["inputs"].items()}
ablate(Settings.model_validate(plan["settings"]), "fashioniq", **inputs, output=folder / "output",
    work=folder / "work", arms=["contrast", "mined"], seeds=(0, 1), device="cpu")
"""


@pytest.mark.integration
def test_killed_and_started_again_it_ends_the_same(
    world: Any, done: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    def process(kill: int | None) -> int:
        plan = {
            "kill": kill,
            "inputs": {
                "data": str(world.data),
                "features": str(world.layout.training_features),
                "backbone": str(world.layout.backbone),
                "arms_file": str(world.arms_file),
            },
            "folder": str(tmp_path),
            "settings": world.settings().model_dump(mode="json"),
        }
        variables = os.environ | {"OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", SCRIPT, yaml.safe_dump(plan)]
        return subprocess.run(command, env=variables, capture_output=True, timeout=120, check=False).returncode

    assert process(kill=3) == -signal.SIGKILL  # in the third training, after its only epoch
    assert len(list((tmp_path / "work" / "runs").glob("*/*/result.json"))) == 2
    assert not (tmp_path / "output").exists()
    assert process(kill=None) == 0
    results = json.loads((tmp_path / "output" / "results.json").read_text())
    assert _timeless(results) == _timeless(json.loads(json.dumps(done[1])))
    kept = [folder_digest(root / "work" / "runs" / "mined" / "1" / "evaluation") for root in (tmp_path, done[0])]
    assert kept[0] == kept[1]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _timeless(one) for name, one in value.items() if name != "cpu_seconds"}
    return [_timeless(one) for one in value] if isinstance(value, list) else value


def test_the_tracking_server_gets_one_run_with_every_arm(
    world: Any, done: tuple[Path, dict[str, Any]], sqlite_uri: str, tmp_path: Path
) -> None:
    import shutil

    from mlflow import MlflowClient

    shutil.copytree(done[0], tmp_path / "copy")
    results = world.ablate(tmp_path / "copy", settings=world.settings(tracking={"uri": sqlite_uri}))
    client = MlflowClient(sqlite_uri)
    found = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (run,) = [one for one in found if one.data.tags.get("qure.stage") == "ablate"]
    mean = results["arms"][1]["metrics"]["ndcg_at_10"]["mean"]
    assert run.data.metrics["mined/ndcg_at_10_mean"] == pytest.approx(mean)
    seeds = {one.step: one.value for one in client.get_metric_history(run.info.run_id, "mined/ndcg_at_10")}
    assert seeds == {0: results["runs"][2]["metrics"]["ndcg_at_10"], 1: results["runs"][3]["metrics"]["ndcg_at_10"]}
    assert {one.path for one in client.list_artifacts(run.info.run_id, "ablation")} >= {"ablation/table.md"}

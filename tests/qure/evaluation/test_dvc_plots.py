"""What dvc.yaml says of plots and metrics, asked of DVC itself over the folders of real evaluations."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def project(evaluated: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project with the metrics and plots of FashionIQ, where the stages would leave them."""
    folder = tmp_path_factory.mktemp("project")
    shutil.copytree(evaluated.folder / "evaluation", folder / "artifacts" / "fashioniq" / "evaluation")
    whole = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
    chosen = {key: [one for one in whole[key] if "fashioniq" in json.dumps(one)] for key in ("plots", "metrics")}
    (folder / "dvc.yaml").write_text(yaml.safe_dump(chosen))
    _dvc(folder, "init", "--no-scm", "--quiet")
    return folder


def _dvc(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=folder,
        env={**os.environ, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_plots_show_recall_loss_and_set_size(project: Path, evaluated: Any) -> None:
    shown = json.loads(_dvc(project, "plots", "show", "--json", "--out", str(project / "shown")))
    assert "errors" not in shown, shown.get("errors")
    points = {
        name.rpartition("::")[2]: parts[0]["content"]["data"]["values"] if "content" in parts[0] else parts
        for name, parts in shown["data"].items()
    }
    recall = points["FashionIQ - recall at k"]
    assert {point["field"] for point in recall} == {
        "trained",
        "untrained_backbone",
        "shuffled_references",
        "empty_text",
    }
    metrics = json.loads((evaluated.folder / "evaluation" / "metrics.json").read_text())
    (at_10,) = [point for point in recall if point["field"] == "trained" and point["k"] == "10"]
    assert float(at_10["dvc_inferred_y_value"]) == pytest.approx(metrics["fashioniq"]["recall_at_10"])
    history = (evaluated.folder / "training" / "history.jsonl").read_text().splitlines()
    losses = [json.loads(line)["loss"] for line in history]
    assert [float(point["loss"]) for point in points["FashionIQ - training loss"]] == pytest.approx(losses)
    summary = json.loads((evaluated.folder / "training" / "summary.json").read_text())
    sizes = points["FashionIQ - hard negatives per query"]
    mean = [float(point["dvc_inferred_y_value"]) for point in sizes if point["field"] == "mean"]
    assert mean == pytest.approx([one["negatives_size_mean"] for one in summary["minings"]])
    pictures = {Path(name).name for name in points if name.endswith(".png")}
    assert pictures == {"retrieval.png", "steep-drops.png"}


def test_metrics_show(project: Path, evaluated: Any) -> None:
    shown = json.loads(_dvc(project, "metrics", "show", "--json"))
    (content,) = shown[""]["data"].values()
    assert content["data"] == json.loads((evaluated.folder / "evaluation" / "metrics.json").read_text())


def test_both_training_sets_have_the_same_plots() -> None:
    text = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())
    by_set = {
        name: sorted(
            json.dumps(one).replace(label, "").replace(name, "") for one in text["plots"] if name in json.dumps(one)
        )
        for name, label in (("fashioniq", "FashionIQ"), ("cirr", "CIRR"))
    }
    assert by_set["fashioniq"] == by_set["cirr"]
    assert sum(map(len, by_set.values())) == len(text["plots"])

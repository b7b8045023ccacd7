"""The ablation pipeline on a tiny catalogue, every task a process of its own."""

import contextlib
import io
import json
import os
from pathlib import Path

import pytest
import yaml

from pipelines.compiling import pipeline
from pipelines.config import PipelineConfig
from pipelines.local import local_config, run_locally

pytestmark = [pytest.mark.kfp_local, pytest.mark.timeout(900)]

PARAMS = {
    "catalogue": {"scale": 0.05},
    "backbone": {"pretraining": {"steps": 2, "batch_size": 8, "least_recall_at_5": 0.0}},
    "training": {"fashioniq": {"recipe": "catalogue"}, "cirr": {"recipe": "catalogue"}},
    "evaluation": {"bootstrap_samples": 100},
    "tracking": {"uri": None},
}
TASKS = {
    "resolve-inputs",
    "prepare-data",
    "prepare-backbone",
    "precompute-embeddings",
    "ablate",
    "report-outcome",
}


def test_from_a_revision_of_the_data_to_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("QURE_NOTIFICATION_URL", raising=False)
    arguments = {
        "params": yaml.safe_dump(PARAMS),
        "training_set": "fashioniq",
        "shards": 1,
        "arms": ["contrastive", "top_200"],
        "seeds": 2,
        "epochs": 1,
    }
    config = local_config(PipelineConfig.load(), image=os.environ.get("QURE_TEST_IMAGE", "localhost/qure:python"))
    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        run_locally(
            pipeline("ablation", config),
            arguments,
            runner="subprocess",
            root=tmp_path / "root",
            run="test",
            cache=False,
        )
    (folder,) = (tmp_path / "root").glob("qure-*")
    executed = {one.name for one in folder.iterdir() if "iteration" not in one.name}
    executed |= {task.name for one in folder.glob("*iteration*") for task in one.iterdir()}
    assert executed == TASKS
    results = json.loads((folder / "ablate" / "ablation" / "results.json").read_text())
    assert [(run["arm"], run["seed"]) for run in results["runs"]] == [
        (arm, seed) for arm in ("contrastive", "top_200") for seed in (0, 1)
    ]
    assert "| contrastive |" in (folder / "ablate" / "summary").read_text()
    logged = json.loads((folder / "ablate" / "executor_output.json").read_text())["artifacts"]["metrics"]
    assert {"1 best nDCG@10", "top_200"} <= logged["artifacts"][0]["metadata"].keys()

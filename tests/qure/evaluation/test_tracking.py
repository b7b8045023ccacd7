"""What the evaluate stage leaves in MLflow."""

from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qure.evaluation.findings import read_findings
from qure.evaluation.stage import evaluate


def test_the_report_is_attached_to_the_mlflow_run(
    evaluated: Any,
    sqlite_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    helper: Callable[[str], ModuleType],
) -> None:
    from mlflow import MlflowClient
    from mlflow.artifacts import download_artifacts

    monkeypatch.chdir(tmp_path)
    folder = evaluated.folder
    tracking = evaluated.settings.tracking.model_copy(update={"uri": sqlite_uri})
    with helper("small_project").undrawn():
        metrics = evaluate(
            evaluated.settings.model_copy(update={"tracking": tracking}),
            "fashioniq",
            data=evaluated.data,
            features={"fashioniq": folder / "features" / "fashioniq"},
            model=folder / "model",
            training=folder / "training",
            output=tmp_path / "evaluation",
            device="cpu",
        )
    client = MlflowClient(sqlite_uri)
    runs = client.search_runs([one.experiment_id for one in client.search_experiments()])
    (run,) = [one for one in runs if one.data.tags.get("qure.role") == "stage"]
    (parent,) = [one for one in runs if one is not run]
    assert parent.data.metrics["fashioniq/recall_at_10"] == run.data.metrics["fashioniq/recall_at_10"]
    assert run.data.metrics["fashioniq/recall_at_10"] == pytest.approx(metrics["fashioniq"]["recall_at_10"])
    assert run.data.metrics["controls/random/recall_at_10"] == pytest.approx(25.0)
    attached = {entry.path for entry in client.list_artifacts(run.info.run_id, "evaluation")}
    assert attached >= {"evaluation/report.html", "evaluation/summary.md", "evaluation/metrics.json"}
    found = download_artifacts(run_id=run.info.run_id, artifact_path="evaluation/report.html", tracking_uri=sqlite_uri)
    own, logged = (tmp_path / "evaluation" / "report.html").read_text(), Path(found).read_text()
    before, after = own.split("<!-- provenance -->")[0], own.split("<!-- /provenance -->")[1]
    assert logged.startswith(before), "the copy differs in one place only"
    assert logged.endswith(after)
    assert f"/runs/{run.info.run_id}" in logged
    assert run.info.run_id not in own, "what DVC keeps is the same for every run"
    card = download_artifacts(run_id=run.info.run_id, artifact_path="evaluation/model_card.md", tracking_uri=sqlite_uri)
    assert f"/runs/{run.info.run_id}" in Path(card).read_text()
    told = read_findings(tmp_path / "evaluation")
    assert run.data.metrics["findings"] == len(told)
    assert run.data.tags["qure.findings"] == ("; ".join(one.label for one in told) or "none")
    assert all(one.says in run.data.tags["qure.warning"] for one in told)

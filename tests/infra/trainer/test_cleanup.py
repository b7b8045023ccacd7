"""What a run has left is deleted by its id, against the cluster over HTTP."""

from typing import Any

import pytest

from infra.trainer import cleanup
from infra.trainer.cleanup import delete_jobs_of
from infra.trainer.job import TrainJobSettings, build_train_job
from qure.errors import BadInput, StageFailed

RUN = "9523e389-cba0-43a9-a4a1-94b03aa5c57f"


def make(cluster: Any, name: str, run: str) -> None:
    settings = TrainJobSettings(image="qure@sha256:" + "0" * 64, workspace_claim="w")
    cluster.jobs[name] = build_train_job(settings, name, ["train"], run=run)


def test_the_jobs_of_the_run_go_and_no_other(cluster: Any) -> None:
    make(cluster, "ours", RUN)
    make(cluster, "ours-too", RUN)
    make(cluster, "theirs", "other")
    assert delete_jobs_of(RUN) == ["ours", "ours-too"]
    assert list(cluster.jobs) == ["theirs"]
    assert cluster.deletions == [("ours", "Background"), ("ours-too", "Background")]
    assert delete_jobs_of(RUN) == []


def test_without_trainer_nothing_is_left(cluster: Any) -> None:
    cluster.trainer = False
    assert delete_jobs_of(RUN) == []


def test_an_api_that_is_away_for_a_moment_is_asked_again(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup.time, "sleep", lambda seconds: None)
    make(cluster, "ours", RUN)
    cluster.fail["GET", "/trainjobs"] = [(503, "away"), (503, "away"), (0, "")]
    cluster.fail["DELETE", "/trainjobs"] = [(503, "away"), (0, "")]
    assert delete_jobs_of(RUN) == ["ours"]
    assert cluster.jobs == {}


def test_an_api_that_stays_away_is_said_with_the_command(cluster: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cleanup.time, "sleep", lambda seconds: None)
    cluster.fail["GET", "/trainjobs"] = [(503, "away")]
    with pytest.raises(StageFailed, match=f"kubectl delete trainjob --selector qure/run-id={RUN}"):
        delete_jobs_of(RUN)


def test_a_missing_right_is_said(cluster: Any) -> None:
    text = 'trainjobs.trainer.kubeflow.org is forbidden: User "x" cannot list resource "trainjobs"'
    cluster.fail["GET", "/trainjobs"] = [(403, text)]
    with pytest.raises(BadInput, match="qure-pipelines install"):
        delete_jobs_of(RUN)

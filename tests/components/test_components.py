"""Components called as Kubeflow calls them: arguments and artifacts in, outputs and exit codes out.

The expensive ones (backbone, features, training, evaluation, registry) run in tests/pipelines/test_training.py.
"""

import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp import dsl

from components import readme

PARAMS = yaml.safe_dump(
    {
        "catalogue": {"scale": 0.02},
        "training": {"fashioniq": {"recipe": "catalogue"}, "cirr": {"recipe": "catalogue"}},
        "tracking": {"uri": None},
    }
)


@pytest.fixture(scope="session", autouse=True)
def _checked_once(checked_once: dict[str, Any]) -> None:
    """The same data is prepared several times."""


@pytest.fixture(scope="module", autouse=True)
def _dvc_by_fork(dvc_by_fork: Callable[..., None]) -> Iterator[None]:
    """Data is rendered and added several times; DVC as a process of its own is asked in test_fetch."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("qure.catalogue.fetch._dvc", dvc_by_fork)
        yield


@pytest.fixture
def call(tmp_path: Path) -> Callable[..., Any]:
    """Calls a component's function with artifacts below tmp_path; returns (result, artifacts)."""

    def run(name: str, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        made = readme.component(name)
        kinds = {"Dataset": dsl.Dataset, "Model": dsl.Model, "Artifact": dsl.Artifact, "Markdown": dsl.Markdown}
        artifacts = {}
        for port, stated in (made.component_spec.outputs or {}).items():
            kind = stated.type.split("@")[0].removeprefix("system.")
            if kind in kinds:
                artifacts[port] = kinds[kind](name=port, uri=str(tmp_path / name / port))
        return made.python_func(**arguments, **artifacts), artifacts

    return run


@pytest.fixture(scope="module")
def prepared(_dvc_by_fork: None, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The artifacts that prepare_data makes of a tiny catalogue."""
    root = tmp_path_factory.mktemp("prepared")
    artifacts: dict[str, Any] = {
        name: dsl.Dataset(name=name, uri=str(root / name)) for name in ("data", "validation")
    } | {"summary": dsl.Markdown(name="summary", uri=str(root / "summary"))}
    readme.component("prepare_data").python_func(**RENDERED, workspace="", **artifacts)
    return artifacts


INPUTS = {"params": PARAMS, "training_set": "cirr", "repository": "", "revision": "main", "shards": 3}
RENDERED = {
    "params": PARAMS,
    "training_set": "fashioniq",
    "repository": "",
    "commit": "catalogue",
    "data_hash": "",
    "code_version": "y",
}


def test_resolve_inputs_lays_single_values_over_the_text(call: Callable[..., Any]) -> None:
    (settings, *_), _ = call("resolve_inputs", **INPUTS, epochs=7)
    assert json.loads(settings)["training"] == {
        "cirr": {"overrides": {"epochs": 7}, "recipe": "catalogue"},
        "fashioniq": {"recipe": "catalogue"},
    }


def test_resolve_inputs_refuses_a_broken_text_with_line_and_key(
    call: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        call("resolve_inputs", **INPUTS | {"params": '{"training": {"cirr": {"recipe": }}'})
    assert stop.value.code == 2
    assert "line 1, column" in (said := capsys.readouterr().err.splitlines()[-1])
    assert "field 'recipe'" in said


def test_resolve_inputs_without_a_repository_is_the_catalogue(call: Callable[..., Any]) -> None:
    (_, commit, data_hash, _), _ = call("resolve_inputs", **INPUTS)
    assert (commit, data_hash) == ("catalogue", "")


def test_resolve_inputs_lists_the_shares_of_every_image_set(call: Callable[..., Any]) -> None:
    (*_, shares), _ = call("resolve_inputs", **INPUTS)
    assert shares == [
        {"image_set": image_set, "shard": shard, "shards": 3} for image_set in ("cirr", "circo") for shard in range(3)
    ]


def test_resolve_inputs_refuses_more_shares_than_a_run_can_hold(
    call: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stop:
        call("resolve_inputs", **INPUTS | {"shards": 65})
    assert stop.value.code == 2
    assert "at most 128 shares" in capsys.readouterr().err


def test_prepare_data_records_the_datas_fingerprint(prepared: dict[str, Any]) -> None:
    data = prepared["data"]
    assert data.metadata["fingerprint"].startswith("md5:")
    assert (Path(data.path) / "data" / "cirr" / "captions").is_dir()
    pointer = yaml.safe_load((Path(data.path) / "data.dvc").read_text())
    assert data.metadata["fingerprint"] == f"md5:{pointer['outs'][0]['md5']}"


def test_prepare_data_passes_good_data(prepared: dict[str, Any]) -> None:
    result = json.loads((Path(prepared["validation"].path) / "result.json").read_text())
    assert result["success"] is True
    told = f"{prepared['data'].metadata['fingerprint']} {result['fingerprint']} y"
    assert prepared["validation"].metadata["fingerprint"] == told
    assert "# Validation of fashioniq" in Path(prepared["summary"].path).read_text()


def test_prepare_data_into_a_workspace_leaves_a_pointer(call: Callable[..., Any], tmp_path: Path) -> None:
    from components.workspace import content_folder

    _, artifacts = call("prepare_data", **RENDERED, workspace=str(tmp_path / "shared"))
    assert [one.name for one in Path(artifacts["data"].path).iterdir()] == ["location.json"]
    assert content_folder(artifacts["data"].path).is_relative_to(tmp_path / "shared" / "data")
    assert (Path(artifacts["validation"].path) / "result.json").is_file()


def test_prepare_data_stops_at_bad_data_and_names_it(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from qure.catalogue.stage import render

    def broken(settings: Any, folder: Path) -> None:
        render(settings, folder)
        file = next((folder / "fashioniq" / "captions").glob("cap.dress.train.json"))
        rows = json.loads(file.read_text())
        rows[1]["target"] = "nowhere"
        file.write_text(json.dumps(rows))

    monkeypatch.setattr("qure.catalogue.fetch.render", broken)
    with pytest.raises(SystemExit) as stop:
        call("prepare_data", **RENDERED, workspace="")
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "cap.dress.train.json" in said
    assert "nowhere" in said
    assert "Traceback" not in said


@pytest.mark.parametrize(
    ("told", "state", "level"),
    [("COMPLETE", "SUCCEEDED", "INFO"), ("FAILED", "FAILED: train failed", "ERROR"), ("RUNNING", "UNKNOWN", "ERROR")],
)
def test_report_outcome_says_how_it_ended(
    call: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    told: str,
    state: str,
    level: str,
) -> None:
    """Where there is no Workflow, as on this machine; tests/infra/argo has those that there are."""
    monkeypatch.delenv("QURE_NOTIFICATION_URL", raising=False)
    monkeypatch.delenv("QURE_WORKFLOW", raising=False)
    status = dsl.PipelineTaskFinalStatus(
        state=told,
        pipeline_job_resource_name="job",
        pipeline_task_name="run",
        error_code=1,
        error_message="train failed" if told == "FAILED" else None,
    )
    told_all = {"pages": {}, "distributed": False, "jobs_namespace": "", "status": status}
    call("report_outcome", pipeline="qure-training", training_set="cirr", **told_all)
    logging.shutdown()
    assert f"{level} qure.notification: qure-training of cirr {state}" in capsys.readouterr().out


@pytest.mark.parametrize(("distributed", "expected"), [(True, [("run-7", "jobs")]), (False, [])])
def test_report_outcome_deletes_left_train_jobs_also_when_nobody_can_be_told(
    call: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, distributed: bool, expected: list[Any]
) -> None:
    """What the deletion does: tests/infra/trainer/test_cleanup.py."""
    deleted: list[Any] = []
    monkeypatch.setattr("infra.trainer.cleanup.delete_jobs_of", lambda run, namespace: deleted.append((run, namespace)))
    monkeypatch.setenv("QURE_NOTIFICATION_URL", "no address")
    monkeypatch.setenv("QURE_WORKFLOW", "qure-training-x7f2c")
    monkeypatch.setenv("QURE_PIPELINE_RUN", "run-7")
    status = dsl.PipelineTaskFinalStatus(
        state="FAILED", pipeline_job_resource_name="job", pipeline_task_name="run", error_code=1, error_message=None
    )
    told = {"pages": {}, "distributed": distributed, "jobs_namespace": "jobs", "status": status}
    with pytest.raises(SystemExit) as stop:
        call("report_outcome", pipeline="qure-training", training_set="cirr", **told)
    assert stop.value.code == 2
    assert deleted == expected


def test_train_qure_as_a_job_needs_a_workspace(
    call: Callable[..., Any],
    prepared: dict[str, Any],
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("components.shares.merge_shares", lambda shares, artifact, workspace: (Path(artifact), {}))
    backbone = dsl.Model(name="backbone", uri=str(tmp_path / "backbone"), metadata={"fingerprint": "b"})
    settings = {"namespace": "qure", "image": "x", "workspace_claim": "w", "workspace_path": str(tmp_path / "shared")}
    with pytest.raises(SystemExit) as stop:
        call(
            "train_qure",
            params=PARAMS,
            training_set="fashioniq",
            workspace="",
            distributed=settings,
            data=prepared["data"],
            validation=prepared["validation"],
            backbone=backbone,
            shares=[],
        )
    assert stop.value.code == 2
    assert "is not in the workspace" in capsys.readouterr().err

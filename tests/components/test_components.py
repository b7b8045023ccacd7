"""Components called as Kubeflow calls them: arguments and artifacts in, outputs and exit codes out.

The expensive ones (backbone, features, training, evaluation, registry) run in tests/pipelines/test_training.py.
"""

import json
import logging
from collections.abc import Callable
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


@pytest.fixture(scope="session")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> dsl.Dataset:
    """The artifact that fetch_data makes of a tiny catalogue."""
    data = dsl.Dataset(name="data", uri=str(tmp_path_factory.mktemp("fetched") / "data"))
    readme.component("fetch_data").python_func(
        params=PARAMS, repository="", commit="catalogue", data_hash="", workspace="", code_version="x", data=data
    )
    return data


def test_read_settings_lays_single_values_over_the_text(call: Callable[..., Any]) -> None:
    arguments = {"epochs": 7, "seed": -1, "backbone": "", "recipe": "", "exclude_leaked": False}
    text, _ = call("read_settings", params=PARAMS, training_set="cirr", **arguments)
    assert json.loads(text)["training"] == {
        "cirr": {"overrides": {"epochs": 7}, "recipe": "catalogue"},
        "fashioniq": {"recipe": "catalogue"},
    }


def test_read_settings_refuses_a_broken_text_with_line_and_key(
    call: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = {"epochs": 0, "seed": -1, "backbone": "", "recipe": "", "exclude_leaked": False}
    with pytest.raises(SystemExit) as stop:
        call("read_settings", params='{"training": {"cirr": {"recipe": }}', training_set="cirr", **arguments)
    assert stop.value.code == 2
    assert "line 1, column" in (said := capsys.readouterr().err.splitlines()[-1])
    assert "field 'recipe'" in said


def test_resolve_data_without_a_repository_is_the_catalogue(call: Callable[..., Any]) -> None:
    pinned, _ = call("resolve_data", params=PARAMS, repository="", revision="main")
    assert (pinned.commit, pinned.data_hash) == ("catalogue", "")


def test_fetch_data_records_the_fingerprint(fetched: dsl.Dataset) -> None:
    assert fetched.metadata["fingerprint"].startswith("md5:")
    assert (Path(fetched.path) / "data" / "cirr" / "captions").is_dir()
    pointer = yaml.safe_load((Path(fetched.path) / "data.dvc").read_text())
    assert fetched.metadata["fingerprint"] == f"md5:{pointer['outs'][0]['md5']}"


def test_fetch_data_into_a_workspace_leaves_a_pointer(call: Callable[..., Any], tmp_path: Path) -> None:
    from components.workspace import content_folder

    arguments = {"repository": "", "commit": "catalogue", "data_hash": "", "code_version": "x"}
    _, artifacts = call("fetch_data", params=PARAMS, workspace=str(tmp_path / "shared"), **arguments)
    assert [one.name for one in Path(artifacts["data"].path).iterdir()] == ["location.json"]
    assert content_folder(artifacts["data"].path).is_relative_to(tmp_path / "shared" / "data")


def test_list_shards_covers_every_image_set_and_names_its_inputs(call: Callable[..., Any]) -> None:
    listed, _ = call("list_shards", params=PARAMS, training_set="cirr", shards=3, fingerprints="a b", model="")
    assert [(item["image_set"], item["shard"], item["shards"]) for item in listed] == [
        (image_set, shard, 3) for image_set in ("cirr", "circo") for shard in range(3)
    ]
    assert len({item["inputs"] for item in listed}) == 1
    for changed in ({"fingerprints": "a c", "model": ""}, {"fingerprints": "a b", "model": "qure-cirr 2"}):
        other, _ = call("list_shards", params=PARAMS, training_set="cirr", shards=3, **changed)
        assert other[0]["inputs"] != listed[0]["inputs"]


def test_validate_dataset_passes_good_data(call: Callable[..., Any], fetched: dsl.Dataset) -> None:
    fingerprints, artifacts = call("validate_dataset", **validation_arguments(fetched))
    result = json.loads((Path(artifacts["validation"].path) / "result.json").read_text())
    assert result["success"] is True
    assert fingerprints == f"x {result['fingerprint']} y"
    assert "# Validation of fashioniq" in Path(artifacts["summary"].path).read_text()


def test_validate_dataset_stops_at_bad_data_and_names_it(
    call: Callable[..., Any], fetched: dsl.Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shutil

    broken = dsl.Dataset(name="data", uri=str(tmp_path / "broken"))
    shutil.copytree(fetched.path, broken.path)
    file = next((Path(broken.path) / "data" / "fashioniq" / "captions").glob("cap.dress.train.json"))
    rows = json.loads(file.read_text())
    rows[1]["target"] = "nowhere"
    file.write_text(json.dumps(rows))
    with pytest.raises(SystemExit) as stop:
        call("validate_dataset", **validation_arguments(broken))
    assert stop.value.code == 2
    said = capsys.readouterr().err
    assert "cap.dress.train.json" in said
    assert "nowhere" in said
    assert "Traceback" not in said


def validation_arguments(data: dsl.Dataset) -> dict[str, Any]:
    return {
        "params": PARAMS,
        "training_set": "fashioniq",
        "data_fingerprint": "x",
        "workspace": "",
        "code_version": "y",
        "data": data,
    }


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
    call: Callable[..., Any], fetched: dsl.Dataset, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    other = dsl.Dataset(name="other", uri=str(tmp_path / "other"))
    settings = {"namespace": "qure", "image": "x", "workspace_claim": "w", "workspace_path": str(tmp_path / "shared")}
    with pytest.raises(SystemExit) as stop:
        call(
            "train_qure",
            params=PARAMS,
            training_set="fashioniq",
            fingerprints="a",
            workspace="",
            distributed=settings,
            data=fetched,
            features=other,
            backbone=other,
            validation=other,
        )
    assert stop.value.code == 2
    assert "is not in the workspace" in capsys.readouterr().err

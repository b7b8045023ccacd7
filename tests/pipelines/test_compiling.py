"""The compiled pipelines: current, complete, and free of secrets."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from components import readme
from pipelines.compiling import COMPILED, PIPELINES, compile_one, compile_to, outdated, pipeline
from pipelines.config import PipelineConfig
from pipelines.placement import HANDLER, RUN_LABEL, RUN_VARIABLE, USER
from pipelines.release import Release
from qure.benchmarks import judged_on, training_sets
from qure.config import Settings
from qure.errors import BadInput

NEVER_CACHED = {"resolve-inputs", "find-champion", "promote-model", "report-outcome"}
#: What names the content of what a task without cache has found.
NAMES_CONTENT = {"prepare-data": {"commit", "data_hash"}, "fetch-champion": {"version", "fingerprint"}}


@pytest.fixture(scope="module", params=list(PIPELINES))
def compiled(request: pytest.FixtureRequest) -> tuple[dict[str, Any], dict[str, Any]]:
    spec, platform = yaml.safe_load_all((COMPILED / f"{request.param}.yaml").read_text())
    return spec, platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]


def tasks(spec: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Every task that runs a container, by name, from all levels."""
    dags = [spec["root"]["dag"], *(one["dag"] for one in spec["components"].values() if "dag" in one)]
    return {
        name: task
        for dag in dags
        for name, task in dag["tasks"].items()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    }


def test_the_compiled_files_are_current() -> None:
    assert outdated(COMPILED, PipelineConfig.load()) == {}


def test_a_change_is_noticed(tmp_path: Path) -> None:
    config = PipelineConfig.load()
    compile_to(tmp_path, config)
    (tmp_path / "training.yaml").write_text((tmp_path / "training.yaml").read_text() + "\n")
    (tmp_path / "gone.yaml").write_text("")
    assert set(outdated(tmp_path, config)) == {"training.yaml", "gone.yaml"}
    assert set(outdated(tmp_path, config.model_copy(update={"shards": 9}))) >= {f"{name}.yaml" for name in PIPELINES}


def test_every_component_is_used_by_a_pipeline() -> None:
    used = {
        name.removeprefix("comp-").replace("-", "_")
        for file in COMPILED.glob("*.yaml")
        for name in next(yaml.safe_load_all(file.read_text()))["components"]
    }
    assert set(readme.names()) <= used


def test_the_description_is_numbered_steps(compiled: tuple[dict[str, Any], Any]) -> None:
    description = compiled[0]["pipelineInfo"]["description"]
    numbers = [int(found) for found in re.findall(r"^\s*(\d+)\. ", description, re.MULTILINE)]
    assert numbers == list(range(1, len(numbers) + 1))
    assert len(numbers) >= 6


def test_every_container_is_placed(compiled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    spec, platform = compiled
    executors = spec["deploymentSpec"]["executors"]
    assert executors.keys() == platform.keys()
    for label, executor in executors.items():
        container, pod = executor["container"], platform[label]
        assert re.fullmatch(r"[^@]+@sha256:[0-9a-f]{64}", container["image"]), label
        assert {"resourceCpuLimit", "resourceMemoryLimit", "resourceCpuRequest", "resourceMemoryRequest"} <= container[
            "resources"
        ].keys()
        assert int(pod["activeDeadlineSeconds"]) > 0
        assert {"name": RUN_VARIABLE, "fieldPath": RUN_LABEL} in pod["fieldPathAsEnv"]
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert int(pod["securityContext"]["runAsUser"]) == USER
        component = re.sub(r"-\d+$", "", label.removeprefix("exec-")).replace("-", "_")
        is_handler = component == HANDLER
        wanted = [one.name for one in PipelineConfig.load().secrets_of(component)]
        named = [one["secretName"] for one in pod["secretAsEnv"]]
        assert named == (["qure-notification"] if is_handler else wanted)
        assert ("pvcMount" in pod) != is_handler
        assert pod["podMetadata"]["labels"] == {"app.kubernetes.io/part-of": "qure"}, "network policies select by it"
        assert "pip install" not in str(container["command"])


def test_gpus_tolerations_and_shared_memory_are_where_they_belong() -> None:
    spec, platform = yaml.safe_load_all((COMPILED / "training.yaml").read_text())
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    for label, executor in spec["deploymentSpec"]["executors"].items():
        # A component that is used twice: exec-evaluate, exec-evaluate-2.
        component = re.sub(r"-\d+$", "", label.removeprefix("exec-")).replace("-", "_")
        wanted = PipelineConfig.load().task(component)
        accelerator = executor["container"]["resources"].get("accelerator")
        assert (accelerator is not None) == (wanted.accelerator is not None)
        assert ("tolerations" in pods[label]) == bool(wanted.tolerations)
        assert ("emptyDirMounts" in pods[label]) == bool(wanted.shared_memory)
        if component != "report_outcome":
            assert pods[label]["pvcMount"][0]["mountPath"] == "/workspace"


def test_what_the_platform_repeats_fits_into_its_time(compiled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Argo takes whole factors only, and ends everything when the longest time since the first attempt has passed."""
    spec, platform = compiled
    for name, task in tasks(spec).items():
        label = spec["components"][task["componentRef"]["name"]]["executorLabel"]
        policy, attempts = task["retryPolicy"], int(task["retryPolicy"]["maxRetryCount"]) + 1
        assert attempts >= 2, name
        assert policy["backoffFactor"] == int(policy["backoffFactor"]) > 1
        timeout = int(platform[label]["activeDeadlineSeconds"])
        pauses = sum(
            int(policy["backoffDuration"].removesuffix("s")) * int(policy["backoffFactor"]) ** number
            for number in range(attempts - 1)
        )
        assert int(policy["backoffMaxDuration"].removesuffix("s")) >= attempts * timeout + pauses, name


def test_a_task_goes_on_asking_what_does_not_answer(compiled: tuple[dict[str, Any], Any]) -> None:
    """A stock Kubeflow Pipelines does not start a task again whose command fails."""
    for executor in compiled[0]["deploymentSpec"]["executors"].values():
        variables = {one["name"]: one["value"] for one in executor["container"]["env"]}
        assert float(variables["QURE_PATIENCE_SECONDS"]) >= 60


def test_variables_from_secrets_have_names_of_our_own(compiled: tuple[dict[str, Any], dict[str, Any]]) -> None:
    """Kubeflow's MLflow plugin sets MLFLOW_TRACKING_URI: a pod that is told one variable twice is refused."""
    for pod in compiled[1].values():
        for secret in pod["secretAsEnv"]:
            for key in secret["keyToEnv"]:
                assert key["envVar"].startswith("QURE_SECRET_")


def test_the_exit_handler_needs_nothing_that_may_be_missing(
    compiled: tuple[dict[str, Any], dict[str, Any]],
) -> None:
    """Without its claim or a secret's key a pod never starts, and nobody would be told."""
    pod = compiled[1]["exec-report-outcome"]
    (secret,) = pod["secretAsEnv"]
    assert secret["optional"] is True
    assert [key["envVar"] for key in secret["keyToEnv"]] == [
        "QURE_SECRET_QURE_NOTIFICATION_URL",
        "QURE_SECRET_QURE_NOTIFICATION_SECRET",
    ]
    fields = {one["name"]: one["fieldPath"] for one in pod["fieldPathAsEnv"]}
    assert fields["QURE_WORKFLOW"] == "metadata.labels['workflows.argoproj.io/workflow']"
    assert fields["QURE_NAMESPACE"] == "metadata.namespace"


def test_a_cached_task_reads_artifacts_of_cached_tasks_only(compiled: tuple[dict[str, Any], Any]) -> None:
    """The key holds artifacts' ids: a task without cache makes new ones in every run; nothing behind it is served."""
    spec, _ = compiled
    dags = [spec["root"]["dag"], *(one["dag"] for one in spec["components"].values() if "dag" in one)]
    read = 0
    for dag in dags:
        for name, task in dag["tasks"].items():
            for wanted in task.get("inputs", {}).get("artifacts", {}).values():
                producer = wanted.get("taskOutputArtifact", {}).get("producerTask")
                if producer is not None and is_cached(spec, task):
                    read += 1
                    assert is_cached(spec, dag["tasks"][producer]), (producer, name)
    assert read >= 8


def is_cached(spec: dict[str, Any], task: dict[str, Any]) -> bool:
    """Whether the cache may serve a task, or all tasks of a level."""
    inside = spec["components"][task["componentRef"]["name"]].get("dag")
    if inside is not None:
        return all(is_cached(spec, one) for one in inside["tasks"].values())
    return bool(task.get("cachingOptions", {}).get("enableCache"))


def test_a_cached_task_is_told_what_was_found(compiled: tuple[dict[str, Any], Any]) -> None:
    found = tasks(compiled[0])
    assert NAMES_CONTENT.keys() & found.keys()
    for name in NAMES_CONTENT.keys() & found.keys():
        taken = found[name]["inputs"]["parameters"]
        for parameter in NAMES_CONTENT[name]:
            assert taken[parameter]["taskOutputParameter"]["producerTask"] in NEVER_CACHED


def test_what_reads_or_changes_the_world_is_never_cached(compiled: tuple[dict[str, Any], Any]) -> None:
    for name, task in tasks(compiled[0]).items():
        if name in NEVER_CACHED:
            assert not task.get("cachingOptions", {}).get("enableCache"), name


def test_the_benchmarks_of_a_training_set_are_judged_side_by_side() -> None:
    """A task for each of them, none waiting for another, and one task that reads them all."""
    found = tasks(next(yaml.safe_load_all((COMPILED / "training.yaml").read_text())))
    judging = {name: task for name, task in found.items() if task["componentRef"]["name"].startswith("comp-evaluate")}
    numbers = {task["inputs"]["parameters"]["number"]["runtimeValue"]["constant"] for task in judging.values()}
    assert all(numbers == set(range(len(judged_on(name)))) for name in training_sets())
    assert not [name for name, task in judging.items() if set(task["dependentTasks"]) & judging.keys()]
    assert judging.keys() <= set(found["promote-model"]["dependentTasks"])


def test_a_form_starts_every_pipeline_with_nothing_typed(compiled: tuple[dict[str, Any], Any]) -> None:
    """A single-line input keeps one line only; a parameter without a default must be typed."""
    from components.settings import parse

    for name, parameter in compiled[0]["root"]["inputDefinitions"]["parameters"].items():
        assert "defaultValue" in parameter or parameter.get("isOptional"), name
        assert "\n" not in str(parameter.get("defaultValue", "")), name
        assert parameter["parameterType"] != "STRUCT", f"{name}: the run's page shows [object Object]"
    text = compiled[0]["root"]["inputDefinitions"]["parameters"]["params"]["defaultValue"]
    assert parse(text).training.keys() == set(training_sets())
    assert "://" not in text
    assert "code_version" not in compiled[0]["root"]["inputDefinitions"]["parameters"]


def test_no_argument_is_composed_of_others(compiled: tuple[dict[str, Any], Any]) -> None:
    """The pages show such an argument as it is written: {{$.inputs.parameters[...]}}."""
    for name, task in tasks(compiled[0]).items():
        for argument, value in task.get("inputs", {}).get("parameters", {}).items():
            assert "{{" not in str(value.get("runtimeValue", "")), (name, argument)


def test_the_version_of_the_code_is_compiled_in(tmp_path: Path) -> None:
    from pipelines.release import Release

    file = compile_one("training", PipelineConfig.load(), tmp_path / "training.yaml", Release.load("0123abc"))
    found = tasks(next(yaml.safe_load_all(file.read_text())))
    taken = found["prepare-data"]["inputs"]["parameters"]
    assert taken["code_version"]["runtimeValue"]["constant"] == "0123abc"


def test_every_folder_has_a_page_beside_it(compiled: tuple[dict[str, Any], Any]) -> None:
    """Of a folder the pages say "Directory artifact" and nothing else."""
    without = {"prepare-backbone", "fetch-champion"}
    for name, component in compiled[0]["components"].items():
        made = component.get("outputDefinitions", {}).get("artifacts", {})
        if "executorLabel" in component and made and name.removeprefix("comp-") not in without:
            assert made["summary"]["artifactType"]["schemaTitle"] == "system.Markdown", name


def test_a_run_has_one_artifact_of_metrics(compiled: tuple[dict[str, Any], Any]) -> None:
    """Each further one is a further column where runs are compared."""
    kinds = [
        artifact["artifactType"]["schemaTitle"]
        for component in compiled[0]["components"].values()
        if "executorLabel" in component
        for artifact in component.get("outputDefinitions", {}).get("artifacts", {}).values()
    ]
    assert kinds.count("system.Metrics") == 1


def test_the_runs_id_is_no_argument(compiled: tuple[dict[str, Any], Any]) -> None:
    """As an argument it would be part of every cache key."""
    assert "pipeline_job" not in json.dumps(compiled[0])


def test_secrets_of_the_environment_do_not_get_into_compiled_files(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for secret in PipelineConfig.load().secrets:
        for variable in secret.keys.values():
            monkeypatch.setenv(variable, f"sentinel-{variable}")
    monkeypatch.setenv("KF_PIPELINES_TOKEN", "sentinel-token")
    monkeypatch.setenv("QURE_PIPELINE_RUN", "sentinel-run")
    for file in compile_to(tmp_path, PipelineConfig.load()):
        assert "sentinel" not in file.read_text()
    assert outdated(tmp_path, PipelineConfig.load()) == {}


def test_a_train_job_is_configured_in_one_place(tmp_path: Path) -> None:
    values = yaml.safe_load((Path(readme.ROOT).parent / "pipelines" / "config.yaml").read_text())
    values["distributed"] = {"nodes": 2, "processes_per_node": 4}
    config = PipelineConfig.model_validate(values)
    text = compile_one("training", config, tmp_path / "training.yaml").read_text()
    spec = next(yaml.safe_load_all(text))
    stated = tasks(spec)["train-qure"]["inputs"]["parameters"]["distributed"]["runtimeValue"]["constant"]
    from infra.trainer.job import TrainJobSettings, build_train_job

    settings = TrainJobSettings.model_validate(stated)
    job = build_train_job(settings, "job", ["-m", "qure.cli"])
    assert job["spec"]["trainer"]["numNodes"] == 2
    assert job["spec"]["trainer"]["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "4"
    own = next(
        one["container"]["resources"]
        for name, one in spec["deploymentSpec"]["executors"].items()
        if name == "exec-train-qure"
    )
    assert "accelerator" not in own, "the task that starts the job and waits keeps no GPU"
    assert own["memoryLimit"] == 4.294967296


@pytest.mark.parametrize("missing", ["accelerator", "shared_memory", "service_account"])
def test_a_train_job_compiles_without(missing: str, tmp_path: Path) -> None:
    """A constant in a pipeline cannot hold null."""
    values = yaml.safe_load((Path(readme.ROOT).parent / "pipelines" / "config.yaml").read_text())
    values["distributed"] = {"nodes": 2}
    place = values["service"] if missing == "service_account" else values["tasks"]["train_qure"]
    place[missing] = None
    config = PipelineConfig.model_validate(values)
    spec = next(yaml.safe_load_all(compile_one("training", config, tmp_path / "training.yaml").read_text()))
    stated = tasks(spec)["train-qure"]["inputs"]["parameters"]["distributed"]["runtimeValue"]["constant"]
    from infra.trainer.job import TrainJobSettings

    settings = TrainJobSettings.model_validate(stated)
    assert getattr(settings, missing) is None
    assert settings.namespace is None, "the task's own"


def test_a_pipeline_that_is_none_is_refused_with_those_that_are() -> None:
    with pytest.raises(BadInput, match="no pipeline 'nothing'; there are training, evaluate_champion, ablation"):
        pipeline("nothing", PipelineConfig.load())


def test_code_that_was_installed_without_settings_proposes_the_catalogues(tmp_path: Path) -> None:
    proposed = Release.load("0123abc", tmp_path / "none.yaml")
    settings = Settings.model_validate_json(proposed.params)
    assert {name: one.recipe for name, one in settings.training.items()} == {
        "fashioniq": "catalogue",
        "cirr": "catalogue",
    }
    assert proposed.code_version == "0123abc"


def test_a_task_is_placed_on_the_nodes_and_nested_where_that_is_configured(tmp_path: Path) -> None:
    values = yaml.safe_load((Path(readme.ROOT).parent / "pipelines" / "config.yaml").read_text())
    values["tasks"]["train_qure"]["node_selector"] = {"gpu": "h100"}
    values["service"]["nest_in_kubeflow"] = True
    file = compile_one("training", PipelineConfig.model_validate(values), tmp_path / "training.yaml")
    spec, platform = yaml.safe_load_all(file.read_text())
    pods = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert pods["exec-train-qure"]["nodeSelector"] == {"labels": {"gpu": "h100"}}
    assert [name for name, pod in pods.items() if "nodeSelector" in pod] == ["exec-train-qure"]
    for name, one in spec["deploymentSpec"]["executors"].items():
        assert {"name": "QURE_NEST_IN_KUBEFLOW", "value": "true"} in one["container"]["env"], name

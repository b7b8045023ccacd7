"""The pipelines' configuration: what it takes, what it refuses, and that nothing secret can be in it."""

from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from pipelines.config import DEFAULT_CONFIG, WAITING_SECONDS, PipelineConfig, Retry, TaskName
from qure.errors import BadInput

DIGEST = "registry.test/qure@sha256:" + "a" * 64


def load(tmp_path: Path, **changes: Any) -> PipelineConfig:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump({"images": {"cpu": DIGEST, "cuda": DIGEST}} | changes))
    return PipelineConfig.load(file)


def test_the_projects_own_configuration_holds() -> None:
    config = PipelineConfig.load(DEFAULT_CONFIG)
    assert config.task("train_qure").accelerator is not None
    assert config.task("resolve_inputs").cache is False


def test_the_examples_images_are_refused_at_submission() -> None:
    with pytest.raises(BadInput, match=r"images\.cpu"):
        PipelineConfig.load().require_real_images(DEFAULT_CONFIG)


def schedule(cron: str) -> dict[str, Any]:
    """A configuration with a schedule."""
    return {"schedules": {"x": {"pipeline": "training", "training_set": "cirr", "cron": cron}}}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"images": {"cpu": "registry.test/qure:latest", "cuda": DIGEST}}, "images"),
        ({"images": {"cpu": DIGEST[:-1], "cuda": DIGEST}}, "images"),
        ({"nothing": 1}, "nothing"),
        ({"workspace": {"claim": "team.workspace"}}, "workspace.claim"),  # Kubeflow calls the volume like the claim
        ({"workspace": {"claim": "w" * 64}}, "workspace.claim"),
        ({"tasks": {"train": {}}}, "tasks.train"),
        ({"tasks": {"train_qure": {"gpu": 1}}}, "gpu"),
        ({"tasks": {"train_qure": {"cpu": {"request": "lots", "limit": "1"}}}}, "cpu.request"),
        ({"defaults": {"timeout_seconds": 0}}, "timeout_seconds"),
        ({"shards": 0}, "shards"),
        ({"shards": 129}, "less than or equal to 128"),
        ({"data": {"repository": "https://user:secret@git.test/x.git"}}, "repository"),
        (schedule("0 2 * * 0"), "cron"),
        (schedule("0 0 2 * * 7"), "maximum (6)"),
        (schedule("0 0 2 L * *"), "int from L"),
        (schedule("0 0 2 * *"), "five fields"),
        (schedule("@now"), "Unrecognized descriptor: @now"),
        (schedule("0 0 2 1-2-3 * *"), "Too many hyphens: 1-2-3"),
        (schedule("0 0 1/2/3 * * *"), "Too many slashes: 1/2/3"),
        (schedule("0 0 10-5 * * *"), "Beginning of range (10) beyond end of range (5): 10-5"),
        (schedule("0 0 0 0 * *"), "Beginning of range (0) below minimum (1): 0"),
        (schedule("0 */0 2 * * *"), "Step of range should be a positive number: */0"),
        ({"defaults": {"retry": {"backoff_factor": 1.5}}}, "backoff_factor"),
        ({"defaults": {"retry": {"longest_seconds": 60}}}, "longest_seconds"),
        ({"service": {"mlflow_page": "https://user:secret@mlflow.test"}}, "mlflow_page"),
        ({"secrets": [{"name": "Not_A_Name", "keys": {}}]}, "name"),
        ({"secrets": [{"name": "fine", "keys": {"uri": "not a variable"}}]}, "keys"),
        ({"distributed": {"nodes": 2}}, "distributed"),
    ],
)
def test_a_mistake_is_refused_and_named(tmp_path: Path, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(BadInput) as refusal:
        load(tmp_path, **changes)
    assert field in str(refusal.value)
    assert "config.yaml" in str(refusal.value)
    assert "secret@" not in str(refusal.value)


def test_a_tag_is_taken_where_it_is_allowed(tmp_path: Path) -> None:
    images = {"cpu": "localhost/qure:ci", "cuda": "localhost/qure:ci", "allow_tags": True}
    assert load(tmp_path, images=images).image("train_qure") == "localhost/qure:ci"


def test_a_tasks_own_settings_lie_over_the_defaults(tmp_path: Path) -> None:
    config = load(tmp_path, defaults={"timeout_seconds": 7}, tasks={"evaluate": {"image": "cuda"}})
    assert (config.task("evaluate").timeout_seconds, config.task("evaluate").image) == (7, "cuda")
    assert (config.task("train_qure").timeout_seconds, config.task("train_qure").image) == (7, "cpu")


def test_a_secret_reaches_the_tasks_that_are_named_or_all(tmp_path: Path) -> None:
    secrets = [{"name": "a", "keys": {"k": "A"}}, {"name": "b", "keys": {"k": "B"}, "tasks": ["prepare_data"]}]
    config = load(tmp_path, secrets=secrets)
    assert [one.name for one in config.secrets_of("prepare_data")] == ["a", "b"]
    assert [one.name for one in config.secrets_of("train_qure")] == ["a"]


@pytest.mark.parametrize("file", [DEFAULT_CONFIG, DEFAULT_CONFIG.with_name("small.yaml")])
def test_storage_credentials_reach_only_what_uses_dvc(file: Path) -> None:
    """Kubeflow's launcher runs in the same container and takes AWS_* for its own store's."""
    config = PipelineConfig.load(file)
    names = {name for name in get_args(TaskName) if "qure-storage" in {one.name for one in config.secrets_of(name)}}
    assert names == {"resolve_inputs", "prepare_data"}


def test_the_task_that_starts_a_train_job_keeps_nothing_of_a_gpu_node(tmp_path: Path) -> None:
    tasks = {"train_qure": {"image": "cuda", "accelerator": {"count": 2}, "shared_memory": "8Gi",
                            "node_selector": {"gpu": "yes"}, "tolerations": [{"key": "gpu"}]}}  # fmt: skip
    shared = {"workspace": {"claim": "w"}, "tasks": tasks}
    alone = load(tmp_path, **shared)
    assert alone.pod("train_qure") == alone.task("train_qure")
    config = load(tmp_path, **shared, distributed={"timeout_seconds": 90000})
    pod = config.pod("train_qure")
    assert (pod.image, pod.accelerator, pod.shared_memory, pod.node_selector, pod.tolerations) == (
        "cpu",
        None,
        None,
        {},
        (),
    )
    assert pod.timeout_seconds > 90000
    assert config.task("train_qure").accelerator is not None
    assert config.pod("evaluate") == config.task("evaluate")


def test_only_images_that_are_used_must_be_real(tmp_path: Path) -> None:
    example = "registry.example.com/qure@sha256:" + "0" * 64
    load(tmp_path, images={"cpu": DIGEST, "cuda": example}).require_real_images(tmp_path)
    with pytest.raises(BadInput, match=r"images\.cuda"):
        load(tmp_path, images={"cpu": DIGEST, "cuda": example}, defaults={"image": "cuda"}).require_real_images(
            tmp_path
        )


@pytest.mark.parametrize(
    "cron", ["@daily", "@every 12h", "0 0 2 ? * SUN", "0 0 2 * * MON-FRI", "0 */15 8-18 1,15 jan-mar 1-5"]
)
def test_what_the_server_takes_is_taken(tmp_path: Path, cron: str) -> None:
    schedule = {"pipeline": "training", "training_set": "cirr", "cron": cron}
    assert load(tmp_path, schedules={"x": schedule}).schedules["x"].cron == cron


def test_every_attempt_may_use_its_whole_timeout() -> None:
    """Argo counts from the first attempt's start, waiting for a node included."""
    for attempts, timeout, pauses in ((0, 60, 0), (1, 60, 30), (3, 86400, 30 + 60 + 120)):
        span = Retry(attempts=attempts, backoff_seconds=30, backoff_factor=2).span_seconds(timeout)
        assert span == (attempts + 1) * (timeout + WAITING_SECONDS) + pauses

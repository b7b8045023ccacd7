"""The whole training pipeline on a small catalogue, tasks as processes and as containers of the real image.

One run per place serves all questions that can be asked of it, and each question is asked where it costs least: every
task starts a process that imports torch. The environment of every run holds sentinel secrets.
"""

import contextlib
import io
import json
import os
import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from pipelines.compiling import pipeline
from pipelines.config import PipelineConfig
from pipelines.local import local_config, run_locally
from qure.benchmarks import get_benchmark, image_sets_of, judged_on
from qure.config import Settings
from qure.errors import StageFailed

pytestmark = pytest.mark.timeout(1800)

IMAGE = os.environ.get("QURE_TEST_IMAGE", "localhost/qure:python")
PARAMS = {
    "catalogue": {"scale": 0.1},
    "backbone": {"pretraining": {"steps": 20, "batch_size": 16, "least_recall_at_5": 0.0}},
    "training": {
        "fashioniq": {"recipe": "catalogue", "overrides": {"epochs": 2}},
        "cirr": {"recipe": "catalogue", "overrides": {"epochs": 2}},
    },
    "promotion": {"refuse_collapsed": False},  # so short a training learns nothing
}
SENTINELS = {
    "AWS_ACCESS_KEY_ID": "sentinel-access-key-3b1f",
    "AWS_SECRET_ACCESS_KEY": "sentinel-secret-key-77aa",
    "MLFLOW_TRACKING_USERNAME": "sentinel-user-90cd",
    "MLFLOW_TRACKING_PASSWORD": "sentinel-password-12ef",
}
ALWAYS = {
    "resolve-inputs",
    "find-champion",
    "promote-model",
    "report-outcome",
}
CACHED = {
    "prepare-data",
    "compare-data",
    "prepare-backbone",
    "precompute-embeddings",
    "train-qure",
    "evaluate",
    "evaluate-2",
}


@dataclass(frozen=True)
class Place:
    """Where pipelines run: with which runner, into which folder."""

    runner: Any
    training_set: str
    root: Path
    logs: list[str] = field(default_factory=list)

    def only(self, *names: str) -> None:
        """Skips the test elsewhere than in these places, for example "subprocess-cirr"."""
        if f"{self.runner}-{self.training_set}" not in names:
            pytest.skip(f"shown by {', '.join(names)}: the same components")

    def run(self, name: str = "training", *, cache: bool = True, params: dict[str, Any] | None = None) -> "Run":
        before = set(self.root.glob("qure-*")) if self.root.exists() else set()
        config = local_config(PipelineConfig.load(), image=IMAGE)
        run = f"test-{uuid.uuid4().hex[:8]}"
        arguments = {"training_set": self.training_set, "shards": 2}
        said = io.StringIO()
        error: StageFailed | None = None
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            try:
                run_locally(
                    pipeline(name, config),
                    arguments | {"params": yaml.safe_dump(params or PARAMS)},
                    runner=self.runner,
                    root=self.root,
                    run=run,
                    cache=cache,
                )
            except StageFailed as failure:
                error = failure
        (folder,) = set(self.root.glob("qure-*")) - before
        self.logs.append(said.getvalue())
        return Run(run, folder, said.getvalue(), error)


@dataclass(frozen=True)
class Run:
    """One pipeline run: its id, the folder with an entry per executed task, its log, its error."""

    id: str
    folder: Path
    log: str
    error: StageFailed | None

    def executed(self) -> set[str]:
        found = {one.name for one in self.folder.iterdir() if "iteration" not in one.name}
        return found | {task.name for one in self.folder.glob("*iteration*") for task in one.iterdir()}

    def artifact(self, task: str, name: str) -> Path:
        return self.folder / task / name


@pytest.fixture(
    scope="module",
    params=[
        # A place's tests run on one worker (tests/conftest.py) and share its first run.
        pytest.param((runner, training_set), marks=mark, id=f"{runner}-{training_set}")
        for runner, training_set, mark in (
            ("subprocess", "fashioniq", pytest.mark.kfp_local),
            ("subprocess", "cirr", pytest.mark.kfp_local),
            ("docker", "fashioniq", pytest.mark.containers),
        )
    ],
)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    runner, training_set = request.param
    if runner == "docker" and not (os.environ.get("DOCKER_HOST") and os.environ.get("QURE_TEST_IMAGE")):
        pytest.skip("needs a container engine: set DOCKER_HOST and QURE_TEST_IMAGE")
    root = tmp_path_factory.mktemp(f"{runner}-{training_set}") / "root"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{root}/mlflow.db")
        patch.setenv("OMP_NUM_THREADS", "1")
        for name, value in SENTINELS.items():
            patch.setenv(name, value)
        patch.delenv("QURE_NOTIFICATION_URL", raising=False)
        yield Place(runner, training_set, root)


@pytest.fixture(scope="module")
def first(place: Place) -> Run:
    """The first run, nothing cached."""
    run = place.run()
    assert run.error is None, run.log[-5000:]
    return run


def test_every_task_ran(first: Run) -> None:
    assert first.executed() == ALWAYS | CACHED


def test_features_were_computed_in_shards_and_merged(first: Run, place: Place) -> None:
    shards = list(first.folder.glob("*iteration*/precompute-embeddings"))
    assert len(shards) == 2 * len(image_sets_of(place.training_set))
    stores = {one.name for one in first.artifact("train-qure", "features").iterdir() if one.is_dir()}
    assert stores == set(image_sets_of(place.training_set))


def test_the_model_became_champion_and_answers(first: Run, place: Place) -> None:
    decision = json.loads(first.artifact("promote-model", "promotion").read_text())
    assert (decision["outcome"], decision["version"]) == ("promoted", 1)


def test_all_stages_are_one_mlflow_run(first: Run, place: Place) -> None:
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{place.root}/mlflow.db")
    experiments = [one.experiment_id for one in client.search_experiments()]
    runs = client.search_runs(experiments, filter_string=f"tags.`qure.pipeline_run` = '{first.id}'")
    parents = [run for run in runs if "mlflow.parentRunId" not in run.data.tags]
    assert len(parents) == 1
    stages = {run.data.tags["qure.stage"] for run in runs if run.data.tags.get("qure.role") == "stage"}
    assert stages == {"validate", "backbone", "precompute", "train", "evaluate", "register", "promote"}


def test_report_metrics_and_summary_are_shown(first: Run) -> None:
    assert "<html" in first.artifact("promote-model", "report").read_text()
    for page in ("summary", "evaluated", "registered"):
        assert "|" in first.artifact("promote-model", page).read_text()
    output = json.loads((first.folder / "promote-model" / "executor_output.json").read_text())
    logged = output["artifacts"]["metrics"]["artifacts"][0]["metadata"]
    assert next(iter(sorted(logged))) == "1 R@10"
    assert 8 <= len(logged) <= 11


def test_each_benchmark_of_the_training_set_was_judged_by_a_task_of_its_own(first: Run, place: Place) -> None:
    judged = [
        json.loads((first.artifact(task, "part") / "part.json").read_text()) for task in ("evaluate", "evaluate-2")
    ]
    assert [one["benchmark"] for one in judged] == list(judged_on(place.training_set))
    assert [bool(one["controls"]) for one in judged] == [True, False]
    evaluation = first.artifact("promote-model", "evaluation")
    found = {one.name for one in (evaluation / "results").iterdir()}
    assert found == {get_benchmark(one).folder for one in judged_on(place.training_set)}


def test_judging_side_by_side_gives_what_judging_at_one_go_gives(
    first: Run, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place.only("subprocess-cirr")
    from qure.evaluation.stage import evaluate

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    name, stores = place.training_set, first.artifact("train-qure", "features")
    evaluate(
        Settings.model_validate(PARAMS),
        name,
        data=first.artifact("prepare-data", "data") / "data",
        features={one: stores / one for one in image_sets_of(name)},
        model=first.artifact("train-qure", "model"),
        backbone=first.artifact("prepare-backbone", "backbone"),
        training=first.artifact("train-qure", "training"),
        validation=first.artifact("prepare-data", "validation"),
        output=tmp_path / "evaluation",
    )
    piped = first.artifact("promote-model", "evaluation")
    files = {one.relative_to(piped) for one in piped.rglob("*.*")}
    assert files == {one.relative_to(tmp_path / "evaluation") for one in (tmp_path / "evaluation").rglob("*.*")}
    assert [one for one in files if (piped / one).read_bytes() != (tmp_path / "evaluation" / one).read_bytes()] == []


def test_the_metrics_are_those_of_the_same_stages_without_a_pipeline(
    first: Run, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `dvc repro` does: the same stage functions, one after the other, on the same data and parameters.

    Not compared with the containers' run: other builds of torch may round otherwise.
    """
    place.only("subprocess-fashioniq")
    from qure.backbone.stage import prepare_backbone
    from qure.evaluation.stage import evaluate
    from qure.features.stage import precompute
    from qure.training.stage import train
    from qure.validation.stage import validate

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    settings, name = Settings.model_validate(PARAMS), place.training_set
    data = first.artifact("prepare-data", "data") / "data"
    validation, backbone, features = tmp_path / "validation", tmp_path / "backbone", tmp_path / "features"
    validate(settings, name, data=data, output=validation, work=tmp_path / "work")
    prepare_backbone(settings, data, backbone, validation=[validation])
    common = {"data": data, "backbone": backbone, "validation": validation}
    for image_set in image_sets_of(name):
        precompute(settings, image_set, output=features / image_set, **common)
    train(settings, name, features=features / name, output=tmp_path, work=tmp_path / "train", **common)
    metrics = evaluate(
        settings,
        name,
        features={one: features / one for one in image_sets_of(name)},
        model=tmp_path / "model",
        training=tmp_path / "training",
        output=tmp_path / "evaluation",
        **common,
    )
    piped = json.loads((first.artifact("promote-model", "evaluation") / "metrics.json").read_text())
    assert piped == json.loads(json.dumps(metrics))


def test_the_same_training_runs_as_a_train_job_on_two_processes(
    first: Run, place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest's own command under torchrun (gloo); that a cluster starts it is all that is played."""
    place.only("subprocess-fashioniq")
    from infra.trainer.launch import trained_as_job

    monkeypatch.setenv("MLFLOW_TRACKING_URI", "none")
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).resolve().parents[2]))
    jobs = LocalJobs(2)
    with trained_as_job(
        {"image": IMAGE, "workspace_claim": "w", "workspace_path": str(place.root)},
        yaml.safe_dump(PARAMS),
        place.training_set,
        data=first.artifact("prepare-data", "data") / "data",
        features=first.artifact("train-qure", "features"),
        backbone=first.artifact("prepare-backbone", "backbone"),
        validation=first.artifact("prepare-data", "validation"),
        work=place.root / f"job-{tmp_path.name}",
        jobs=jobs,
    ) as output:
        assert not jobs.deleted
        assert (output / "model" / "model.safetensors").is_file()
        together = json.loads((output / "training" / "summary.json").read_text())
    assert jobs.deleted
    alone = json.loads((first.artifact("train-qure", "training") / "summary.json").read_text())
    assert together["loss"] == pytest.approx(alone["loss"], rel=0.05)


class LocalJobs:
    """Runs a train job's command on this machine when it is created, with the variables that Trainer sets."""

    def __init__(self, processes: int) -> None:
        self.processes, self.deleted = processes, False

    def owner(self, run: str) -> dict[str, Any] | None:
        return None

    def create(self, job: dict[str, Any]) -> None:
        program, *rest = job["spec"]["trainer"]["command"]
        assert program == "python"
        self.result = subprocess.run(
            [sys.executable, *rest, "--standalone", *job["spec"]["trainer"]["args"]],
            env=os.environ | {"PET_NPROC_PER_NODE": str(self.processes)},
            capture_output=True,
            text=True,
            check=False,
        )

    def conditions(self, name: str) -> dict[str, str] | None:
        return {"Failed": self.result.stderr[-2000:]} if self.result.returncode else {"Complete": ""}

    def delete(self, name: str) -> None:
        self.deleted = True

    def pods(self, name: str) -> list[Any]:
        return []

    def problems(self, name: str, *, pods_missing: bool) -> list[Any]:
        return []

    def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
        yield from self.result.stdout.splitlines()


@pytest.fixture(scope="module")
def second(first: Run, place: Place) -> Run:
    """The same again."""
    place.only("subprocess-fashioniq", "docker-fashioniq")
    run = place.run()
    assert run.error is None, run.log[-5000:]
    return run


def test_a_second_run_takes_everything_from_the_cache_that_its_inputs_decide(second: Run) -> None:
    # The champion is another than before the first run, and what data is compared with belongs to it.
    assert second.executed() == ALWAYS | {"compare-data"}


def test_a_second_run_changes_nothing(first: Run, second: Run) -> None:
    decision = json.loads(second.artifact("promote-model", "promotion").read_text())
    assert (decision["outcome"], decision["version"]) == ("champion already", 1)
    numbers = [(run.artifact("promote-model", "evaluation") / "metrics.json").read_text() for run in (first, second)]
    assert numbers[0] == numbers[1]


def test_the_champion_is_checked_on_fresh_data(first: Run, place: Place) -> None:
    place.only("subprocess-cirr")
    run = place.run("evaluate_champion")
    assert run.error is None, run.log[-5000:]
    check = json.loads(run.artifact("evaluate-champion", "check").read_text())
    assert (check["version"], check["missed"], check["drift_known"], check["drift"]) == (1, [], True, [])
    again = place.run("evaluate_champion")
    assert again.error is None, again.log[-5000:]
    assert again.executed() == {"resolve-inputs", "find-champion", "report-outcome"}, "served from the cache"


def test_a_champion_that_misses_a_threshold_turns_the_run_red(first: Run, place: Place) -> None:
    place.only("subprocess-fashioniq")
    thresholds = {place.training_set: {"recall_at_1": 99.9}}
    params = PARAMS | {"promotion": {"refuse_collapsed": False, "thresholds": thresholds}}
    run = place.run("evaluate_champion", params=params)
    assert run.error is not None
    assert "evaluate-champion" in str(run.error)
    assert json.loads(run.artifact("evaluate-champion", "check").read_text())["missed"]
    assert "FAILED" in run.log
    assert "report-outcome" in run.executed()


def test_no_secret_is_in_logs_artifacts_or_tracking(first: Run, place: Place) -> None:
    """Last, so that what all runs of this place have left is searched: artifacts, cache, MLflow's database."""
    searched = 0
    for file in place.root.rglob("*"):
        if file.is_file():
            content = file.read_bytes()
            searched += 1
            for value in SENTINELS.values():
                assert value.encode() not in content, file
    assert searched > 100
    for value in SENTINELS.values():
        assert value not in "".join(place.logs)

"""`qure-pipelines`, as a person calls it, against the stand-in for the Kubeflow Pipelines API."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Called:
    """What a command came to."""

    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Called]:
    """Calls the command line in this process: kfp is imported once for all calls."""
    from pipelines.cli import app

    monkeypatch.setenv("QURE_COMMIT", "0123456789abcdef")
    monkeypatch.setenv("COLUMNS", "200")

    def run(*arguments: str | Path) -> Called:
        code = 0
        try:
            app([str(one) for one in arguments])
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
        said = capsys.readouterr()
        return Called(code, said.out, said.err)

    return run


def test_help_names_the_commands_without_importing_kfp(call: Callable[..., Called]) -> None:
    done = call("--help")
    assert done.returncode == 0
    for command in ("compile", "submit", "resume", "schedule", "status", "delete"):
        assert command in done.stdout
    script = "import sys, pipelines.cli; sys.exit(bool({'kfp', 'torch', 'mlflow', 'yaml'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_compiling_and_checking(call: Callable[..., Called], tmp_path: Path) -> None:
    assert call("compile", "--check").returncode == 0
    missing = call("compile", "--check", "--output", tmp_path)
    assert missing.returncode == 1
    assert "run `qure-pipelines compile`" in missing.stderr


def test_example_images_are_not_submitted(call: Callable[..., Called], params_file: Path) -> None:
    done = call("submit", "--params", params_file)
    assert done.returncode == 2
    assert "images.cpu" in done.stderr


def test_submitting_twice_is_one_run(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path
) -> None:
    options = ("--config", config_file, "--params", params_file, "--training-set", "cirr")
    said = [call("submit", *options) for _ in range(2)]
    assert [one.returncode for one in said] == [0, 0], said[0].stderr
    assert "created" in said[0].stdout
    assert "unchanged" in said[1].stdout
    assert len(api.runs) == 1
    (run,) = api.runs.values()
    parameters = run["runtime_config"]["parameters"]
    assert parameters["training_set"] == "cirr"
    assert yaml.safe_load(parameters["params"])["training"]["cirr"]["recipe"] == "catalogue"


def test_schedules_become_what_the_configuration_says(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path
) -> None:
    options = ("--config", config_file, "--params", params_file)
    first, second = call("schedule", *options), call("schedule", *options)
    assert (first.returncode, second.returncode) == (0, 0), first.stderr
    assert re.findall(r": (\w+) ", first.stdout) == ["created"] * 4
    assert re.findall(r": (\w+) ", second.stdout) == ["unchanged"] * 4
    assert sorted(one["display_name"] for one in api.recurring_runs.values()) == [
        "retrain-cirr",
        "retrain-fashioniq",
        "watch-cirr",
        "watch-fashioniq",
    ]
    status = call("status", "--config", config_file)
    assert "retrain-cirr" in status.stdout
    assert "0 0 2 * * 6" in status.stdout
    assert "deleted" in call("delete", "watch-cirr", "--config", config_file).stdout
    assert "nothing is named watch-cirr" in call("delete", "watch-cirr", "--config", config_file).stdout
    assert len(api.recurring_runs) == 3


def test_an_unknown_schedule_is_the_users_mistake(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path
) -> None:
    done = call("schedule", "nightly", "--config", config_file, "--params", params_file)
    assert done.returncode == 2
    assert "retrain-cirr" in done.stderr


def test_a_password_in_params_is_not_submitted(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path
) -> None:
    values = yaml.safe_load(params_file.read_text())
    values["tracking"] = {"uri": "postgresql://qure:sentinel-password@db/mlflow"}
    params_file.write_text(yaml.safe_dump(values))
    done = call("submit", "--config", config_file, "--params", params_file)
    assert done.returncode == 2
    assert "tracking.uri" in done.stderr
    assert "sentinel-password" not in done.stdout + done.stderr
    assert api.runs == {}


def test_nothing_secret_is_sent_or_said(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_SECRET_ACCESS_KEY", "MLFLOW_TRACKING_PASSWORD", "QURE_NOTIFICATION_URL"):
        monkeypatch.setenv(name, f"sentinel-{name}")
    options = ("--config", config_file, "--params", params_file)
    said = [call("submit", *options), call("schedule", "watch-cirr", *options), call("status", "--config", config_file)]
    assert [one.returncode for one in said] == [0, 0, 0]
    sent = str(api.requests) + str(api.versions)
    assert "sentinel" not in sent + "".join(one.stdout + one.stderr for one in said)


def test_a_recipe_of_ones_own_travels_with_the_run(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path, tmp_path: Path
) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("epochs: 3\nbatch_size: 16\nlearning_rate: 0.001\n")
    params_file.write_text(f"training:\n  fashioniq: {{recipe: {recipe}}}\n")
    assert call("submit", "--config", config_file, "--params", params_file).returncode == 0
    (run,) = api.runs.values()
    text = run["runtime_config"]["parameters"]["params"]
    assert str(recipe) not in text
    from components.settings import parse
    from qure.config import Settings

    assert parse(text).training_for("fashioniq") == Settings.load(params_file).training_for("fashioniq")


def test_status_shows_what_people_and_programs_need(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path
) -> None:
    options = ("--config", config_file, "--params", params_file)
    assert call("submit", "--name", "mine", *options).returncode == 0
    (run,) = api.runs
    api.runs[run]["run_details"] = {
        "task_details": [
            {
                "run_id": run,
                "task_id": "1",
                "display_name": name,
                "state": "FAILED",
                "start_time": "2026-11-27T08:00:00Z",
                "end_time": "2026-11-27T08:06:24Z",
            }
            for name in ("train-qure", "train-qure-driver", "root", "executor(0)")
        ]
    }
    api.finish(run, "FAILED")
    shown = call("status", "mine", "--config", config_file)
    assert "tasks of mine" in shown.stdout
    assert re.search(r"train-qure +failed .*6 min 24 s", shown.stdout)
    assert "driver" not in shown.stdout
    assert "1970" not in shown.stdout
    told = json.loads(call("status", "mine", "--json", "--config", config_file).stdout)
    assert [task["name"] for task in told["runs"][0]["tasks"]] == ["train-qure"]
    assert told["runs"][0]["state"] == "failed"
    assert call("status", "--watch", "--json", "--config", config_file).returncode == 2
    assert "mine" in call("status", "--watch", "--config", config_file).stdout
    assert f"run mine: resumed {run}" in call("resume", "mine", "--config", config_file).stdout


def test_watching_ends_when_nothing_is_under_way(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pipelines.showing

    assert call("submit", "--name", "mine", "--config", config_file, "--params", params_file).returncode == 0
    (run,) = api.runs
    looked: list[float] = []

    def pass_time(seconds: float) -> None:
        looked.append(seconds)
        (api.start if len(looked) == 1 else api.finish)(run)

    monkeypatch.setattr(pipelines.showing.time, "sleep", pass_time)
    shown = call("status", "--watch", "--config", config_file)
    assert (shown.returncode, len(looked)) == (0, 2)
    assert "succeeded" in shown.stdout


def test_deleting_a_schedule_with_its_runs(
    call: Callable[..., Called], api: Any, config_file: Path, params_file: Path
) -> None:
    assert call("schedule", "watch-cirr", "--config", config_file, "--params", params_file).returncode == 0
    (schedule,) = api.recurring_runs
    run = api.fire(schedule)
    said = call("delete", "watch-cirr", "--runs", "--config", config_file).stdout
    assert f"run watch-cirr: deleted {run}" in said
    assert f"schedule watch-cirr: deleted {schedule}" in said
    assert (api.runs[run]["state"], api.runs[run]["storage_state"]) == ("CANCELING", "ARCHIVED")

"""`dvc repro` for real, in a clone of its own, on a small catalogue: killed, gone on with, and changed."""

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import requests
import yaml

if TYPE_CHECKING:
    from infra.services.services import Services

REPOSITORY = Path(__file__).resolve().parents[1]
LAST = "promote@fashioniq"
STAGES = ["validate", "precompute", "train", "evaluate", "register", "promote"]

pytestmark = [pytest.mark.integration, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone in which the chain has run once, undisturbed."""
    folder = _clone(tmp_path_factory.mktemp("undisturbed") / "qure")
    _repro(folder)
    return folder


def _clone(folder: Path) -> Path:
    """The tracked files as they are in the working tree, small settings, rendered data."""
    folder.mkdir(parents=True)
    tracked = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=REPOSITORY, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    for name in filter(None, tracked):
        if (
            name.startswith(("qure/", ".dvc/", "dvc.yaml", ".dvcignore", ".gitignore"))
            and (REPOSITORY / name).is_file()
        ):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(REPOSITORY / name, folder / name)
    params = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    params["catalogue"] = {"scale": 0.1}
    params.setdefault("backbone", {})["pretraining"] = {"steps": 20, "batch_size": 16, "least_recall_at_5": 0.0}
    params["training"]["fashioniq"]["overrides"]["epochs"] = 3
    params["evaluation"] = {"bootstrap_samples": 200}
    params["promotion"] = {"refuse_collapsed": False}  # so short a training learns nothing
    (folder / "params.yaml").write_text(yaml.safe_dump(params))
    subprocess.run(["git", "init", "-q"], cwd=folder, check=True)
    _run(folder, "qure.cli", "data", "restore")
    return folder


def _run(folder: Path, module: str, *arguments: str, **variables: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", module, *arguments],
        cwd=folder, env=_environment() | variables, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def _environment() -> dict[str, str]:
    """`qure` on the path is this interpreter's, and MLflow's default store is the clone's own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    return environment | {
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "DVC_NO_ANALYTICS": "1",
    }


def _repro(folder: Path) -> str:
    return _run(folder, "dvc", "repro", LAST)


def _outcome(folder: Path) -> dict[str, object]:
    artifacts = folder / "artifacts"
    history = (artifacts / "fashioniq" / "training" / "history.jsonl").read_text().splitlines()
    return {
        "metrics": json.loads((artifacts / "fashioniq" / "evaluation" / "metrics.json").read_text()),
        "losses": [json.loads(line).get("loss") for line in history],
        "model": json.loads((artifacts / "fashioniq" / "model" / "manifest.json").read_text())["fingerprint"],
        "backbone": json.loads((artifacts / "backbone" / "manifest.json").read_text())["fingerprint"],
    }


@pytest.fixture
def killed(tmp_path: Path) -> Path:
    """A clone in which every stage of the chain is killed once, somewhere in its middle."""
    folder = _clone(tmp_path / "qure")
    for stage in [*STAGES[:1], "backbone", *STAGES[1:]]:
        _kill_in(folder, stage)
    return folder


def _kill_in(folder: Path, stage: str) -> None:
    """Starts the chain and kills everything, with SIGKILL, shortly after a stage has begun to work."""
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", "repro", LAST],
        cwd=folder, env=_environment() | {"PYTHONDONTWRITEBYTECODE": "1"}, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    deadline = time.monotonic() + 240
    try:
        while not _is_running(stage, process.pid):
            assert process.poll() is None, f"the chain ended before {stage} was seen"
            assert time.monotonic() < deadline, f"{stage} never began"
            time.sleep(0.05)
        time.sleep(2.0)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        (folder / ".dvc" / "tmp" / "rwlock").unlink(missing_ok=True)


def _is_running(stage: str, session: int) -> bool:
    """Whether a `qure <stage>` of this session is alive (Linux: /proc)."""
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = entry.read_bytes().decode().split("\0")
            if stage in words[:3] and os.getsid(int(entry.parent.name)) == session:
                return True
        except (OSError, ProcessLookupError):
            continue
    return False


def test_killed_everywhere_and_gone_on_with_gives_the_same_result(finished: Path, killed: Path) -> None:
    _repro(killed)
    assert _outcome(killed) == _outcome(finished)
    assert [path for path in killed.rglob("*.partial") if ".dvc" not in path.parts] == []


def test_a_second_run_does_nothing(finished: Path) -> None:
    assert "Data and pipelines are up to date." in _repro(finished)


def test_a_change_of_training_begins_with_training(finished: Path) -> None:
    changed = {"recipe": "qure/recipes/catalogue.yaml", "overrides": {"epochs": 2}}
    with _changed(finished, "training", {"fashioniq": changed}):
        assert _stages(_run(finished, "dvc", "repro", "--dry", LAST)) == ["train@fashioniq"]


def test_a_recipe_that_has_a_name_is_refused_with_its_path(finished: Path) -> None:
    with _changed(finished, "training", {"fashioniq": {"recipe": "catalogue"}}):
        done = subprocess.run(
            [sys.executable, "-m", "dvc", "repro", "--force", "--single-item", "validate@fashioniq"],
            cwd=finished, env=_environment(), capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode != 0
    assert "Write its path: recipe: qure/recipes/catalogue.yaml" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("section", "change", "expected"),
    [
        ("promotion", {"max_risk": 0.4, "refuse_collapsed": False}, ["promote@fashioniq"]),
        ("evaluation", {"bootstrap_samples": 300}, ["evaluate@fashioniq", "register@fashioniq", "promote@fashioniq"]),
    ],
)
def test_a_changed_parameter_reruns_what_depends_on_it(
    finished: Path, section: str, change: dict[str, object], expected: list[str]
) -> None:
    with _changed(finished, section, change):
        assert _stages(_repro(finished)) == expected


def test_the_chain_runs_on_services_and_data_comes_back_from_s3(
    tmp_path: Path, services_in: "Callable[[Path], Services]"
) -> None:
    """`QURE_PROFILE=services`: runs and models behind MLflow's sign-in, artifacts and DVC's remote on S3."""
    folder = _clone(tmp_path / "qure")
    services = services_in(folder)
    services.start()
    profile = {"QURE_PROFILE": "services"}
    _run(folder, "dvc", "repro", LAST, **profile)
    assert not [*folder.glob("mlflow.db*"), *folder.glob("mlruns")], "nothing was tracked here"
    told = json.loads((folder / "artifacts" / "fashioniq" / "promotion.json").read_text())
    assert told["promoted"]
    shell = services.variables()
    champion = requests.get(
        f"{shell['MLFLOW_TRACKING_URI']}/api/2.0/mlflow/registered-models/alias",
        params={"name": "qure-fashioniq", "alias": "champion"},
        auth=(shell["MLFLOW_TRACKING_USERNAME"], shell["MLFLOW_TRACKING_PASSWORD"]),
        timeout=60,
    )
    assert champion.json()["model_version"]["version"] == "1"
    buckets = services.folder / "s3"
    assert [*buckets.glob("qure-mlflow/**/MLmodel")], "the model is on S3"

    _run(folder, "dvc", "push", **shell)
    assert [*buckets.glob("qure-data/files/md5/*/*")]
    data = {path.relative_to(folder): path.read_bytes() for path in (folder / "data").rglob("*.json")}
    for gone in ("data", ".dvc/cache"):
        shutil.rmtree(folder / gone)
    _run(folder, "qure.cli", "data", "restore", **profile)
    assert {path.relative_to(folder): path.read_bytes() for path in (folder / "data").rglob("*.json")} == data
    _run(folder, "dvc", "pull", "--with-deps", LAST, **shell)  # cirr has not run
    assert "Data and pipelines are up to date." in _run(folder, "dvc", "repro", LAST, **profile)
    assert services.stop()
    _run(folder, "dvc", "status", "--quiet", "--with-deps", LAST)  # without the profile nothing asks for them


def test_an_experiment_runs_with_its_parameter_and_is_compared(finished: Path) -> None:
    """Last, because it commits: what docs/comparing.md promises, with the stages themselves."""
    for arguments in (
        ["config", "user.name", "Somebody"],
        ["config", "user.email", "somebody@example.org"],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "First run"],
    ):
        subprocess.run(["git", *arguments], cwd=finished, check=True)
    parameter = "training.fashioniq.overrides.epochs"
    ran = _run(finished, "dvc", "exp", "run", "--set-param", f"{parameter}=1", "evaluate@fashioniq")
    assert _stages(ran) == ["train@fashioniq", "evaluate@fashioniq"]
    summary = json.loads((finished / "artifacts/fashioniq/training/summary.json").read_text())
    assert (summary["settings"]["epochs"], summary["epochs"]) == (1, 1)
    changed = json.loads(_run(finished, "dvc", "params", "diff", "--json"))
    assert list(changed) == ["params.yaml"]
    assert list(changed["params.yaml"]) == [parameter]
    assert (changed["params.yaml"][parameter]["old"], changed["params.yaml"][parameter]["new"]) == (3, 1)
    metrics = json.loads(_run(finished, "dvc", "metrics", "diff", "--json"))
    moved = metrics["artifacts/fashioniq/evaluation/metrics.json"]  # names those that have changed
    assert any(name.startswith("fashioniq.") for name in moved)
    _run(finished, "dvc", "plots", "diff")
    page = (finished / "dvc_plots" / "index.html").read_text(encoding="utf-8")
    assert "jsdelivr" not in page
    assert "FashionIQ - training loss" in page


@contextlib.contextmanager
def _changed(folder: Path, section: str, change: dict[str, object]) -> Iterator[None]:
    """params.yaml with one section changed, as long as the block runs."""
    file = folder / "params.yaml"
    before = file.read_text()
    params = yaml.safe_load(before)
    params[section] = {**params.get(section, {}), **change}
    file.write_text(yaml.safe_dump(params))
    try:
        yield
    finally:
        file.write_text(before)


def _stages(output: str) -> list[str]:
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage")]

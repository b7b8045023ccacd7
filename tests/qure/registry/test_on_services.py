"""What goes wrong between a command and its services: one line that says what to do, and nothing is lost."""

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import yaml

from qure.config import Settings
from qure.layout import Layout
from qure.profile import read_profile
from qure.registry.champions import Champions
from qure.registry.stage import register
from qure.tracking import connect

if TYPE_CHECKING:
    from infra.services.services import Services

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900), pytest.mark.fresh_interpreter]

#: `qure ...`, whose MLflow is killed right before or after it has moved the alias `champion`.
KILLING = """
import os, signal, sys
from mlflow import MlflowClient
from qure.cli import app

moved, server = sys.argv.pop(1) == "after", int(sys.argv.pop(1))
move = MlflowClient.set_registered_model_alias

def kill_and_move(client, name, alias, version):
    if alias == "champion" and moved:
        move(client, name, alias, version)
    if alias == "champion":
        os.killpg(server, signal.SIGKILL)
    if not (alias == "champion" and moved):
        move(client, name, alias, version)

MlflowClient.set_registered_model_alias = kill_and_move
app()
"""
QURE = "from qure.cli import app; app()"


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project's folder with settings."""
    folder = tmp_path_factory.mktemp("project")
    settings = {
        "training": {"fashioniq": {"recipe": "catalogue"}},
        "evaluation": {"bootstrap_samples": 200},
        "tracking": {"uri": "sqlite:///mlflow.db"},
    }
    (folder / "params.yaml").write_text(yaml.safe_dump(settings))
    return folder


@pytest.fixture(scope="module")
def _started(project: Path, services_in: "Callable[[Path], Services]") -> "Iterator[Services]":
    services = services_in(project)
    services.start()
    yield services
    services.stop()


@pytest.fixture
def services(_started: "Services") -> "Services":
    """They run, whatever the test before has done to them."""
    _started.start()
    return _started


@pytest.fixture
def qure(project: Path, services: "Services") -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Runs a command of the project on its services."""

    def run(*arguments: str, program: str = QURE, before: tuple[str, ...] = ()) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [*before, sys.executable, "-c", program, *arguments],
            cwd=project,
            env=os.environ | {"QURE_PROFILE": "services", "QURE_PATIENCE_SECONDS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


@pytest.fixture
def registered(
    project: Path,
    services: "Services",
    few_images: Path,
    model_of: Callable[[int], Path],
    judged: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[int], tuple[Settings, int]]:
    """Seed -> settings and version of a challenger that is better than all before, ready for `qure promote`."""
    for name, value in read_profile(services.profile).items():
        monkeypatch.setenv(name, value)
    settings = Settings.load(project / "params.yaml")

    def make(seed: int) -> tuple[Settings, int]:
        layout = Layout(few_images, project / "artifacts").of("fashioniq")
        shutil.rmtree(layout.folder, ignore_errors=True)
        shutil.copytree(judged(model_of(seed), 0.3 + seed / 50), layout.evaluation)
        shutil.copytree(model_of(seed), layout.model)
        return settings, _register(settings, project, few_images)

    return make


def _register(settings: Settings, project: Path, data: Path) -> int:
    """The version of what lies in artifacts/, without the features and the validation that a command asks for."""
    layout = Layout(data, project / "artifacts").of("fashioniq")
    found = register(
        settings,
        "fashioniq",
        data=data,
        model=layout.model,
        evaluation=layout.evaluation,
        output=layout.registration,
        data_fingerprint="md5:d",
    )
    return int(found["version"])


def _secrets(services: "Services") -> list[str]:
    variables = read_profile(services.profile)
    return [variables[name] for name in ("MLFLOW_TRACKING_PASSWORD", "AWS_SECRET_ACCESS_KEY")]


@pytest.mark.parametrize("moved", ["before", "after"])
def test_mlflow_is_killed_in_the_midst_of_a_promotion(
    moved: str,
    services: "Services",
    qure: Callable[..., "subprocess.CompletedProcess[str]"],
    registered: Callable[[int], tuple[Settings, int]],
) -> None:
    settings, version = registered(1 if moved == "before" else 2)
    before = [entry.version for entry in Champions(connect(settings.tracking), "qure-fashioniq").history()]
    server = {one.name: one.process for one in services.status()}["MLflow"]
    asked = ("promote", "--training-set", "fashioniq")
    secrets = _secrets(services)
    killed = qure(moved, str(server), *asked, program=KILLING)
    assert killed.returncode == 1
    told = [line for line in killed.stderr.splitlines() if line.startswith("error:")]
    address = read_profile(services.profile)["MLFLOW_TRACKING_URI"]
    assert len(told) == 1
    assert told[0].startswith(f"error: MLflow at {address}: it went away (")
    assert told[0].endswith(
        "Start it again (make services), then start the same command again: it goes on from what is whole"
    )
    assert "Traceback" not in killed.stderr
    assert not [secret for secret in secrets if secret in killed.stdout + killed.stderr]

    assert services.start()
    again = qure(*asked)
    assert again.returncode == 0, again.stderr
    champions = Champions(connect(settings.tracking), "qure-fashioniq")
    assert champions.current() == version
    assert [entry.version for entry in champions.history()] == [*before, version], "once, and nothing else"


def test_a_bucket_that_vanishes_is_told_and_what_it_held_comes_back(
    services: "Services",
    project: Path,
    few_images: Path,
    qure: Callable[..., "subprocess.CompletedProcess[str]"],
    registered: Callable[[int], tuple[Settings, int]],
) -> None:
    settings, version = registered(3)
    asked = ("register", "--training-set", "fashioniq", "--data", str(few_images))
    bucket, aside = services.folder / "s3" / "qure-mlflow", services.folder / "aside"
    bucket.rename(aside)
    time.sleep(1.5)  # the server asks again each second what there is
    gone = qure(*asked)
    assert gone.returncode == 1
    told = [line for line in gone.stderr.splitlines() if line.startswith("error:")]
    assert len(told) == 1
    assert told[0].endswith(
        "the bucket that keeps its artifacts is not there. Make it again (make services), then start the same command "
        "again: it goes on from what is whole"
    )
    assert "Traceback" not in gone.stderr

    assert [one.wrong for one in services.status() if one.wrong] == ["no bucket qure-mlflow"]
    assert not services.start(), "the servers run; the bucket is made again, empty"
    assert bucket.is_dir()
    assert _register(settings, project, few_images) == version, "its files are uploaded again"
    shutil.copytree(aside, bucket, dirs_exist_ok=True)  # the champion's files: it was registered before
    shutil.rmtree(aside)
    promoted = qure("promote", "--training-set", "fashioniq")
    assert promoted.returncode == 0, promoted.stderr


@pytest.mark.parametrize("shift", ["+1h", "-1h"])
def test_clocks_that_differ_are_told_where_they_matter_and_matter_nowhere_else(
    shift: str,
    services: "Services",
    qure: Callable[..., "subprocess.CompletedProcess[str]"],
    registered: Callable[[int], tuple[Settings, int]],
) -> None:
    if shutil.which("faketime") is None:
        pytest.skip("needs Debian's package faketime")
    settings, version = registered(4 if shift == "+1h" else 5)
    champions = Champions(connect(settings.tracking), "qure-fashioniq")
    before = [entry.version for entry in champions.history()]
    shifted = ("faketime", "-f", shift)
    promoted = qure("promote", "--training-set", "fashioniq", before=shifted)
    assert promoted.returncode == 0, promoted.stderr
    assert [entry.version for entry in champions.history()] == [*before, version]
    assert champions.current() == version

    reading = "from qure.profile import use_profile; from qure.storage import stored_file; use_profile()\n"
    reading += "from qure.cli.errors import ending\n"
    reading += "try:\n    with stored_file('s3://qure-data/any'): pass\n"
    reading += "except Exception as error: print(*ending(error), sep='|')\n"
    told = qure(program=reading, before=shifted).stdout
    assert told == (
        "s3://qure-data/any: the clocks of this machine and of the storage differ too much. Set this machine's clock "
        "(timedatectl set-ntp true), or the server's, and start the command again|1\n"
    )

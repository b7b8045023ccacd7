"""From the train component's folders to a train job; the job itself is run as a local process under torchrun.

No cluster can run in the tests. The stand-in runs the very command of the manifest, `torchrun -m qure.cli train ...`,
so what is not tested is only how Kubernetes starts it.
"""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from infra.trainer import launch as launching
from infra.trainer.api import ApiUnavailable, End, Problem, Worker
from infra.trainer.launch import train_command, trained_as_job
from qure.errors import BadInput, StageFailed
from qure.layout import Layout

SETTINGS = {"namespace": "qure", "image": "qure@sha256:" + "0" * 64, "workspace_claim": "w", "timeout_seconds": 60}


class LocalJobs:
    """Runs a job's arguments as a process when it is created; `program` takes torchrun's place."""

    def __init__(self, program: list[str]) -> None:
        self.program = program
        self.job: dict[str, Any] = {}
        self.result: subprocess.CompletedProcess[str] | None = None
        self.deleted = ""

    def owner(self, run: str) -> dict[str, Any] | None:
        return {"kind": "Workflow", "name": f"workflow-of-{run}", "uid": "u"}

    def create(self, job: dict[str, Any]) -> None:
        self.job = job
        command = [*self.program, *job["spec"]["trainer"]["args"]]
        self.result = subprocess.run(command, capture_output=True, text=True, check=False)

    def conditions(self, name: str) -> dict[str, str] | None:
        assert self.result is not None
        return {"Complete": ""} if self.result.returncode == 0 else {"Failed": self.result.stderr[-500:]}

    def delete(self, name: str) -> None:
        self.deleted = name

    def pods(self, name: str) -> list[Worker]:
        assert self.result is not None
        return [Worker("node-0", began=True, ends=(End("node-0", 0, self.result.returncode),))]

    def problems(self, name: str, *, pods_missing: bool) -> list[Problem]:
        return []

    def follow(self, pod: str, *, previous: bool = False) -> Iterator[str]:
        assert self.result is not None
        yield from (self.result.stdout + self.result.stderr).splitlines()


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, Path]:
    workspace = tmp_path / "workspace"
    made = {
        "data": workspace / "data",
        "features": workspace / "features",
        "work": workspace / "work",
        "backbone": tmp_path / "pod" / "backbone",
        "validation": tmp_path / "pod" / "validation",
    }
    for name, folder in made.items():
        folder.mkdir(parents=True)
        (folder / f"{name}.txt").write_text(name)
    return made


def launch(folders: dict[str, Path], jobs: LocalJobs, workspace: Path) -> Path:
    settings = SETTINGS | {"workspace_path": str(workspace)}
    with trained_as_job(settings, "training: {}\n", "cirr", **folders, jobs=jobs) as output:
        assert jobs.deleted == "", "until the output is taken, the name is not free"
    return output


def test_the_job_sees_what_the_command_line_expects(folders: dict[str, Path], tmp_path: Path) -> None:
    program = """
import sys, pathlib
options = dict(one.split("=") if "=" in one else (one, "") for one in [])
arguments = sys.argv[1:]
options = {name: pathlib.Path(value) for name, value in zip(arguments[3::2], arguments[4::2])}
artifacts = options["--artifacts"]
assert (artifacts / "backbone" / "backbone.txt").is_file()
assert (artifacts / "cirr" / "validation" / "validation.txt").is_file()
assert (artifacts / "cirr" / "features" / "features.txt").is_file()
assert (options["--data"] / "data.txt").is_file()
assert options["--params"].read_text() == "training: {}\\n"
(artifacts / "cirr" / "model").mkdir()
"""
    jobs = LocalJobs([sys.executable, "-c", program])
    for _ in range(2):  # a launcher that is started again finds its own traces
        jobs.deleted = ""
        output = launch(folders, jobs, tmp_path / "workspace")
        (output / "model").rmdir()
    assert output == folders["work"] / "artifacts" / "cirr"
    assert jobs.deleted == jobs.job["metadata"]["name"]


def test_the_run_is_known_in_the_job(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", "run-7")
    jobs = LocalJobs([sys.executable, "-c", ""])
    launch(folders, jobs, tmp_path / "workspace")
    assert {"name": "QURE_PIPELINE_RUN", "value": "run-7"} in jobs.job["spec"]["trainer"]["env"]
    assert jobs.job["metadata"]["labels"]["qure/run-id"] == "run-7"
    assert jobs.job["metadata"]["ownerReferences"] == [{"kind": "Workflow", "name": "workflow-of-run-7", "uid": "u"}]


def test_the_runs_workflow_is_asked_for_again_when_the_api_is_away(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QURE_PIPELINE_RUN", "run-7")
    pauses: list[float] = []
    monkeypatch.setattr(launching.time, "sleep", pauses.append)
    jobs = LocalJobs([sys.executable, "-c", ""])
    answers: list[Any] = [ApiUnavailable("503"), ApiUnavailable("503"), {"uid": "u"}]

    def owner(run: str) -> dict[str, Any] | None:
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return dict(answer)

    jobs.owner = owner  # type: ignore[method-assign]
    launch(folders, jobs, tmp_path / "workspace")
    assert jobs.job["metadata"]["ownerReferences"] == [{"uid": "u"}]
    answers[:] = [ApiUnavailable("503")]
    with pytest.raises(StageFailed, match="does not answer: 503"):
        launch(folders, jobs, tmp_path / "workspace")
    assert sum(pauses[2:]) > 60


def test_a_failure_of_the_job_is_the_launchers(folders: dict[str, Path], tmp_path: Path) -> None:
    jobs = LocalJobs([sys.executable, "-c", "raise SystemExit('out of memory')"])
    with pytest.raises(StageFailed, match="out of memory"):
        launch(folders, jobs, tmp_path / "workspace")


def test_what_training_refuses_is_the_launchers_bad_input(folders: dict[str, Path], tmp_path: Path) -> None:
    program = "import sys; print('error: params.yaml: no such strategy', file=sys.stderr); sys.exit(2)"
    jobs = LocalJobs([sys.executable, "-c", program])
    jobs.conditions = lambda name: {}  # type: ignore[method-assign]
    with pytest.raises(BadInput, match=r"exit status 2: error: params\.yaml: no such strategy"):
        launch(folders, jobs, tmp_path / "workspace")


def test_an_input_that_the_pods_would_not_see_is_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="not in the workspace"):
        launch(folders | {"data": tmp_path / "pod"}, LocalJobs([]), tmp_path / "workspace")


def test_the_name_is_a_dns_label_and_stays_the_same(folders: dict[str, Path], tmp_path: Path) -> None:
    names = set()
    for _ in range(2):
        jobs = LocalJobs([sys.executable, "-c", ""])
        launch(folders, jobs, tmp_path / "workspace")
        names.add(jobs.job["metadata"]["name"])
        assert jobs.deleted
    (name,) = names
    assert len(name) <= 63
    assert name.replace("-", "").isalnum()


def test_the_command_is_one_that_the_command_line_takes() -> None:
    from typer.testing import CliRunner

    from qure.cli import app

    command = train_command("cirr", params=Path("p"), project=Layout(Path("d"), Path("a"), Path("w")))
    assert command[:3] == ["-m", "qure.cli", "train"]
    result = CliRunner().invoke(app, [*command[2:], "--help"])
    assert result.exit_code == 0

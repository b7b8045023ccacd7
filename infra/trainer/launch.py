"""Trains as a TrainJob: lays the inputs out in the workspace as the command line expects them, runs the job."""

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from infra.trainer.api import ApiUnavailable, TrainJobs
from infra.trainer.job import TrainJobSettings, build_train_job
from infra.trainer.run import train_job
from qure.config import validated
from qure.errors import BadInput, StageFailed
from qure.files import atomic_folder, fingerprint
from qure.layout import Layout
from qure.scratch import scratch_folder
from qure.tracking.identity import PIPELINE_VARIABLE
from qure.tracking.retrying import PATIENCE_VARIABLE

OWNER_ATTEMPTS = 8
#: Variables of the task that the job's pods get too.
_PASSED_ON = (PIPELINE_VARIABLE, PATIENCE_VARIABLE)


@contextmanager
def trained_as_job(
    settings: dict[str, Any],
    params: str,
    training_set: str,
    *,
    data: Path,
    features: Path,
    backbone: Path,
    validation: Path,
    work: Path,
    jobs: TrainJobs | None = None,
) -> Iterator[Path]:
    """Runs `qure train` under torchrun on the cluster; in the block lies the folder that holds `model/`, `training/`.

    Two runs with equal inputs train in one folder, one after the other: the job, and with it its name, is kept until
    the block is left, so that nobody writes to what it reads. The second one then goes on from what the first has left.

    Args:
        settings: a `TrainJobSettings` as a dict.
        params: text of params.yaml.
        training_set: fashioniq or cirr.
        data, features: folders of the workspace: they are read by the job's pods where they lie.
        backbone, validation: folders of this pod: they are copied into the workspace.
        work: a folder of the workspace for this training; holds its checkpoints.
        jobs: the cluster; the one that this pod runs in when left out.

    Raises:
        BadInput: settings that are wrong, an input that the job's pods could not see, or that training refuses.
        StageFailed: the job failed, cannot start, took too long or vanished.
    """
    chosen = validated(TrainJobSettings, settings, file="distributed")
    for folder in (data, features, work):
        _require_shared(folder, chosen.workspace_path)
    if jobs is None:
        from infra.trainer.cluster import ClusterTrainJobs

        jobs = ClusterTrainJobs(chosen.namespace)
    project = Layout(data, work / "artifacts", work / "work")
    layout = project.of(training_set)
    _copy(backbone, layout.backbone)
    _copy(validation, layout.validation)
    _link(features, layout.features)
    _write(work / "params.yaml", params)
    run = os.environ.get(PIPELINE_VARIABLE, "")
    job = build_train_job(
        chosen,
        f"qure-train-{training_set}-{fingerprint([chosen.workspace_claim, str(work)])[:12]}",
        train_command(training_set, params=work / "params.yaml", project=project),
        environment={name: told for name in _PASSED_ON if (told := os.environ.get(name))},
        run=run,
        owner=_owner(jobs, run) if run else None,
    )
    with train_job(jobs, job, timeout_seconds=chosen.timeout_seconds):
        yield layout.folder


def train_command(training_set: str, *, params: Path, project: Layout) -> list[str]:
    """What torchrun starts: the command that a person would give on one machine."""
    options = {"training-set": training_set, "params": params} | asdict(project)
    return ["-m", "qure.cli", "train", *(part for name, value in options.items() for part in (f"--{name}", str(value)))]


def _owner(jobs: TrainJobs, run: str) -> dict[str, Any] | None:
    problem: Exception | None = None
    for attempt in range(OWNER_ATTEMPTS):
        try:
            return jobs.owner(run)
        except ApiUnavailable as error:
            problem = error
            time.sleep(0.5 * 2**attempt)
    raise StageFailed(f"the cluster's API does not answer: {problem}")


def _require_shared(folder: Path, workspace: str) -> None:
    if not Path(folder).resolve().is_relative_to(Path(workspace).resolve()):
        raise BadInput(
            f"{str(folder)!r} is not in the workspace {workspace!r}: the train job's pods would not see it",
            field="distributed",
            remedy="Set `workspace` in the pipelines' configuration, so that data and features lie there",
        )


def _copy(source: Path, target: Path) -> None:
    """At one stroke: the job of a launcher that was killed may be reading the older one."""
    with atomic_folder(target) as folder:
        shutil.copytree(source, folder, dirs_exist_ok=True)


def _write(file: Path, text: str) -> None:
    """Only what is new: another run with equal inputs may be reading it."""
    if not file.is_file() or file.read_text(encoding="utf-8") != text:
        file.write_text(text, encoding="utf-8")


def _link(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with scratch_folder(target.parent) as scratch:
        link = scratch / target.name
        link.symlink_to(source)
        link.replace(target)

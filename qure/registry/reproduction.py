"""The commands that rebuild a registered version from git, DVC and its recorded settings; and whether bytes agree.

A version is rebuilt in a worktree of its own at its commit, with the data of its fingerprint, by the stages up to
training. The result is compared with the registered model file by file.
"""

import json
import logging
import os
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qure.config import Settings
from qure.errors import BadInput, StageFailed
from qure.files import file_digest
from qure.registry.lineage import find, is_rebuildable, lineage
from qure.registry.packaging import MODEL
from qure.scratch import temporary_folder
from qure.tracking import connect, tracking_uri
from qure.tracking.connection import NONE, URI_VARIABLE, translated
from qure.tracking.remedies import first_line
from qure.tracking.retrying import download

logger = logging.getLogger(__name__)

SETTINGS = "reproduced.json"


@dataclass(frozen=True)
class RebuildStep:
    """One command.

    Attributes:
        command: its words.
        folder: where it is run.
    """

    command: tuple[str, ...]
    folder: Path

    def line(self) -> str:
        """As a line of a shell."""
        return f"cd {shlex.quote(str(self.folder))} && {shlex.join(self.command)}"


@dataclass(frozen=True)
class Rebuild:
    """How a version is rebuilt.

    Attributes:
        address: `models:/NAME/VERSION`.
        training_set: what it was trained on.
        folder: the worktree.
        settings: what becomes params.yaml there.
        steps: in order; the first makes the worktree.
        warnings: what may make the result differ.
    """

    address: str
    training_set: str
    folder: Path
    settings: dict[str, Any]
    steps: tuple[RebuildStep, ...]
    warnings: tuple[str, ...]


def plan(settings: Settings, address: str, folder: Path, *, project: Path = Path()) -> Rebuild:
    """What would be done.

    Args:
        settings: `tracking` is read.
        address: `models:/NAME@ALIAS` or `models:/NAME/VERSION`.
        folder: the worktree to make; must not exist.
        project: a checkout of the repository, with DVC's cache or remote.

    Raises:
        BadInput: the version does not say enough to be rebuilt, or `folder` exists; names what is missing.
        StageFailed: MLflow cannot be reached.
    """
    if folder.exists():
        raise BadInput("it exists already", file=folder, remedy="Name another folder: --folder")
    origin = lineage(settings, address, project=project)
    code, data, made_with = origin["code"]["commit"] or "", origin["data"], origin["settings"]
    if not is_rebuildable(code):
        raise BadInput(
            f"{address} was made of {code or 'code that was not recorded'}, which is no commit of git",
            remedy="Only what was committed can be rebuilt",
        )
    if made_with is None or data["revision"] is None:
        raise BadInput(f"{address} cannot be rebuilt: {'; '.join(origin['missing'])}")
    project, folder = project.resolve(), folder.resolve()
    training_set = str(origin["name"]).removeprefix("qure-")
    qure = (sys.executable, "-m", "qure.cli")
    common = ("--params", SETTINGS)
    dvc = (sys.executable, "-m", "dvc")
    steps = [
        RebuildStep(("git", "worktree", "add", "--detach", str(folder), code), project),
        RebuildStep(("git", "checkout", data["revision"], "--", "data.dvc"), folder),
        RebuildStep((*dvc, "cache", "dir", "--local", _cache(project)), folder),
        RebuildStep((*dvc, "checkout", "data.dvc"), folder),
        *(
            RebuildStep((*qure, "validate", "--training-set", one, *common), folder)
            for one in sorted(made_with["training"])
        ),
        RebuildStep((*qure, "backbone", *common), folder),
        RebuildStep((*qure, "precompute", "--training-set", training_set, *common), folder),
        RebuildStep((*qure, "train", "--training-set", training_set, *common), folder),
    ]
    return Rebuild(
        f"models:/{origin['name']}/{origin['version']}",
        training_set,
        folder,
        made_with,
        tuple(steps),
        tuple(_differences(origin["environment"])),
    )


def script(planned: Rebuild) -> list[str]:
    """A plan as lines of a shell, to be run one after the other as they are."""
    first, *others = planned.steps
    return [
        first.line(),
        f"cat > {shlex.quote(str(planned.folder / SETTINGS))} <<'END'",
        _settings_text(planned),
        "END",
        f"export PYTHONPATH={shlex.quote(str(planned.folder))} {URI_VARIABLE}={NONE}",
        *(step.line() for step in others),
    ]


def rebuild(settings: Settings, planned: Rebuild) -> dict[str, Any]:
    """Runs a plan and compares.

    Returns:
        `identical`, and per file of the model whether its bytes are the registered ones'.

    Raises:
        StageFailed: a command fails, or the registered model cannot be downloaded.
    """
    environment = os.environ | {"PYTHONPATH": str(planned.folder), URI_VARIABLE: NONE}
    for number, step in enumerate(planned.steps):
        logger.info("%s", step.line())
        done = subprocess.run(step.command, cwd=step.folder, env=environment, check=False, stdout=sys.stderr)
        if done.returncode:
            raise StageFailed(
                f"step {number + 1} of {len(planned.steps)} ended with {done.returncode}, its message stands above: "
                f"{step.line()}"
            )
        if number == 0:
            (planned.folder / SETTINGS).write_text(_settings_text(planned), encoding="utf-8")
    return compare(settings, planned.address, planned.folder / "artifacts" / planned.training_set / "model")


def compare(settings: Settings, address: str, rebuilt: Path) -> dict[str, Any]:
    """The registered model's files against those of a model folder, byte by byte.

    Raises:
        StageFailed: the registered model cannot be downloaded.
    """
    client = connect(settings.tracking)
    with translated(tracking_uri(settings.tracking)), temporary_folder() as scratch:
        version = find(client, address)
        uri = f"models:/{version.name}/{version.version}/{MODEL}"
        try:
            kept = download(uri, str(scratch))
        except Exception as error:
            raise StageFailed(f"{uri} cannot be downloaded: {first_line(error)}") from error
        files = {
            str(file.relative_to(folder)) for folder in (kept, rebuilt) for file in folder.rglob("*") if file.is_file()
        }
        same = {name: _digest(kept / name) == _digest(rebuilt / name) for name in sorted(files)}
    return {"model": address, "rebuilt": str(rebuilt), "identical": all(same.values()), "files": same}


def _settings_text(planned: Rebuild) -> str:
    return json.dumps(planned.settings, indent=2)


def _digest(file: Path) -> str | None:
    return file_digest(file) if file.is_file() else None


def _cache(project: Path) -> str:
    """DVC's cache of a checkout."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    done = subprocess.run(command, cwd=project, capture_output=True, text=True, check=False)
    printed = done.stdout.strip()
    if done.returncode or not printed:
        raise BadInput(
            "DVC does not say where its cache is", file=project, remedy="Run it in a checkout: dvc cache dir"
        )
    return str((project / printed).resolve())


def _differences(recorded: dict[str, str]) -> list[str]:
    from qure.tracking import environment

    now = environment()
    return [
        f"{name}: {value} then, {now.get(name, 'nothing')} here"
        for name, value in sorted(recorded.items())
        if name not in ("image", "qure") and now.get(name) != value
    ]

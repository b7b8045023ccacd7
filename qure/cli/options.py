"""Options that commands share, the settings that they lead to, and checks before the long work."""

import errno
import json
import os
import resource
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qure.errors import BadInput
from qure.files import is_file
from qure.layout import Layout

if TYPE_CHECKING:
    from qure.config import Settings


def known_training_set(name: str) -> str:
    """A training set that qure knows.

    Raises:
        BadInput: it knows none of this name; names those that there are.
    """
    known = training_sets()
    if name not in known:
        raise BadInput(f"no training set {name!r}; there are {', '.join(sorted(known))}", field="--training-set")
    return name


def training_sets() -> list[str]:
    """Names of the training sets; also what the shell completes."""
    from qure import benchmarks

    return list(benchmarks.training_sets())


Parameters = Annotated[Path, typer.Option("--params", help="Settings of the whole pipeline.")]
TrainingSet = Annotated[
    str,
    typer.Option(
        "--training-set",
        parser=known_training_set,
        metavar="[fashioniq|cirr]",
        autocompletion=training_sets,
        help="Which model: what it is trained on.",
    ),
]
Data = Annotated[Path, typer.Option(help="Data root: fashioniq/, cirr/, circo/, hp_fashioniq/.")]
Artifacts = Annotated[Path, typer.Option(help="Where stages leave their outputs.")]
Work = Annotated[Path, typer.Option(help="Scratch that survives a killed run: checkpoints and caches.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; found out when left out.")]
Json = Annotated[bool, typer.Option("--json", help="For programs: JSON on standard output instead of a table.")]

PARAMETERS = Path("params.yaml")
DATA, ARTIFACTS, WORK = Layout.data, Layout.artifacts, Layout.work


def require_installed(*packages: str) -> None:
    """Finds out before the long work whether what only one command needs is there.

    Raises:
        ModuleNotFoundError: a package is not; the command ends with the extra that brings it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise ModuleNotFoundError(f"No module named {package!r}", name=package)


def settings_for(params: Path, training_set: str | None = None) -> "Settings":
    """Settings from params.yaml; a training set that they do not have is the user's mistake.

    Commands read them before they import what they are about to do: a typing error is told at once.
    """
    from qure.config import Settings

    settings = Settings.load(params)
    if training_set is not None:
        settings.training_for(training_set)
    return settings


def require_writable(*outputs: Path) -> None:
    """Finds out before the long work whether its outputs can be written, by writing an empty file beside them.

    Raises:
        OSError: a place cannot be written; names it.
        BadInput: a file lies where a folder is needed.
    """
    for output in outputs:
        folder = _nearest_folder(output)
        if not folder.is_dir():
            raise BadInput(
                f"a file lies where a folder is needed for {output}",
                file=folder,
                remedy="Move it, or name another folder",
            )
        try:
            with tempfile.TemporaryFile(dir=folder):
                pass
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(folder)) from None


def _nearest_folder(output: Path) -> Path:
    """The folder that something will be made in: the nearest that is there."""
    folder = next(parent for parent in (output, *output.absolute().parents) if parent.exists())
    return output.absolute().parent if folder == output and not output.is_dir() else folder


def require_room(example: Path, *outputs: Path) -> None:
    """Finds out before the long work whether a file as large as another one can be written.

    Args:
        example: a file of the size that will be written at least; where it is missing, nothing is known.
        outputs: where.

    Raises:
        OSError: files of that size are not allowed, or the disk has no room for it; names the place.
    """
    if not is_file(example):
        return
    size, (limit, _) = example.stat().st_size, resource.getrlimit(resource.RLIMIT_FSIZE)
    for folder in map(_nearest_folder, outputs):
        problem = None
        if limit != resource.RLIM_INFINITY and limit < size:
            problem = errno.EFBIG
        elif shutil.disk_usage(folder).free < size:
            problem = errno.ENOSPC
        if problem is not None:
            raise OSError(problem, f"{os.strerror(problem)} ({size / 1e6:,.0f} MB will be written)", str(folder))


def require_replaceable(folder: Path, marker: str) -> None:
    """Finds out whether a folder that a command writes whole would take the place of something else.

    Args:
        folder: that will be replaced.
        marker: file that an older output of the same command has.

    Raises:
        BadInput: a file has the name, or a folder of other things.
    """
    if folder.resolve().is_dir():
        is_free = (folder / marker).is_file() or not any(folder.iterdir())
    else:
        is_free = not os.path.lexists(folder.resolve())
    if not is_free:
        raise BadInput("holds something else, which would be lost", file=folder, remedy="Name a new folder: --output")


def require_place_for_file(output: Path) -> None:
    """Finds out before the long work whether a file can be written there.

    Raises:
        BadInput: a folder has the name.
        OSError, BadInput: as `require_writable`.
    """
    if output.is_dir():
        raise BadInput("this is a folder, and a file is written", file=output, remedy="Name a file: --output")
    require_writable(output)


def print_json(value: Any) -> None:
    """A result for programs, on standard output."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False))


def print_table(*parts: Any) -> None:
    """Tables and lines for people, on standard output, so that they can be piped."""
    from rich.console import Console

    console = Console()
    for part in parts:
        console.print(part, soft_wrap=isinstance(part, str), highlight=False, markup=False)

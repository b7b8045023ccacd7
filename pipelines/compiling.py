"""Compiles the pipelines; the compiled files are part of the repository and checked to be current."""

import difflib
import tempfile
from collections.abc import Callable
from pathlib import Path

from kfp import compiler
from kfp.dsl.base_component import BaseComponent

from pipelines.ablation import ablation
from pipelines.config import PipelineConfig
from pipelines.evaluate_champion import evaluate_champion
from pipelines.release import Release
from pipelines.training import training
from qure.errors import BadInput
from qure.files import atomic_file

COMPILED = Path(__file__).parent / "compiled"

#: Every pipeline by the name that people use.
PIPELINES: dict[str, Callable[[PipelineConfig, Release], BaseComponent]] = {
    "training": training,
    "evaluate_champion": evaluate_champion,
    "ablation": ablation,
}


def pipeline(name: str, config: PipelineConfig, release: Release | None = None) -> BaseComponent:
    """A pipeline by name.

    Args:
        name: of `PIPELINES`.
        config: the pipelines' configuration.
        release: what is compiled in; the shipped settings and no version when left out.

    Raises:
        BadInput: there is none of this name.
    """
    if name not in PIPELINES:
        raise BadInput(f"no pipeline {name!r}; there are {', '.join(PIPELINES)}")
    return PIPELINES[name](config, release or Release.load())


def compile_to(folder: Path, config: PipelineConfig) -> list[Path]:
    """Compiles all pipelines into `{folder}/{name}.yaml`."""
    return [compile_one(name, config, folder / f"{name}.yaml") for name in PIPELINES]


def compile_one(name: str, config: PipelineConfig, file: Path, release: Release | None = None) -> Path:
    """Compiles one pipeline; the file appears whole or not at all."""
    with tempfile.TemporaryDirectory() as folder:
        package = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline(name, config, release), str(package))
        with atomic_file(file) as temporary:
            temporary.write_bytes(package.read_bytes())
    return file


def outdated(folder: Path, config: PipelineConfig) -> dict[str, str]:
    """Compiled files that differ from what would be compiled now: name -> the first lines of the difference."""
    differences = {}
    with tempfile.TemporaryDirectory() as current:
        for fresh in compile_to(Path(current), config):
            stored = folder / fresh.name
            before = stored.read_text(encoding="utf-8") if stored.is_file() else ""
            after = fresh.read_text(encoding="utf-8")
            if before != after:
                lines = difflib.unified_diff(before.splitlines(), after.splitlines(), "stored", "current", lineterm="")
                differences[fresh.name] = "\n".join(list(lines)[:20])
    for file in sorted(folder.glob("*.yaml")):
        if file.stem not in PIPELINES:
            differences[file.name] = "there is no such pipeline any more"
    return differences

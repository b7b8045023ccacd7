"""Options that commands share, and the settings that they lead to."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from qure.layout import Layout

if TYPE_CHECKING:
    from qure.config import Settings

Parameters = Annotated[Path, typer.Option("--params", help="Settings of the whole pipeline.")]
TrainingSet = Annotated[str, typer.Option("--training-set", help="fashioniq or cirr.")]
Data = Annotated[Path, typer.Option(help="Data root: fashioniq/, cirr/, circo/, hp_fashioniq/.")]
Artifacts = Annotated[Path, typer.Option(help="Where stages leave their outputs.")]
Work = Annotated[Path, typer.Option(help="Scratch that survives a killed run: checkpoints and caches.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; found out when left out.")]

PARAMETERS = Path("params.yaml")
DATA, ARTIFACTS, WORK = Layout.data, Layout.artifacts, Layout.work


def settings_for(params: Path, training_set: str | None = None) -> "Settings":
    """Settings from params.yaml; a training set that they do not have is the user's mistake."""
    log_to_terminal()
    from qure.config import Settings

    settings = Settings.load(params)
    if training_set is not None:
        settings.training_for(training_set)
    return settings


def log_to_terminal() -> None:
    import logging

    from rich.logging import RichHandler

    from qure.progress import console

    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False, markup=False)],
    )
    logging.getLogger("qure").setLevel(logging.INFO)

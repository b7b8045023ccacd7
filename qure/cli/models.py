"""Commands about models: published weights, the registry, asking the champion."""

from pathlib import Path
from typing import Annotated

import typer

from qure.cli.application import app
from qure.cli.options import PARAMETERS, Parameters, TrainingSet, log_to_terminal, settings_for
from qure.errors import BadInput

weights_app = typer.Typer(help="Import published weights.", no_args_is_help=True)
app.add_typer(weights_app, name="weights")


@weights_app.command("import")
def weights_import(
    source: Annotated[str, typer.Argument(help="A LAVIS .pth file, or a transformers folder or Hub name (ViT-g).")],
    output: Annotated[Path, typer.Option(help="Model folder to write.")],
    tokenizer: Annotated[str | None, typer.Option(help="bert-base-uncased: a folder, s3:// or Hub name.")] = None,
    vision_weights: Annotated[str | None, typer.Option(help="LAVIS's clip_vit_L.pth, where the file lacks it.")] = None,
) -> None:
    """Convert published weights: every key is mapped or refused by name; nothing is unpickled."""
    log_to_terminal()
    from qure.models.weights import import_hub, import_lavis

    if source.endswith(".pth"):
        import_lavis(source, output, tokenizer=tokenizer, vision_weights=vision_weights)
    else:
        import_hub(source, output, tokenizer=tokenizer)


@app.command()
def rollback(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    to_version: Annotated[int | None, typer.Option(help="A version; the previous champion when left out.")] = None,
) -> None:
    """Make the previous champion champion again."""
    from qure.registry.stage import rollback as run

    run(settings_for(params, training_set), training_set, to_version=to_version)


@app.command()
def search(
    image: Annotated[Path, typer.Argument(help="The reference image.")],
    text: Annotated[str, typer.Argument(help='What should be different: "is blue and longer".')],
    training_set: TrainingSet = "fashioniq",
    group: Annotated[
        str | None, typer.Option(help="Part of the gallery, for example dress; all when left out.")
    ] = None,
    top_k: Annotated[int, typer.Option(help="How many results.")] = 10,
    params: Parameters = PARAMETERS,
) -> None:
    """Ask the champion: a picture plus words."""
    settings = settings_for(params)
    if not image.is_file():
        raise BadInput("the image does not exist", file=image)
    from qure.registry.asking import ask_champion

    for place, (image_id, score) in enumerate(ask_champion(settings, training_set, image, text, top_k, group), start=1):
        typer.echo(f"{place:3d}  {score:.3f}  {image_id}")

"""Commands about models: published weights, the registry, asking the champion, the index of a gallery."""

from pathlib import Path
from typing import Annotated

import typer

from qure.cli.application import app
from qure.cli.options import (
    DATA,
    PARAMETERS,
    Data,
    Json,
    Parameters,
    TrainingSet,
    print_json,
    require_replaceable,
    require_writable,
    settings_for,
)
from qure.cli.pictures import SheetRow, draw_sheet, image_paths, require_sheet
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
    require_writable(output)
    require_replaceable(output, "manifest.json")
    from qure.models.weights import import_weights

    import_weights(source, output, tokenizer=tokenizer, vision_weights=vision_weights)


@app.command()
def rollback(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    to_version: Annotated[int | None, typer.Option(help="A version; the previous champion when left out.")] = None,
    as_json: Json = False,
) -> None:
    """Make the previous champion champion again."""
    settings = settings_for(params, training_set)
    from qure.registry.stage import rollback as run

    changed = run(settings, training_set, to_version=to_version)
    if as_json:
        print_json(changed)


@app.command()
def search(
    image: Annotated[Path, typer.Argument(help="The reference image.")],
    text: Annotated[str, typer.Argument(help='What should be different: "is blue and longer".')],
    training_set: TrainingSet = "fashioniq",
    group: Annotated[
        str | None, typer.Option(help="Part of the gallery, for example dress; all when left out.")
    ] = None,
    top_k: Annotated[int, typer.Option(min=1, help="How many results.")] = 10,
    sheet: Annotated[
        Path | None, typer.Option(help="Picture to draw (.png or .jpg): the query and its results, ranked.")
    ] = None,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Ask the champion: a picture plus words. Shows rank, relevance, image id and, where it is in data/, its file."""
    settings = settings_for(params)
    if not image.is_file():
        raise BadInput("the image does not exist", file=image)
    if sheet is not None:
        require_sheet(sheet)
    from qure.registry.asking import ask_champion

    found = ask_champion(settings, training_set, image, text, top_k, group)
    paths = image_paths(data, training_set, [image_id for image_id, _ in found])
    answers = [
        SheetRow(rank, relevance, image_id, paths.get(image_id))
        for rank, (image_id, relevance) in enumerate(found, start=1)
    ]
    if as_json:
        print_json([one.record() for one in answers])
    else:
        for one in answers:
            typer.echo(f"{one.rank:3d}  {one.relevance:.3f}  {one.image_id}  {one.path or ''}".rstrip())
    if sheet is not None:
        draw_sheet(sheet, image, text, answers)
        typer.echo(f"contact sheet: {sheet}", err=True)


@app.command()
def index(
    gallery: Annotated[Path, typer.Argument(help="Gallery folder: embeddings.safetensors, groups.json.")],
    queries: Annotated[
        Path | None,
        typer.Option(
            help="safetensors with query embeddings (Q, D) to compare with exact search on; the gallery's own images."
        ),
    ] = None,
    params: Parameters = PARAMETERS,
    as_json: Json = False,
) -> None:
    """Make the index of a gallery, as `serving.index` in params.yaml says; a registered version gets its own."""
    settings = settings_for(params).serving.index
    if settings.kind == "exact":
        raise BadInput("no index is wanted", file=params, field="serving.index.kind", remedy="Set it to ivf_pq")
    require_writable(gallery)
    from qure.evaluation.ranking.embeddings import read_embeddings
    from qure.evaluation.ranking.scores import query_vectors
    from qure.serving.index_building import build_index, described

    asked = None
    if queries is not None:
        opened = read_embeddings(queries)
        asked = query_vectors(opened, opened.ids)
    made = build_index(gallery, settings, asked)
    if as_json:
        print_json(made.model_dump(mode="json"))
    else:
        typer.echo(described(made))

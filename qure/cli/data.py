"""Commands that bring data into place and compare it."""

from pathlib import Path
from typing import Annotated

import typer

from qure.cli.application import app
from qure.cli.options import (
    ARTIFACTS,
    DATA,
    PARAMETERS,
    Artifacts,
    Data,
    Json,
    Parameters,
    TrainingSet,
    print_json,
    print_table,
    require_place_for_file,
    require_writable,
    settings_for,
)
from qure.layout import Layout

data_app = typer.Typer(help="Bring data into place and pack it.", no_args_is_help=True)
app.add_typer(data_app, name="data")


@app.command()
def catalogue(
    params: Parameters = PARAMETERS,
    output: Annotated[Path, typer.Option(help="Data root to write; must not exist or be a rendered one.")] = DATA,
) -> None:
    """Render the embedded data set, in the layouts of all four benchmarks."""
    settings = settings_for(params)
    require_writable(output)
    from qure.catalogue.stage import render

    render(settings, output)


@data_app.command("restore")
def data_restore(
    params: Parameters = PARAMETERS,
    data: Data = DATA,
) -> None:
    """Make `data/` what `data.dvc` says: from the DVC cache or remote, else by rendering the catalogue."""
    settings = settings_for(params)
    from qure.catalogue.restore import restore

    restore(settings, data)


@data_app.command("pack")
def data_pack(
    benchmark: Annotated[Path, typer.Argument(help="A benchmark's folder, for example data/fashioniq.")],
) -> None:
    """Pack a benchmark's images into uncompressed tar shards, which DVC is fast on.

    Every stage reads the shards from then on; the image files themselves can be removed.
    """
    from qure.datasets.image_store import SHARDS, pack_images

    pack_images(benchmark, benchmark / SHARDS)


@data_app.command("leakage")
def data_leakage(
    data: Data = DATA,
    as_json: Json = False,
) -> None:
    """Count what training sees of the images that judge a model, from the annotation files alone."""
    from rich.table import Table

    from qure.datasets.leakage import leakage

    found = leakage(data)
    if as_json:
        print_json(found)
        return
    names = list(dict.fromkeys(name for counts in found.values() for name in counts))
    table = Table("", *found)
    for name in names:
        table.add_row(
            name.replace("_", " "), *(f"{counts[name]:,}" if name in counts else "" for counts in found.values())
        )
    print_table(table)


@app.command("compare-data")
def compare_data(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    output: Annotated[Path | None, typer.Option(help="JSON file for every measure with its effect size.")] = None,
    as_json: Json = False,
) -> None:
    """Compare validated data, and its features where they are there, with what the champion was trained on."""
    settings, layout = settings_for(params, training_set), Layout(data, artifacts).of(training_set)
    if output is not None:
        require_place_for_file(output)
    from qure.registry.drift import compare_with_champion

    found = compare_with_champion(
        settings,
        training_set,
        data=data,
        validation=layout.validation,
        features=layout.present_feature_stores,
        output=output,
    )
    if as_json:
        print_json(found)
    elif found is None:
        typer.echo("there is no champion to compare the data with")
    else:
        measures = found["measures"] or [{"says": "the champion left no statistics", "shifted": False}]
        for measure in measures:
            typer.echo(f"{'shifted' if measure['shifted'] else 'alike  '}  {measure['says']}")

"""`qure ...`: one command per stage, and the few things people do by hand.

Each command reads params.yaml, calls one library function (`qure/<package>/stage.py`) and exits
0 (ok), 1 (the stage failed) or 2 (bad input). Heavy libraries are imported inside the commands, so
that `qure --help` answers at once.
"""

import errno
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from qure.errors import BadInput, QureError

if TYPE_CHECKING:
    from qure.config import Settings

# Off before any library can look: nothing here reports usage to anyone.
os.environ.setdefault("DVC_NO_ANALYTICS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")


#: How the operating system says that nothing more can be written; libraries wrap it in errors of their own.
NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class Commands(typer.Typer):
    """A typer application that prints a `QureError`, or a full disk, as one message and exits with its code."""

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        try:
            return super().__call__(*args, **kwargs)
        except QureError as error:
            typer.secho(f"error: {error}", err=True, fg=typer.colors.RED)
            sys.exit(error.exit_code)
        except Exception as error:
            full = next((reason for reason in map(os.strerror, NO_SPACE) if reason in str(error)), None)
            if full is None:
                raise
            message = f"error: {full}. Make space and run the same command again: it goes on from what is whole"
            typer.secho(message, err=True, fg=typer.colors.RED)
            sys.exit(1)


app = Commands(
    help="Retrain, judge and promote composed-image-retrieval models.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
    add_completion=False,
)
data_app = typer.Typer(help="Bring data into place and pack it.", no_args_is_help=True)
weights_app = typer.Typer(help="Import published weights.", no_args_is_help=True)
app.add_typer(data_app, name="data")
app.add_typer(weights_app, name="weights")

Parameters = Annotated[Path, typer.Option("--params", help="Settings of the whole pipeline.")]
TrainingSet = Annotated[str, typer.Option("--training-set", help="fashioniq or cirr.")]
Data = Annotated[Path, typer.Option(help="Data root: fashioniq/, cirr/, circo/, hp_fashioniq/.")]
Artifacts = Annotated[Path, typer.Option(help="Where stages leave their outputs.")]
Work = Annotated[Path, typer.Option(help="Scratch that survives a killed run: checkpoints and caches.")]
Device = Annotated[str | None, typer.Option(help="cpu, cuda, cuda:1; found out when left out.")]

PARAMETERS = Path("params.yaml")
DATA = Path("data")
ARTIFACTS = Path("artifacts")
WORK = Path(".work")


def settings_for(params: Path, training_set: str | None = None) -> "Settings":
    """Settings from params.yaml; a training set that they do not have is the user's mistake."""
    _log_to_terminal()
    from qure.config import Settings

    settings = Settings.load(params)
    if training_set is not None:
        settings.training_for(training_set)
    return settings


def _log_to_terminal() -> None:
    import logging

    from rich.logging import RichHandler

    from qure.progress import console

    logging.basicConfig(
        level=logging.WARNING,
        format="%(message)s",
        handlers=[RichHandler(console=console, show_path=False, markup=False)],
    )
    logging.getLogger("qure").setLevel(logging.INFO)


@app.command()
def catalogue(
    params: Parameters = PARAMETERS,
    output: Annotated[Path, typer.Option(help="Data root to write; must not exist or be a rendered one.")] = DATA,
) -> None:
    """Render the embedded data set, in the layouts of all four benchmarks."""
    from qure.catalogue.stage import render

    render(settings_for(params), output)


@data_app.command("restore")
def data_restore(
    params: Parameters = PARAMETERS,
    data: Data = DATA,
) -> None:
    """Make `data/` what `data.dvc` says: from the DVC cache or remote, else by rendering the catalogue."""
    from qure.catalogue.restore import restore

    restore(settings_for(params), data)


@data_app.command("pack")
def data_pack(
    benchmark: Annotated[Path, typer.Argument(help="A benchmark's folder, for example data/fashioniq.")],
) -> None:
    """Pack a benchmark's images into uncompressed tar shards, which DVC is fast on.

    Every stage reads the shards from then on; the image files themselves can be removed.
    """
    _log_to_terminal()
    from qure.datasets.image_store import SHARDS, pack_images

    pack_images(benchmark, benchmark / SHARDS)


@weights_app.command("import")
def weights_import(
    source: Annotated[str, typer.Argument(help="A LAVIS .pth file, or a transformers folder or Hub name (ViT-g).")],
    output: Annotated[Path, typer.Option(help="Model folder to write.")],
    tokenizer: Annotated[str | None, typer.Option(help="bert-base-uncased: a folder, s3:// or Hub name.")] = None,
    vision_weights: Annotated[str | None, typer.Option(help="LAVIS's clip_vit_L.pth, where the file lacks it.")] = None,
) -> None:
    """Convert published weights: every key is mapped or refused by name; nothing is unpickled."""
    _log_to_terminal()
    from qure.models.weights import import_hub, import_lavis

    if source.endswith(".pth"):
        import_lavis(source, output, tokenizer=tokenizer, vision_weights=vision_weights)
    else:
        import_hub(source, output, tokenizer=tokenizer)


@app.command()
def validate(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    work: Work = WORK,
    champion_statistics: Annotated[
        Path | None,
        typer.Option(help="statistics.json of other data: what differs goes into the result and onto its page."),
    ] = None,
) -> None:
    """Check annotations and images of a training set's benchmarks; list every bad row.

    Data that passed is compared with what the champion was trained on, where there is one. That is said and changes
    no output: the registry's state must not decide what DVC keeps.
    """
    from qure.validation.stage import validate as run

    settings, output = settings_for(params, training_set), artifacts / training_set / "validation"
    run(
        settings,
        training_set,
        data=data,
        output=output,
        work=work / training_set / "validation",
        champion_statistics=champion_statistics,
    )
    from qure.registry.drift import say_drift

    say_drift(settings, training_set, data=data, validation=output)


@app.command("compare-data")
def compare_data(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    output: Annotated[Path | None, typer.Option(help="JSON file for every measure with its effect size.")] = None,
) -> None:
    """Compare validated data, and its features where they are there, with what the champion was trained on."""
    from qure.config import image_sets_of
    from qure.registry.drift import compare_with_champion

    folder = artifacts / training_set
    features = {name: folder / "features" / name for name in image_sets_of(training_set)}
    found = compare_with_champion(
        settings_for(params, training_set),
        training_set,
        data=data,
        validation=folder / "validation",
        features={name: store for name, store in features.items() if store.is_dir()},
        output=output,
    )
    if found is None:
        typer.echo("there is no champion to compare the data with")
    else:
        measures = found["measures"] or [{"says": "the champion left no statistics", "shifted": False}]
        for measure in measures:
            typer.echo(f"{'shifted' if measure['shifted'] else 'alike  '}  {measure['says']}")


@app.command()
def backbone(
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Make (catalogue) or import (BLIP-2) the model that training starts from."""
    from qure.backbone.stage import prepare_backbone

    settings = settings_for(params)
    prepare_backbone(
        settings,
        data,
        artifacts / "backbone",
        validation=[artifacts / training_set / "validation" for training_set in settings.training],
    )


@app.command()
def precompute(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    device: Device = None,
) -> None:
    """Run the frozen image tower once over every image that a training set and its benchmarks use."""
    from qure.config import image_sets_of
    from qure.features.stage import precompute as run

    settings = settings_for(params, training_set)
    for image_set in image_sets_of(training_set):
        run(
            settings,
            image_set,
            data=data,
            backbone=artifacts / "backbone",
            output=artifacts / training_set / "features" / image_set,
            validation=artifacts / training_set / "validation",
            device=device,
        )


@app.command()
def train(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    work: Work = WORK,
    device: Device = None,
) -> None:
    """Train QuRe; a killed run goes on where it was. Several GPUs: torchrun --nproc-per-node=N -m qure.cli train ..."""
    from qure.training.stage import train as run

    run(
        settings_for(params, training_set),
        training_set,
        data=data,
        features=artifacts / training_set / "features" / training_set,
        backbone=artifacts / "backbone",
        validation=artifacts / training_set / "validation",
        output=artifacts / training_set,
        work=work / training_set / "train",
        device=device,
    )


@app.command()
def evaluate(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    device: Device = None,
) -> None:
    """Judge the trained model on the benchmarks of its training set, with controls and a report."""
    from qure.config import image_sets_of
    from qure.evaluation.stage import evaluate as run

    folder = artifacts / training_set
    run(
        settings_for(params, training_set),
        training_set,
        data=data,
        features={name: folder / "features" / name for name in image_sets_of(training_set)},
        model=folder / "model",
        backbone=artifacts / "backbone",
        training=folder / "training",
        validation=folder / "validation",
        output=folder / "evaluation",
        device=device,
    )


@app.command("evaluate-embeddings")
def evaluate_embeddings(
    benchmark: Annotated[str, typer.Option(help="fashioniq, cirr, hp-fashioniq or circo.")],
    root: Annotated[Path, typer.Option(help="The folder that holds the benchmark's own files.")],
    split: Annotated[str, typer.Option(help="val, test1 (CIRR) or test (CIRCO).")],
    queries: Annotated[Path, typer.Option(help="safetensors: `embeddings` (N, D), header `ids`.")],
    gallery: Annotated[Path, typer.Option(help="safetensors: `embeddings` (N, D) or (N, T, D), header `ids`.")],
    output: Annotated[Path, typer.Option(help="Where to write metrics.json.")],
    gallery_protocol: Annotated[str, typer.Option(help="FashionIQ: original or val.")] = "original",
    category: Annotated[str | None, typer.Option(help="FashionIQ: dress, shirt or toptee alone.")] = None,
) -> None:
    """The four protocols for any model's embeddings."""
    _log_to_terminal()
    from qure.evaluation.external import evaluate_embeddings as run

    metrics = run(
        benchmark, root, split, queries, gallery, output, gallery_protocol=gallery_protocol, category=category
    )
    from qure.evaluation.show import metrics_table
    from qure.progress import console

    console.print(metrics_table(metrics))


@app.command()
def register(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Put the trained model into the MLflow registry as challenger."""
    from qure.config import image_sets_of
    from qure.registry.stage import register as run

    folder = artifacts / training_set
    run(
        settings_for(params, training_set),
        training_set,
        data=data,
        model=folder / "model",
        evaluation=folder / "evaluation",
        training=folder / "training",
        features={name: folder / "features" / name for name in image_sets_of(training_set)},
        validation=folder / "validation",
        output=folder / "registration.json",
    )


@app.command()
def promote(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Make the challenger champion if it loads, passes the thresholds and is not worse."""
    from qure.config import image_sets_of
    from qure.registry.champion import reevaluation
    from qure.registry.stage import promote as run

    settings, folder = settings_for(params, training_set), artifacts / training_set
    run(
        settings,
        training_set,
        registration=folder / "registration.json",
        evaluation=folder / "evaluation",
        output=folder / "promotion.json",
        data=data,
        reevaluate=reevaluation(
            settings,
            training_set,
            data=data,
            features={name: folder / "features" / name for name in image_sets_of(training_set)},
            validation=folder / "validation",
        ),
    )


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


@app.command()
def ablate(
    training_set: TrainingSet,
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    work: Work = WORK,
    device: Device = None,
    arm: Annotated[list[str] | None, typer.Option(help="An arm; give it again for more. All when left out.")] = None,
    arms_file: Annotated[Path | None, typer.Option(help="YAML file of arms; those that come with qure.")] = None,
    seeds: Annotated[int, typer.Option(min=1, help="How many: 0, 1, ... An arm's interval is over them.")] = 3,
    epochs: Annotated[int | None, typer.Option(min=1, help="Budget of every arm; the recipe's when left out.")] = None,
) -> None:
    """Compare ways to choose negatives, with the contrastive baseline, under one budget; finished runs are kept."""
    from qure.ablation.arms import ARMS
    from qure.ablation.page import terminal_table
    from qure.ablation.stage import ablate as run
    from qure.progress import console

    results = run(
        settings_for(params, training_set),
        training_set,
        data=data,
        features=artifacts / training_set / "features" / training_set,
        backbone=artifacts / "backbone",
        validation=artifacts / training_set / "validation",
        output=artifacts / training_set / "ablation",
        work=work / training_set / "ablation",
        arms=arm,
        arms_file=arms_file or ARMS,
        seeds=range(seeds),
        epochs=epochs,
        device=device,
    )
    console.print(terminal_table(results))
    console.print(f"  {artifacts / training_set / 'ablation'}: table.md, figure.png, results.json, results.csv")


@app.command()
def report(
    training_set: TrainingSet,
    output: Annotated[Path, typer.Option(help="Folder to write report.html and summary.md into.")],
    params: Parameters = PARAMETERS,
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    champion: Annotated[Path | None, typer.Option(help="Another model's evaluation folder to compare with.")] = None,
) -> None:
    """Draw the report of an evaluation anew, compared with another model's."""
    from qure.evaluation.stage import write_again

    folder = artifacts / training_set
    write_again(
        settings_for(params, training_set),
        training_set,
        data=data,
        evaluation=folder / "evaluation",
        training=folder / "training",
        champion=champion,
        output=output,
    )


@app.command()
def results(
    params: Parameters = PARAMETERS,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Show what the last run measured, where the reports lie and how to open MLflow."""
    from qure.evaluation.show import results_table
    from qure.files import read_json
    from qure.progress import console
    from qure.registry.asking import is_champion_gone
    from qure.registry.registration import how_to_promote

    settings = settings_for(params)
    for training_set in settings.training:
        folder = artifacts / training_set
        console.print(results_table(artifacts, training_set))
        promotion = read_json(folder / "promotion.json", remedy=f"Run `dvc repro promote@{training_set}` first")
        gone = promotion["outcome"] != "refused" and is_champion_gone(settings, training_set)
        console.print(f"  registry  {how_to_promote(training_set) if gone else promotion['reason']}", soft_wrap=gone)
        console.print(f"  report    {folder / 'evaluation' / 'report.html'}")
        console.print(
            f'  use it    mlflow.pyfunc.load_model("models:/qure-{training_set}@champion")\n', highlight=False
        )
    console.print("MLflow: `make mlflow`, then http://127.0.0.1:5000")


if __name__ == "__main__":
    app()

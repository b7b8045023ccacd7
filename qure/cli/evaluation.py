"""Commands about how good models are: embeddings from anywhere, ablations, reports, results."""

from pathlib import Path
from typing import Annotated

import typer

from qure.cli.application import app
from qure.cli.options import (
    ARTIFACTS,
    DATA,
    PARAMETERS,
    WORK,
    Artifacts,
    Data,
    Device,
    Parameters,
    TrainingSet,
    Work,
    log_to_terminal,
    settings_for,
)
from qure.layout import Layout


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
    log_to_terminal()
    from qure.evaluation.external import evaluate_embeddings as run

    metrics = run(
        benchmark, root, split, queries, gallery, output, gallery_protocol=gallery_protocol, category=category
    )
    from qure.evaluation.report.show import metrics_table
    from qure.progress import console

    console.print(metrics_table(metrics))


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

    settings, layout = settings_for(params, training_set), Layout(data, artifacts, work).of(training_set)
    results = run(
        settings,
        training_set,
        data=data,
        features=layout.training_features,
        backbone=layout.backbone,
        validation=layout.validation,
        output=layout.ablation,
        work=layout.scratch("ablation"),
        arms=arm,
        arms_file=arms_file or ARMS,
        seeds=range(seeds),
        epochs=epochs,
        device=device,
    )
    console.print(terminal_table(results))
    console.print(f"  {layout.ablation}: table.md, figure.png, results.json, results.csv")


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

    settings, layout = settings_for(params, training_set), Layout(data, artifacts).of(training_set)
    write_again(
        settings,
        training_set,
        data=data,
        evaluation=layout.evaluation,
        training=layout.training,
        champion=champion,
        output=output,
    )


@app.command()
def results(
    params: Parameters = PARAMETERS,
    artifacts: Artifacts = ARTIFACTS,
) -> None:
    """Show what the last run measured, where the reports lie and how to open MLflow."""
    from qure.evaluation.report.show import results_table
    from qure.files import read_json
    from qure.progress import console
    from qure.registry.asking import is_champion_gone
    from qure.registry.registration import how_to_promote

    settings = settings_for(params)
    for training_set in settings.training:
        layout = Layout(artifacts=artifacts).of(training_set)
        console.print(results_table(layout))
        promotion = read_json(layout.promotion, remedy=f"Run `dvc repro promote@{training_set}` first")
        gone = promotion["outcome"] != "refused" and is_champion_gone(settings, training_set)
        console.print(f"  registry  {how_to_promote(training_set) if gone else promotion['reason']}", soft_wrap=gone)
        console.print(f"  report    {layout.report}")
        console.print(
            f'  use it    mlflow.pyfunc.load_model("models:/qure-{training_set}@champion")\n', highlight=False
        )
    console.print("MLflow: `make mlflow`, then http://127.0.0.1:5000")

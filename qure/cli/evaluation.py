"""Commands about how good models are: embeddings from anywhere, ablations, reports, results."""

from pathlib import Path
from typing import Annotated, Any, Literal

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
    Json,
    Parameters,
    TrainingSet,
    Work,
    print_json,
    print_table,
    require_place_for_file,
    require_writable,
    settings_for,
)
from qure.errors import BadInput
from qure.layout import Layout


def benchmark_names() -> list[str]:
    """Names of the benchmarks that there are; also what the shell completes."""
    from qure import benchmarks

    return [one.name for one in benchmarks.benchmarks()]


def known_benchmark(name: str) -> str:
    """A benchmark that qure knows.

    Raises:
        BadInput: it knows none of this name; names those that there are.
    """
    if name not in (known := benchmark_names()):
        raise BadInput(f"no benchmark {name!r}; there are {', '.join(known)}", field="--benchmark")
    return name


def split_names(ctx: typer.Context) -> list[str]:
    """The splits of the benchmark that the command line names already."""
    return [split for one in _named(ctx) for split in one.splits]


def category_names(ctx: typer.Context) -> list[str]:
    """The categories of the benchmark that the command line names already."""
    return [category for one in _named(ctx) for category in one.categories]


def _named(ctx: typer.Context) -> list[Any]:
    from qure import benchmarks

    name = ctx.params.get("benchmark")
    return [benchmarks.get_benchmark(name)] if name else []


@app.command("evaluate-embeddings")
def evaluate_embeddings(
    benchmark: Annotated[
        str,
        typer.Option(
            parser=known_benchmark,
            metavar="[fashioniq|cirr|hp-fashioniq|circo]",
            autocompletion=benchmark_names,
            help="Whose files and protocol.",
        ),
    ],
    root: Annotated[Path, typer.Option(help="The folder that holds the benchmark's own files.")],
    split: Annotated[str, typer.Option(autocompletion=split_names, help="val, test1 (CIRR) or test (CIRCO).")],
    queries: Annotated[Path, typer.Option(help="safetensors: `embeddings` (N, D), header `ids`.")],
    gallery: Annotated[Path, typer.Option(help="safetensors: `embeddings` (N, D) or (N, T, D), header `ids`.")],
    output: Annotated[Path, typer.Option(help="Where to write metrics.json.")],
    gallery_protocol: Annotated[
        Literal["original", "val"],
        typer.Option(help="FashionIQ: all images of the split's file, or those of its triplets."),
    ] = "original",
    category: Annotated[
        str | None, typer.Option(autocompletion=category_names, help="FashionIQ: dress, shirt or toptee alone.")
    ] = None,
    as_json: Json = False,
) -> None:
    """The four protocols for any model's embeddings."""
    require_place_for_file(output)
    from qure.evaluation.external import evaluate_embeddings as run

    metrics = run(
        benchmark, root, split, queries, gallery, output, gallery_protocol=gallery_protocol, category=category
    )
    if as_json:
        print_json(metrics)
        return
    from qure.evaluation.report.show import metrics_table

    print_table(metrics_table(metrics))


@app.command("check-submission")
def check_submission(
    file: Annotated[Path, typer.Argument(help="A JSON file for CIRR's or CIRCO's evaluation server.")],
    data: Data = DATA,
    benchmark: Annotated[
        str | None, typer.Option(help="cirr or circo; left out, the file itself tells (CIRR's has a metric).")
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Whose queries it answers; the one whose answers are withheld.")
    ] = None,
) -> None:
    """Check a file against the rules of its evaluation server, which says little and allows few tries."""
    from qure.benchmarks import get_benchmark
    from qure.evaluation.submissions.checks import benchmark_of
    from qure.evaluation.submissions.checks import check_submission as run

    name = benchmark or benchmark_of(file)
    metric = run(name, file, get_benchmark(name).root(data), split=split)
    typer.echo(f"{file}: complies with the rules of {get_benchmark(name).title}'s server, metric {metric}")


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
    as_json: Json = False,
) -> None:
    """Compare ways to choose negatives, with the contrastive baseline, under one budget; finished runs are kept."""
    settings, layout = settings_for(params, training_set), Layout(data, artifacts, work).of(training_set)
    require_writable(layout.ablation, layout.scratch("ablation"))
    from qure.ablation.arms import ARMS
    from qure.ablation.page import terminal_table
    from qure.ablation.stage import ablate as run

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
    if as_json:
        print_json(results)
    else:
        print_table(
            terminal_table(results),
            f"  {layout.ablation}: report.html, table.md, figure.png, results.json, results.csv",
        )


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
    settings, layout = settings_for(params, training_set), Layout(data, artifacts).of(training_set)
    require_writable(output)
    from qure.evaluation.stage import write_again

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
    data: Data = DATA,
    artifacts: Artifacts = ARTIFACTS,
    as_json: Json = False,
) -> None:
    """Show what the last run measured, who is champion, where the reports lie, and what to try next."""
    settings, layout = settings_for(params), Layout(data, artifacts)
    from qure.cli.findings import findings, search_line
    from qure.evaluation.report.show import legend, results_tables

    found = {training_set: findings(settings, layout.of(training_set)) for training_set in settings.training}
    if as_json:
        print_json({training_set: one.record() for training_set, one in found.items()})
        return
    confidence = settings.evaluation.confidence
    for one in found.values():
        tables = results_tables(one.layout.training_set, one.metrics, one.intervals, confidence=confidence)
        print_table(*tables, *one.lines())
    print_table(legend([one.metrics for one in found.values()], confidence=confidence))
    line = next(filter(None, (search_line(one.layout) for one in found.values() if one.is_champion)), None)
    print_table("", "MLflow, with every run and version: `make mlflow`, then http://127.0.0.1:5000")
    if line:
        print_table("Ask the champion for a picture plus words:", f"  {line}")

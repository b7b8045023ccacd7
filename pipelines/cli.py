"""`qure-pipelines ...`: compile, submit and schedule the Kubeflow pipelines.

Exit codes as everywhere: 0 ok, 1 failed, 2 bad input. kfp is imported inside the commands, so that --help answers at
once.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pipelines.check.command import check
from pipelines.installing import install
from qure.cli import Commands
from qure.cli.options import TrainingSet
from qure.errors import StageFailed

if TYPE_CHECKING:
    from pipelines.client import Done, PipelinesService, Version
    from pipelines.config import PipelineConfig

app = Commands(
    help="Compile, submit and schedule the Kubeflow pipelines.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,
)

CONFIG = Path(__file__).parent / "config.yaml"
COMPILED = Path(__file__).parent / "compiled"

Config = Annotated[Path, typer.Option("--config", help="Images, resources, secrets' names, schedules.")]
Params = Annotated[Path, typer.Option("--params", help="Settings of the run.")]
Pipeline = Annotated[str, typer.Argument(help="training, evaluate_champion or ablation.")]
Revision = Annotated[str | None, typer.Option("--revision", help="Data: branch, tag, commit or DVC hash.")]


@app.command("compile")
def compile_(
    config: Config = CONFIG,
    output: Annotated[Path, typer.Option(help="Folder of the compiled pipelines.")] = COMPILED,
    check: Annotated[bool, typer.Option("--check", help="Write nothing; fail when a file is not current.")] = False,
) -> None:
    """Compile all pipelines to YAML."""
    from pipelines.compiling import compile_to, outdated

    settings = _config(config)
    if not check:
        for file in compile_to(output, settings):
            typer.echo(f"compiled {file}")
        return
    differences = outdated(output, settings)
    for name, difference in differences.items():
        typer.echo(f"{output / name} is not current:\n{difference}", err=True)
    if differences:
        raise StageFailed("compiled pipelines are not current: run `qure-pipelines compile`")
    typer.echo("all compiled pipelines are current")


@app.command()
def submit(
    pipeline: Pipeline = "training",
    training_set: TrainingSet = "fashioniq",
    name: Annotated[str | None, typer.Option(help="Name of the run; made from what it does when left out.")] = None,
    revision: Revision = None,
    replace: Annotated[bool, typer.Option(help="Stop an active run of this name that does something else.")] = False,
    params: Params = Path("params.yaml"),
    config: Config = CONFIG,
) -> None:
    """Run a pipeline now; the same command again finds the run, or goes on with it when it has failed."""
    from qure.files import fingerprint

    settings, service = _service(config)
    parameters = _parameters(settings, params, training_set, revision)
    version = _uploaded(service, pipeline, settings)
    name = name or f"{pipeline}-{training_set}-{fingerprint([version.digest, parameters])[:8]}"
    _say("run", name, service.submit(name, version, parameters, replace=replace))


@app.command()
def resume(
    name: Annotated[str, typer.Argument(help="Name or id of a failed run, or the name of its schedule.")],
    config: Config = CONFIG,
) -> None:
    """Go on with a failed run: what had succeeded is kept, the rest runs again."""
    _say("run", name, _service(config, images=False)[1].resume(name))


@app.command()
def schedule(
    name: Annotated[str | None, typer.Argument(help="A schedule of the configuration; all when left out.")] = None,
    revision: Revision = None,
    stop: Annotated[bool, typer.Option("--stop", help="End runs of a changed schedule that are under way.")] = False,
    params: Params = Path("params.yaml"),
    config: Config = CONFIG,
) -> None:
    """Make the installation's recurring runs what the configuration says; runs that are under way go on."""
    from qure.errors import BadInput

    settings, service = _service(config)
    if name is not None and name not in settings.schedules:
        known = ", ".join(settings.schedules) or "none"
        raise BadInput(f"no schedule {name!r}; there are: {known}", file=config, field="schedules")
    for one in [name] if name else list(settings.schedules):
        chosen = settings.schedules[one]
        parameters = _parameters(settings, params, chosen.training_set, revision)
        version = _uploaded(service, chosen.pipeline, settings)
        _say("schedule", one, service.schedule(one, chosen, version, parameters, stop=stop))


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(help="A run or schedule; the whole experiment when left out.")] = None,
    runs: Annotated[int, typer.Option(min=1, help="How many of the latest runs to show.")] = 10,
    json_: Annotated[bool, typer.Option("--json", help="For programs.")] = False,
    watch: Annotated[bool, typer.Option("--watch", help="Show it again and again until no run is under way.")] = False,
    config: Config = CONFIG,
) -> None:
    """Show schedules and the latest runs; of one name also the tasks, and with a kubeconfig why they failed."""
    import json

    from pipelines.explaining import explain
    from pipelines.showing import show, watch_until_over
    from qure.errors import BadInput

    if watch and json_:
        raise BadInput("--watch is for people and --json for programs", remedy="Leave one of them out")
    settings, service = _service(config, images=False)

    def look() -> dict[str, list[dict[str, Any]]]:
        found = service.status(name, runs=runs)
        if name is not None:
            explain(found["runs"], settings.service.namespace, settings.service.pages)
        return found

    if watch:
        watch_until_over(look)
        return
    found = look()
    if json_:
        typer.echo(json.dumps(found, indent=2))
    else:
        show(found)


@app.command()
def delete(
    name: Annotated[str, typer.Argument(help="A schedule or run.")],
    runs: Annotated[bool, typer.Option("--runs", help="Stop and archive runs of this name too.")] = False,
    config: Config = CONFIG,
) -> None:
    """Delete a schedule (and with --runs stop and archive its runs and runs of this name); nothing there is fine."""
    service = _service(config, images=False)[1]
    done = [("run", one) for one in (service.stop(name) if runs else [])]
    done += [("schedule", one) for one in service.unschedule(name)]
    done += [("run", one) for one in (service.stop(name) if runs else [])]  # that the schedule began meanwhile
    for kind, one in done:
        _say(kind, name, one)
    if not done:
        typer.echo(f"nothing is named {name}")


def _config(file: Path) -> "PipelineConfig":
    from pipelines.config import PipelineConfig

    return PipelineConfig.load(file)


def _service(file: Path, *, images: bool = True) -> "tuple[PipelineConfig, PipelinesService]":
    config = _config(file)
    if images:
        config.require_real_images(file)
    from pipelines.client import PipelinesService

    return config, PipelinesService(config.service)


def _parameters(config: "PipelineConfig", params: Path, training_set: str, revision: str | None) -> dict[str, Any]:
    from pipelines.parameters import run_parameters

    return run_parameters(config, params, training_set, revision=revision)


def _uploaded(service: "PipelinesService", pipeline: str, config: "PipelineConfig") -> "Version":
    import tempfile

    from pipelines.compiling import compile_one
    from pipelines.release import Release
    from qure.tracking.identity import commit

    with tempfile.TemporaryDirectory() as folder:
        return service.upload(compile_one(pipeline, config, Path(folder) / f"{pipeline}.yaml", Release.load(commit())))


def _say(kind: str, name: str, done: "Done") -> None:
    typer.echo(f"{kind} {name}: {done.what} {done.id}".rstrip())


app.command("install")(install)
app.command("check")(check)

if __name__ == "__main__":
    app()
